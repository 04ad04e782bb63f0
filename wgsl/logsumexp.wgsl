//! use math
//! use row
//! use index
// The smooth maximum of rows and its weights, the softmax.
struct P { R: u32, C: u32, tau: f32 }
@group(0) @binding(0) var<storage, read_write> y: array<f32>;  // (R)
@group(0) @binding(1) var<storage, read_write> wt: array<f32>; // (R,C)
@group(0) @binding(2) var<storage, read> x: array<f32>;        // (R,C)
@group(0) @binding(3) var<uniform> p: P;

// A workgroup of 64 a row.
@compute @workgroup_size(64)
fn logsumexp_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = w.y * g.x + w.x;
  let inside = row < p.R;
  let o = select(0u, row, inside) * p.C;
  var m = LOWEST;
  for (var c = l; c < p.C; c += 64u) { m = max_nan(m, x[o + c]); }
  m = row_all_max(m, l);
  var s = 0.0;
  for (var c = l; c < p.C; c += 64u) { s += exp_f((x[o + c] - m) / p.tau); }
  s = row_all_sum(s, l);
  if (!inside) { return; }
  if (l == 0u) { y[row] = m + p.tau * log(s); }
  for (var c = l; c < p.C; c += 64u) { wt[o + c] = exp_f((x[o + c] - m) / p.tau) / s; }
}

// Few columns: a thread a row.
@compute @workgroup_size(64)
fn logsumexp_f32__short(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = linear_index(w, g, l);
  if (row >= p.R) { return; }
  let o = row * p.C;
  var m = LOWEST;
  for (var c = 0u; c < p.C; c++) { m = max_nan(m, x[o + c]); }
  var s = 0.0;
  for (var c = 0u; c < p.C; c++) { s += exp_f((x[o + c] - m) / p.tau); }
  y[row] = m + p.tau * log(s);
  for (var c = 0u; c < p.C; c++) { wt[o + c] = exp_f((x[o + c] - m) / p.tau) / s; }
}
