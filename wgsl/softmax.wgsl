//! use math
//! use row
// Softmax of rows and its two derivatives: one workgroup of 64 a row (grid in two dimensions).
struct P { R: u32, C: u32, beta: f32 }
@group(0) @binding(0) var<storage, read_write> y: array<f32>; // (R,C)
@group(0) @binding(1) var<storage, read> x: array<f32>;       // (R,C)
@group(0) @binding(2) var<uniform> p: P;

fn put(i: u32, v: f32, beta: f32) {
  if (beta != 0.0) { y[i] = beta * y[i] + v; } else { y[i] = v; }
}

@compute @workgroup_size(64)
fn softmax_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = w.y * g.x + w.x;
  let inside = row < p.R;
  let o = select(0u, row, inside) * p.C;
  // The lowest finite number stands for -Inf, which arithmetic on the device may not survive.
  var m = LOWEST;
  for (var c = l; c < p.C; c += 64u) { m = max_nan(m, x[o + c]); }
  m = row_all_max(m, l);
  let none = m == LOWEST;
  var s = 0.0;
  for (var c = l; c < p.C; c += 64u) { s += exp_f(x[o + c] - m); }
  s = row_all_sum(s, l);
  let inv = select(1.0 / s, 0.0, none);
  if (!inside) { return; }
  for (var c = l; c < p.C; c += 64u) { put(o + c, select(exp_f(x[o + c] - m) * inv, 0.0, none), p.beta); }
}

@group(0) @binding(2) var<storage, read> v2: array<f32>; // (R,C)
@group(0) @binding(3) var<uniform> pb: P;

// dx = y (dy − Σ dy·y); bindings dx, dy, y.
@compute @workgroup_size(64)
fn softmax_bwd_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = w.y * g.x + w.x;
  let inside = row < pb.R;
  let o = select(0u, row, inside) * pb.C;
  var s = 0.0;
  for (var c = l; c < pb.C; c += 64u) { s += x[o + c] * v2[o + c]; }
  s = row_all_sum(s, l);
  if (!inside) { return; }
  for (var c = l; c < pb.C; c += 64u) { put(o + c, v2[o + c] * (x[o + c] - s), pb.beta); }
}

@group(0) @binding(3) var<storage, read> v3: array<f32>; // (R,C)
@group(0) @binding(4) var<uniform> pbb: P;

// gy = u (dy − s) − dy t, s = Σ dy·y, t = Σ u·y; bindings gy, u, dy, y.
@compute @workgroup_size(64)
fn softmax_bwd_bwd_y_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = w.y * g.x + w.x;
  let inside = row < pbb.R;
  let o = select(0u, row, inside) * pbb.C;
  var s = 0.0;
  var t = 0.0;
  for (var c = l; c < pbb.C; c += 64u) {
    s += v2[o + c] * v3[o + c];
    t += x[o + c] * v3[o + c];
  }
  s = row_all_sum(s, l);
  t = row_all_sum(t, l);
  if (!inside) { return; }
  for (var c = l; c < pbb.C; c += 64u) { put(o + c, x[o + c] * (v2[o + c] - s) - v2[o + c] * t, pbb.beta); }
}
