//! use block
//! use index
//! use math
//! use online
//! use row
//! use share
//! use optional
// Cross-entropy of rows of logits against one label each, in one pass over the logits: a workgroup a
// row, or slices of rows (`split`). The gradient is elementwise from the saved lse, in place or not.
struct P { R: u32, C: u32, reduction: u32 }
@group(0) @binding(0) var<storage, read_write> loss: array<f32>; // (R), or () for the mean
@group(0) @binding(1) var<storage, read_write> lse: array<f32>;  // (R)
@group(0) @binding(2) var<storage, read> logits: array<f32>;     // (R,C)
@group(0) @binding(3) var<storage, read> labels: array<i32>;     // (R)
@group(0) @binding(4) var<uniform> p: P;
@group(0) @binding(5) var<storage, read_write> row_loss: array<f32>; // scratch: (R)

fn at(o: u32, i: u32, to: u32) -> f32 { return select(LOWEST, logits[o + min(i, to - 1u)], i < to); }

fn nan() -> f32 { return bitcast<f32>(0x7fc00000u + (p.C & 0u)); }

fn loss_of(row: u32, lse_of_row: f32) -> f32 {
  let label = labels[row];
  if (label < 0 || u32(label) >= p.C) { return nan(); }
  return lse_of_row - logits[row * p.C + u32(label)];
}

fn put_loss(row: u32, total: f32) {
  lse[row] = total;
  loss[row] = loss_of(row, total);
}

// By all threads of a workgroup.
fn lse_of(row: u32, l: u32) -> f32 {
  return online_lse(online_all(share(min(row, p.R - 1u) * p.C, l, p.C), l));
}

@compute @workgroup_size(64)
fn softmax_xent_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = w.y * g.x + w.x;
  let v = lse_of(row, l);
  if (l == 0u && row < p.R) { put_loss(row, v); }
}

// Slices of SLICE numbers: a thread's share of each, then a workgroup a row.
const SLICE = 4096u;
@group(0) @binding(5) var<storage, read_write> scratch: array<vec2f>; // (R, slices, 64)

@compute @workgroup_size(64)
fn softmax_xent_f32__split(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let n = (p.C + SLICE - 1u) / SLICE;
  let i = w.y * g.x + w.x;
  if (i >= p.R * n) { return; }
  let first = i % n * SLICE;
  scratch[i * 64u + l] = share(i / n * p.C, first + l, min(first + SLICE, p.C));
}

@compute @workgroup_size(64)
fn softmax_xent_split_total(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = w.y * g.x + w.x;
  let n = (p.C + SLICE - 1u) / SLICE;
  var a = NOTHING;
  if (row < p.R) {
    for (var i = 0u; i < n; i++) { a = online_merge(a, scratch[(row * n + i) * 64u + l]); }
  }
  a = online_all(a, l);
  if (l == 0u && row < p.R) { put_loss(row, online_lse(a)); }
}

// A thread a row, C a multiple of 16.
@group(0) @binding(2) var<storage, read> logits_k: array<mat4x4f>;

@compute @workgroup_size(64)
fn softmax_xent_f32__rows(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = linear_index(w, g, l);
  if (row >= p.R) { return; }
  let n = p.C / 16u;
  var a = Online(NOTHING.x, NOTHING.y, vec4u());
  for (var i = 0u; i < n; i++) { a = block_online(a, logits_k[row * n + i]); }
  var total = online_lse(vec2f(a.m, a.s));
  if (online_is_bad(a)) { total = nan(); }
  let label = labels[row];
  lse[row] = total;
  loss[row] = nan();
  if (label >= 0 && u32(label) < p.C) {
    let v = logits_k[row * n + (u32(label) >> 4u)][(u32(label) >> 2u) & 3u];
    loss[row] = total - v[u32(label) & 3u];
  }
}

@compute @workgroup_size(64)
fn softmax_xent_f32__mean_rows(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = w.y * g.x + w.x;
  let v = lse_of(row, l);
  if (l != 0u || row >= p.R) { return; }
  lse[row] = v;
  row_loss[row] = loss_of(row, v);
}

