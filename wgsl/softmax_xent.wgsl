//! use math
//! use row
//! use index
// Cross-entropy of rows of logits against one label each: a workgroup a row. The gradient is
// elementwise from the saved lse.
struct P { R: u32, C: u32 }
@group(0) @binding(0) var<storage, read_write> loss: array<f32>; // (R)
@group(0) @binding(1) var<storage, read_write> lse: array<f32>;  // (R)
@group(0) @binding(2) var<storage, read> logits: array<f32>;     // (R,C)
@group(0) @binding(3) var<storage, read> labels: array<i32>;     // (R)
@group(0) @binding(4) var<uniform> p: P;

@compute @workgroup_size(64)
fn softmax_xent_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = w.y * g.x + w.x;
  let inside = row < p.R;
  let o = select(0u, row, inside) * p.C;
  var m = LOWEST;
  for (var c = l; c < p.C; c += 64u) { m = max_nan(m, logits[o + c]); }
  m = row_all_max(m, l);
  var s = 0.0;
  for (var c = l; c < p.C; c += 64u) { s += exp_f(logits[o + c] - m); }
  s = row_all_sum(s, l);
  if (l != 0u || !inside) { return; }
  let total = m + log(s);
  let label = labels[row];
  lse[row] = total;
  if (label >= 0 && u32(label) < p.C) { loss[row] = total - logits[o + u32(label)]; }
  else { loss[row] = bitcast<f32>(0x7fc00000u + (p.R & 0u)); }
}

struct PB { R: u32, C: u32, beta: f32 }
@group(0) @binding(0) var<storage, read_write> dlogits: array<f32>; // (R,C)
@group(0) @binding(1) var<storage, read> dloss: array<f32>;         // (R)
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
  var v = dloss[r] * (exp_f(logits_b[i] - lse_b[r]) - select(0.0, 1.0, i32(c) == label));
  if (label < 0 || u32(label) >= pb.C) { v = bitcast<f32>(0x7fc00000u + (pb.R & 0u)); }
  if (pb.beta != 0.0) { dlogits[i] = pb.beta * dlogits[i] + v; } else { dlogits[i] = v; }
}
