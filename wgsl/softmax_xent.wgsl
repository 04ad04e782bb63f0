//! use math
//! use row
//! use index
// Cross-entropy of rows of logits against one label each: a workgroup a row. The gradient is
// elementwise from the saved lse.
struct P { R: u32, C: u32, reduction: u32 }
@group(0) @binding(0) var<storage, read_write> loss: array<f32>; // (R), or () for the mean
@group(0) @binding(1) var<storage, read_write> lse: array<f32>;  // (R)
@group(0) @binding(2) var<storage, read> logits: array<f32>;     // (R,C)
@group(0) @binding(3) var<storage, read> labels: array<i32>;     // (R)
@group(0) @binding(4) var<uniform> p: P;
@group(0) @binding(5) var<storage, read_write> row_loss: array<f32>; // scratch: (R)

fn nan() -> f32 { return bitcast<f32>(0x7fc00000u + (p.C & 0u)); }

fn loss_of(row: u32, lse_of_row: f32) -> f32 {
  let label = labels[row];
  if (label < 0 || u32(label) >= p.C) { return nan(); }
  return lse_of_row - logits[row * p.C + u32(label)];
}

// By all threads of a workgroup.
fn lse_of(row: u32, l: u32) -> f32 {
  let o = min(row, p.R - 1u) * p.C;
  var m = LOWEST;
  for (var c = l; c < p.C; c += 64u) { m = max_nan(m, logits[o + c]); }
  m = row_all_max(m, l);
  var s = 0.0;
  for (var c = l; c < p.C; c += 64u) { s += exp_f(logits[o + c] - m); }
  return m + log(row_all_sum(s, l));
}

@compute @workgroup_size(64)
fn softmax_xent_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = w.y * g.x + w.x;
  let v = lse_of(row, l);
  if (l != 0u || row >= p.R) { return; }
  lse[row] = v;
  loss[row] = loss_of(row, v);
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

// Few short rows, in one workgroup: a thread a row.
@compute @workgroup_size(64)
fn softmax_xent_f32__mean(@builtin(local_invocation_index) l: u32) {
  var sum = 0.0;
  for (var r = l; r < p.R; r += 64u) {
    let o = r * p.C;
    var m = LOWEST;
    for (var c = 0u; c < p.C; c++) { m = max_nan(m, logits[o + c]); }
    var s = 0.0;
    for (var c = 0u; c < p.C; c++) { s += exp_f(logits[o + c] - m); }
    let v = m + log(s);
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

@compute @workgroup_size(64)
fn softmax_xent_bwd_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i >= pb.R * pb.C) { return; }
  let r = i / pb.C;
  let c = i % pb.C;
  let label = labels_b[r];
  let d = select(dloss[select(r, 0u, pb.reduction == 1u)], dloss[0] / f32(pb.R), pb.reduction == 1u);
  var v = d * (exp_f(logits_b[i] - lse_b[r]) - select(0.0, 1.0, i32(c) == label));
  if (label < 0 || u32(label) >= pb.C) { v = bitcast<f32>(0x7fc00000u + (pb.R & 0u)); }
  if (pb.beta != 0.0) { dlogits[i] = pb.beta * dlogits[i] + v; } else { dlogits[i] = v; }
}