fn store_mean(sum: f32, l: u32) {
  let total = row_all_sum(sum, l);
  if (l == 0u) { loss[0] = select(total / f32(p.R), nan(), p.R == 0u); }
}

@compute @workgroup_size(64)
fn softmax_xent_f32__mean_of_rows(@builtin(local_invocation_index) l: u32) {
  var s = 0.0;
  for (var r = l; r < p.R; r += 64u) { s += row_loss[r]; }
  store_mean(s, l);
}

fn own_lse(row: u32) -> f32 { return online_lse(own(row * p.C, p.C)); }

@compute @workgroup_size(64)
fn softmax_xent_f32__short(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = linear_index(w, g, l);
  if (row < p.R) { put_loss(row, own_lse(row)); }
}

// Few short rows, in one workgroup: a thread a row.
@compute @workgroup_size(64)
fn softmax_xent_f32__mean(@builtin(local_invocation_index) l: u32) {
  var sum = 0.0;
  for (var r = l; r < p.R; r += 64u) {
    let v = own_lse(r);
    lse[r] = v;
    sum += loss_of(r, v);
  }
  store_mean(sum, l);
}

struct PB { R: u32, C: u32, reduction: u32, beta: f32 }
@group(0) @binding(0) var<storage, read_write> dlogits: array<f32>; // (R,C)
@group(0) @binding(1) var<storage, read> dloss: array<f32>;         // (R) or ()
@group(0) @binding(2) var<storage, read> logits_b: array<f32>;      // (R,C)
@group(0) @binding(3) var<storage, read> lse_b: array<f32>;         // (R)
@group(0) @binding(4) var<storage, read> labels_b: array<i32>;      // (R)
@group(0) @binding(5) var<uniform> pb: PB;

// The cotangent of a row's loss.
fn given(r: u32, R: u32, reduction: u32) -> f32 {
  if (reduction == 1u) { return dloss[0] / f32(R); }
  return dloss[r];
}

// Four numbers of a row, in the columns c; d is NaN where the label is out of range. Of a lse that belongs to
// the logits no exponent is above 0.
fn gradient(logits: vec4f, lse: f32, c: vec4u, label: i32, d: f32) -> vec4f {
  let x = logits - lse;
  let e = exp_4(select(x, vec4f(88.0), x > vec4f(88.0)));
  return d * (e - select(vec4f(), vec4f(1.0), c == vec4u(u32(label))));
}

fn or_nan(d: f32, label: i32, C: u32) -> f32 {
  return select(d, bitcast<f32>(0x7fc00000u + (C & 0u)), label < 0 || u32(label) >= C);
}

// The thread's four columns from c on, 64 apart; c again for those that are not below `to`.
fn columns(c: u32, to: u32) -> vec4u {
  let four = c + vec4u(0u, 64u, 128u, 192u);
  return select(vec4u(c), four, four < vec4u(to));
}

fn put(k: vec4u, v: vec4f, beta: f32) {
  var old = vec4f();
  if (adds(beta)) { old = beta * vec4f(dlogits[k.x], dlogits[k.y], dlogits[k.z], dlogits[k.w]); }
  let sum = select(v, old + v, adds(beta));
  // Repeats of a number have its value.
  dlogits[k.x] = sum.x;
  dlogits[k.y] = sum.y;
  dlogits[k.z] = sum.z;
  dlogits[k.w] = sum.w;
}

// Runs of RUN numbers of a row: a workgroup a run, one row to look up for all of them.
const RUN = 1024u;

