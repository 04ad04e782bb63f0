//! use block
//! use index
//! use math
//! use row
//! use optional
// Root-mean-square normalisation: a workgroup of 64 a row. The gradient of weight: a thread a column.
struct P { R: u32, C: u32, eps: f32 }
@group(0) @binding(0) var<storage, read_write> y: array<f32>;    // (R,C)
@group(0) @binding(1) var<storage, read_write> rstd: array<f32>; // (R)
@group(0) @binding(2) var<storage, read> x: array<f32>;          // (R,C)
@group(0) @binding(3) var<storage, read> weight: array<f32>;     // (C)
@group(0) @binding(4) var<uniform> p: P;

@compute @workgroup_size(64)
fn rmsnorm_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = w.y * g.x + w.x;
  let inside = row < p.R;
  let o = select(0u, row, inside) * p.C;
  var s = 0.0;
  for (var c = l; c < p.C; c += 64u) { s += x[o + c] * x[o + c]; }
  let k = 1.0 / sqrt(row_all_sum(s, l) / f32(p.C) + p.eps);
  if (!inside) { return; }
  if (l == 0u) { rstd[row] = k; }
  for (var c = l; c < p.C; c += 64u) { y[o + c] = x[o + c] * k * weight[c]; }
}

// A thread a row, C a multiple of 16.
@group(0) @binding(0) var<storage, read_write> yk: array<mat4x4f>;
@group(0) @binding(2) var<storage, read> xk: array<mat4x4f>;
@group(0) @binding(3) var<storage, read> weight_k: array<mat4x4f>;

@compute @workgroup_size(64)
fn rmsnorm_f32__rows(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = linear_index(w, g, l);
  if (row >= p.R) { return; }
  let n = p.C / 16u;
  let o = row * n;
  var s = mat4x4f();
  for (var i = 0u; i < n; i++) {
    let v = xk[o + i];
    s += block_times(v, v);
  }
  let k = 1.0 / sqrt(block_sum(s) / f32(p.C) + p.eps);
  rstd[row] = k;
  for (var i = 0u; i < n; i++) { yk[o + i] = block_times(xk[o + i] * k, weight_k[i]); }
}

struct PB { R: u32, C: u32, beta: f32 }
@group(0) @binding(0) var<storage, read_write> dx: array<f32>; // (R,C)
@group(0) @binding(1) var<storage, read> dy: array<f32>;       // (R,C)
@group(0) @binding(2) var<storage, read> x_b: array<f32>;      // (R,C)
@group(0) @binding(3) var<storage, read> weight_b: array<f32>; // (C)
@group(0) @binding(4) var<storage, read> rstd_b: array<f32>;   // (R)
@group(0) @binding(5) var<uniform> pb: PB;

@compute @workgroup_size(64)
fn rmsnorm_bwd_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = w.y * g.x + w.x;
  let inside = row < pb.R;
  let r = select(0u, row, inside);
  let o = r * pb.C;
  let k = rstd_b[r];
  var s = 0.0;
  for (var c = l; c < pb.C; c += 64u) { s += dy[o + c] * weight_b[c] * (x_b[o + c] * k); }
  let dot_hat = row_all_sum(s, l) / f32(pb.C);
  if (!inside) { return; }
  for (var c = l; c < pb.C; c += 64u) {
    let v = k * (dy[o + c] * weight_b[c] - x_b[o + c] * k * dot_hat);
    if (adds(pb.beta)) { dx[o + c] = pb.beta * dx[o + c] + v; } else { dx[o + c] = v; }
  }
}

@group(0) @binding(0) var<storage, read_write> dxk: array<mat4x4f>;
@group(0) @binding(1) var<storage, read> dyk: array<mat4x4f>;
@group(0) @binding(2) var<storage, read> x_bk: array<mat4x4f>;
@group(0) @binding(3) var<storage, read> weight_bk: array<mat4x4f>;

@compute @workgroup_size(64)
fn rmsnorm_bwd_f32__rows(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = linear_index(w, g, l);
  if (row >= pb.R) { return; }
  let n = pb.C / 16u;
  let o = row * n;
  let k = rstd_b[row];
  var s = mat4x4f();
  for (var i = 0u; i < n; i++) { s += block_times(block_times(dyk[o + i], weight_bk[i]), x_bk[o + i] * k); }
  let dot_hat = block_sum(s) / f32(pb.C);
  for (var i = 0u; i < n; i++) {
    let v = k * (block_times(dyk[o + i], weight_bk[i]) - (k * dot_hat) * x_bk[o + i]);
    if (adds(pb.beta)) { dxk[o + i] = pb.beta * dxk[o + i] + v; } else { dxk[o + i] = v; }
  }
}

struct PW { C: u32, R: u32, beta: f32 }
@group(0) @binding(0) var<storage, read_write> dweight: array<f32>; // (C)
@group(0) @binding(1) var<storage, read> dy_w: array<f32>;          // (R,C)
@group(0) @binding(2) var<storage, read> x_w: array<f32>;           // (R,C)
@group(0) @binding(3) var<storage, read> rstd_w: array<f32>;        // (R)
@group(0) @binding(4) var<uniform> pw: PW;

// Of the rows [first, to): Σ dy·x̂ of a column.
fn weight_of(c: u32, first: u32, to: u32) -> f32 {
  var s = 0.0;
  for (var r = first; r < to; r++) { s += dy_w[r * pw.C + c] * (x_w[r * pw.C + c] * rstd_w[r]); }
  return s;
}

fn put_weight(c: u32, sum: f32) {
  var s = sum;
  if (adds(pw.beta)) { s += pw.beta * dweight[c]; }
  dweight[c] = s;
}

@compute @workgroup_size(64)
fn rmsnorm_bwd_weight_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let c = linear_index(w, g, l);
  if (c < pw.C) { put_weight(c, weight_of(c, 0u, pw.R)); }
}

// Many rows in chunks of CHUNK, then their sums in order.
const CHUNK = 64u;
@group(0) @binding(5) var<storage, read_write> partial: array<f32>; // (chunks,C)

@compute @workgroup_size(64)
fn rmsnorm_bwd_weight_f32__split(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  let chunk = i / max(pw.C, 1u);
  if (chunk * CHUNK >= pw.R) { return; }
  partial[i] = weight_of(i % pw.C, chunk * CHUNK, min(chunk * CHUNK + CHUNK, pw.R));
}

@compute @workgroup_size(64)
fn rmsnorm_bwd_weight_f32__sum(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let c = linear_index(w, g, l);
  if (c >= pw.C) { return; }
  var s = 0.0;
  for (var i = 0u; i * CHUNK < pw.R; i++) { s += partial[i * pw.C + c]; }
  put_weight(c, s);
}
