//! use block
//! use index
//! use math
//! use online
//! use row
// Cross-entropy of rows of logits against one label each, in one pass over the logits: a workgroup a
// row, or slices of rows (`split`). The gradient is elementwise from the saved lse, in place or not.
struct P { R: u32, C: u32 }
@group(0) @binding(0) var<storage, read_write> loss: array<f32>; // (R)
@group(0) @binding(1) var<storage, read_write> lse: array<f32>;  // (R)
@group(0) @binding(2) var<storage, read> logits: array<f32>;     // (R,C)
@group(0) @binding(3) var<storage, read> labels: array<i32>;     // (R)
@group(0) @binding(4) var<uniform> p: P;

fn at(o: u32, i: u32, to: u32) -> f32 { return select(LOWEST, logits[o + min(i, to - 1u)], i < to); }

// The thread's share of a row: every 64th of the numbers from `from` on, below `to`.
fn share(o: u32, from: u32, to: u32) -> vec2f {
  var a = NOTHING;
  for (var c = from; c < to; c += 1024u) {
    a = online_block(a, mat4x4f(
      at(o, c, to), at(o, c + 64u, to), at(o, c + 128u, to), at(o, c + 192u, to),
      at(o, c + 256u, to), at(o, c + 320u, to), at(o, c + 384u, to), at(o, c + 448u, to),
      at(o, c + 512u, to), at(o, c + 576u, to), at(o, c + 640u, to), at(o, c + 704u, to),
      at(o, c + 768u, to), at(o, c + 832u, to), at(o, c + 896u, to), at(o, c + 960u, to),
    ));
  }
  return a;
}

fn put_loss(row: u32, total: f32) {
  let label = labels[row];
  lse[row] = total;
  if (label >= 0 && u32(label) < p.C) { loss[row] = total - logits[row * p.C + u32(label)]; }
  else { loss[row] = bitcast<f32>(0x7fc00000u + (p.R & 0u)); }
}

@compute @workgroup_size(64)
fn softmax_xent_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = w.y * g.x + w.x;
  let inside = row < p.R;
  let a = online_all(share(select(0u, row, inside) * p.C, l, p.C), l);
  if (l == 0u && inside) { put_loss(row, online_lse(a)); }
}

// Slices of SLICE numbers: a thread's share of each, then a workgroup a row.
const SLICE = 4096u;
@group(0) @binding(5) var<storage, read_write> scratch: array<vec2f>; // (R, slices, 64)

@compute @workgroup_size(64)
fn softmax_xent_f32__split(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let n = (p.C + SLICE - 1u) / SLICE;
  let i = w.y * g.x + w.x;
  if (i >= p.R * n) { return; }
  let from = i % n * SLICE;
  scratch[i * 64u + l] = share(i / n * p.C, from + l, min(from + SLICE, p.C));
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
  if (online_is_bad(a)) { total = bitcast<f32>(0x7fc00000u + (p.R & 0u)); }
  let label = labels[row];
  lse[row] = total;
  loss[row] = bitcast<f32>(0x7fc00000u + (p.R & 0u));
  if (label >= 0 && u32(label) < p.C) {
    let v = logits_k[row * n + (u32(label) >> 4u)][(u32(label) >> 2u) & 3u];
    loss[row] = total - v[u32(label) & 3u];
  }
}

struct PB { R: u32, C: u32, beta: f32 }
@group(0) @binding(0) var<storage, read_write> dlogits: array<f32>; // (R,C)
@group(0) @binding(1) var<storage, read> dloss: array<f32>;         // (R)
@group(0) @binding(2) var<storage, read> logits_b: array<f32>;      // (R,C)
@group(0) @binding(3) var<storage, read> lse_b: array<f32>;         // (R)
@group(0) @binding(4) var<storage, read> labels_b: array<i32>;      // (R)
@group(0) @binding(5) var<uniform> pb: PB;

fn gradient(logit: f32, lse: f32, c: u32, label: i32, d: f32, C: u32) -> f32 {
  let v = d * (exp_f(logit - lse) - select(0.0, 1.0, i32(c) == label));
  return select(v, bitcast<f32>(0x7fc00000u + (C & 0u)), label < 0 || u32(label) >= C);
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
  let d = dloss[r];
  let to = min(i % n * RUN + RUN, pb.C);
  for (var c = i % n * RUN + l; c < to; c += 64u) {
    let k = r * pb.C + c;
    let v = gradient(logits_b[k], total, c, label, d, pb.C);
    if (pb.beta != 0.0) { dlogits[k] = pb.beta * dlogits[k] + v; } else { dlogits[k] = v; }
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
  let d = dloss[r];
  let to = min(i % n * RUN + RUN, p.C);
  for (var c = i % n * RUN + l; c < to; c += 64u) {
    let k = r * p.C + c;
    dlogits[k] = gradient(dlogits[k], total, c, label, d, p.C);
  }
}