@compute @workgroup_size(64)
fn softmax_xent_bwd_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let n = (pb.C + RUN - 1u) / RUN;
  let i = w.y * g.x + w.x;
  if (i >= pb.R * n) { return; }
  let r = i / n;
  let label = labels_b[r];
  let total = lse_b[r];
  let d = or_nan(given(r, pb.R, pb.reduction), label, pb.C);
  let to = min(i % n * RUN + RUN, pb.C);
  for (var c = i % n * RUN + l; c < to; c += 256u) {
    let four = columns(c, to);
    let k = r * pb.C + four;
    let x = vec4f(logits_b[k.x], logits_b[k.y], logits_b[k.z], logits_b[k.w]);
    put(k, gradient(x, total, four, label, d), pb.beta);
  }
}

// A thread a row, C a multiple of 16.
@group(0) @binding(0) var<storage, read_write> dlogits_k: array<mat4x4f>;
@group(0) @binding(2) var<storage, read> logits_bk: array<mat4x4f>;

@compute @workgroup_size(64)
fn softmax_xent_bwd_f32__rows(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let r = linear_index(w, g, l);
  if (r >= pb.R) { return; }
  let n = pb.C / 16u;
  let label = labels_b[r];
  let total = lse_b[r];
  let d = or_nan(given(r, pb.R, pb.reduction), label, pb.C);
  for (var i = 0u; i < n; i++) {
    let c = 16u * i + vec4u(0u, 1u, 2u, 3u);
    let x = logits_bk[r * n + i];
    var v = mat4x4f(
      gradient(x[0], total, c, label, d),
      gradient(x[1], total, c + 4u, label, d),
      gradient(x[2], total, c + 8u, label, d),
      gradient(x[3], total, c + 12u, label, d),
    );
    if (adds(pb.beta)) { v = pb.beta * dlogits_k[r * n + i] + v; }
    dlogits_k[r * n + i] = v;
  }
}

// Short rows: a thread each, four columns at a time.
@compute @workgroup_size(64)
fn softmax_xent_bwd_f32__short(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let r = linear_index(w, g, l);
  if (r >= pb.R) { return; }
  let label = labels_b[r];
  let total = lse_b[r];
  let d = or_nan(given(r, pb.R, pb.reduction), label, pb.C);
  for (var c = 0u; c < pb.C; c += 4u) {
    let four = min(c + vec4u(0u, 1u, 2u, 3u), vec4u(pb.C - 1u));
    let k = r * pb.C + four;
    let x = vec4f(logits_b[k.x], logits_b[k.y], logits_b[k.z], logits_b[k.w]);
    put(k, gradient(x, total, four, label, d), pb.beta);
  }
}

// In place; bindings logits, dloss, lse, labels.
@group(0) @binding(2) var<storage, read> lse_i: array<f32>;    // (R)
@group(0) @binding(3) var<storage, read> labels_i: array<i32>; // (R)

@compute @workgroup_size(64)
fn softmax_xent_bwd_inplace_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let n = (p.C + RUN - 1u) / RUN;
  let i = w.y * g.x + w.x;
  if (i >= p.R * n) { return; }
  let r = i / n;
  let label = labels_i[r];
  let total = lse_i[r];
  let d = or_nan(given(r, p.R, p.reduction), label, p.C);
  let to = min(i % n * RUN + RUN, p.C);
  for (var c = i % n * RUN + l; c < to; c += 256u) {
    let four = columns(c, to);
    let k = r * p.C + four;
    let x = vec4f(dlogits[k.x], dlogits[k.y], dlogits[k.z], dlogits[k.w]);
    put(k, gradient(x, total, four, label, d), 0.0);
  }
}

@compute @workgroup_size(64)
fn softmax_xent_bwd_inplace_f32__short(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let r = linear_index(w, g, l);
  if (r >= p.R) { return; }
  let label = labels_i[r];
  let total = lse_i[r];
  let d = or_nan(given(r, p.R, p.reduction), label, p.C);
  for (var c = 0u; c < p.C; c += 4u) {
    let four = min(c + vec4u(0u, 1u, 2u, 3u), vec4u(p.C - 1u));
    let k = r * p.C + four;
    let x = vec4f(dlogits[k.x], dlogits[k.y], dlogits[k.z], dlogits[k.w]);
    put(k, gradient(x, total, four, label, d), 0.0);
  }
}
