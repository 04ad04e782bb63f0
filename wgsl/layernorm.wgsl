//! use index
//! use math
//! use row
// Layer normalisation: a workgroup of 64 a row. The gradients of weight and bias: a thread a column.
struct P { R: u32, C: u32, eps: f32 }
@group(0) @binding(0) var<storage, read_write> y: array<f32>;    // (R,C)
@group(0) @binding(1) var<storage, read_write> mean: array<f32>; // (R)
@group(0) @binding(2) var<storage, read_write> rstd: array<f32>; // (R)
@group(0) @binding(3) var<storage, read> x: array<f32>;          // (R,C)
@group(0) @binding(4) var<storage, read> weight: array<f32>;     // (C)
@group(0) @binding(5) var<storage, read> bias: array<f32>;       // (C)
@group(0) @binding(6) var<uniform> p: P;

@compute @workgroup_size(64)
fn layernorm_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = w.y * g.x + w.x;
  let inside = row < p.R;
  let o = select(0u, row, inside) * p.C;
  var s = 0.0;
  for (var c = l; c < p.C; c += 64u) { s += x[o + c]; }
  let m = row_all_sum(s, l) / f32(p.C);
  var q = 0.0;
  for (var c = l; c < p.C; c += 64u) { q += (x[o + c] - m) * (x[o + c] - m); }
  let k = 1.0 / sqrt(row_all_sum(q, l) / f32(p.C) + p.eps);
  if (!inside) { return; }
  if (l == 0u) { mean[row] = m; rstd[row] = k; }
  for (var c = l; c < p.C; c += 64u) { y[o + c] = (x[o + c] - m) * k * weight[c] + bias[c]; }
}

struct PB { R: u32, C: u32, beta: f32 }
@group(0) @binding(0) var<storage, read_write> dx: array<f32>;   // (R,C)
@group(0) @binding(1) var<storage, read> dy: array<f32>;         // (R,C)
@group(0) @binding(2) var<storage, read> x_b: array<f32>;        // (R,C)
@group(0) @binding(3) var<storage, read> weight_b: array<f32>;   // (C)
@group(0) @binding(4) var<storage, read> mean_b: array<f32>;     // (R)
@group(0) @binding(5) var<storage, read> rstd_b: array<f32>;     // (R)
@group(0) @binding(6) var<uniform> pb: PB;

@compute @workgroup_size(64)
fn layernorm_bwd_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = w.y * g.x + w.x;
  let inside = row < pb.R;
  let r = select(0u, row, inside);
  let o = r * pb.C;
  let m = mean_b[r];
  let k = rstd_b[r];
  var s = 0.0;
  var t = 0.0;
  for (var c = l; c < pb.C; c += 64u) {
    let h = dy[o + c] * weight_b[c];
    s += h;
    t += h * ((x_b[o + c] - m) * k);
  }
  let sum = row_all_sum(s, l) / f32(pb.C);
  let dot_hat = row_all_sum(t, l) / f32(pb.C);
  if (!inside) { return; }
  for (var c = l; c < pb.C; c += 64u) {
    let v = k * (dy[o + c] * weight_b[c] - sum - (x_b[o + c] - m) * k * dot_hat);
    if (pb.beta != 0.0) { dx[o + c] = pb.beta * dx[o + c] + v; } else { dx[o + c] = v; }
  }
}

struct PA { C: u32, R: u32, beta_dweight: f32, beta_dbias: f32 }
@group(0) @binding(0) var<storage, read_write> dweight: array<f32>; // (C)
@group(0) @binding(1) var<storage, read_write> dbias: array<f32>;   // (C)
@group(0) @binding(2) var<storage, read> dy_a: array<f32>;          // (R,C)
@group(0) @binding(3) var<storage, read> x_a: array<f32>;           // (R,C)
@group(0) @binding(4) var<storage, read> mean_a: array<f32>;        // (R)
@group(0) @binding(5) var<storage, read> rstd_a: array<f32>;        // (R)
@group(0) @binding(6) var<uniform> pa: PA;

@compute @workgroup_size(64)
fn layernorm_bwd_affine_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let c = linear_index(w, g, l);
  if (c >= pa.C) { return; }
  var s = 0.0;
  var t = 0.0;
  for (var r = 0u; r < pa.R; r++) {
    let d = dy_a[r * pa.C + c];
    s += d * ((x_a[r * pa.C + c] - mean_a[r]) * rstd_a[r]);
    t += d;
  }
  if (pa.beta_dweight != 0.0) { s += pa.beta_dweight * dweight[c]; }
  if (pa.beta_dbias != 0.0) { t += pa.beta_dbias * dbias[c]; }
  dweight[c] = s;
  dbias[c] = t;
}
