//! use block
//! use index
//! use math
//! use row
//! use optional
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

// A thread a row, C a multiple of 16.
@group(0) @binding(0) var<storage, read_write> yk: array<mat4x4f>;
@group(0) @binding(3) var<storage, read> xk: array<mat4x4f>;
@group(0) @binding(4) var<storage, read> weight_k: array<mat4x4f>;
@group(0) @binding(5) var<storage, read> bias_k: array<mat4x4f>;

@compute @workgroup_size(64)
fn layernorm_f32__rows(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = linear_index(w, g, l);
  if (row >= p.R) { return; }
  let n = p.C / 16u;
  let o = row * n;
  let s = row_moments(o, n);
  let k = 1.0 / sqrt(s.y / f32(p.C) + p.eps);
  mean[row] = s.x;
  rstd[row] = k;
  for (var i = 0u; i < n; i++) {
    yk[o + i] = block_times(block_less(xk[o + i], s.x) * k, weight_k[i]) + bias_k[i];
  }
}

// Mean and Σ (x − mean)² in one pass: those of blocks, put together (Chan, Golub and LeVeque 1983).
fn row_moments(o: u32, n: u32) -> vec2f {
  var s = vec2f();
  for (var i = 0u; i < n; i++) {
    let v = xk[o + i];
    let m = block_sum(v) / 16.0;
    let d = block_less(v, m);
    let apart = m - s.x;
    let share = 1.0 / f32(i + 1u);
    s += vec2f(apart * share, block_sum(block_times(d, d)) + apart * apart * (16.0 * f32(i) * share));
  }
  return s;
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
    if (adds(pb.beta)) { dx[o + c] = pb.beta * dx[o + c] + v; } else { dx[o + c] = v; }
  }
}

@group(0) @binding(0) var<storage, read_write> dxk: array<mat4x4f>;
@group(0) @binding(1) var<storage, read> dyk: array<mat4x4f>;
@group(0) @binding(2) var<storage, read> x_bk: array<mat4x4f>;
@group(0) @binding(3) var<storage, read> weight_bk: array<mat4x4f>;

@compute @workgroup_size(64)
fn layernorm_bwd_f32__rows(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = linear_index(w, g, l);
  if (row >= pb.R) { return; }
  let n = pb.C / 16u;
  let o = row * n;
  let m = mean_b[row];
  let k = rstd_b[row];
  var s = mat4x4f();
  var t = mat4x4f();
  for (var i = 0u; i < n; i++) {
    let h = block_times(dyk[o + i], weight_bk[i]);
    s += h;
    t += block_times(h, block_less(x_bk[o + i], m) * k);
  }
  let sum = block_sum(s) / f32(pb.C);
  let dot_hat = block_sum(t) / f32(pb.C);
  for (var i = 0u; i < n; i++) {
    let h = block_less(block_times(dyk[o + i], weight_bk[i]), sum);
    let v = k * (h - dot_hat * (block_less(x_bk[o + i], m) * k));
    if (adds(pb.beta)) { dxk[o + i] = pb.beta * dxk[o + i] + v; } else { dxk[o + i] = v; }
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

// Of the rows [first, to): Σ dy·x̂ and Σ dy of a column.
fn affine_of(c: u32, first: u32, to: u32) -> vec2f {
  var s = vec2f();
  for (var r = first; r < to; r++) {
    let d = dy_a[r * pa.C + c];
    s += d * vec2f((x_a[r * pa.C + c] - mean_a[r]) * rstd_a[r], 1.0);
  }
  return s;
}

fn put_affine(c: u32, sums: vec2f) {
  var s = sums;
  if (adds(pa.beta_dweight)) { s.x += pa.beta_dweight * dweight[c]; }
  if (adds(pa.beta_dbias)) { s.y += pa.beta_dbias * dbias[c]; }
  dweight[c] = s.x;
  dbias[c] = s.y;
}

@compute @workgroup_size(64)
fn layernorm_bwd_affine_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let c = linear_index(w, g, l);
  if (c < pa.C) { put_affine(c, affine_of(c, 0u, pa.R)); }
}

// Many rows in chunks of CHUNK, then their sums in order.
const CHUNK = 64u;
@group(0) @binding(7) var<storage, read_write> partial: array<vec2f>; // (chunks,C)

@compute @workgroup_size(64)
fn layernorm_bwd_affine_f32__split(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  let chunk = i / max(pa.C, 1u);
  if (chunk * CHUNK >= pa.R) { return; }
  partial[i] = affine_of(i % pa.C, chunk * CHUNK, min(chunk * CHUNK + CHUNK, pa.R));
}

@compute @workgroup_size(64)
fn layernorm_bwd_affine_f32__sum(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let c = linear_index(w, g, l);
  if (c >= pa.C) { return; }
  var s = vec2f();
  for (var i = 0u; i * CHUNK < pa.R; i++) { s += partial[i * pa.C + c]; }
  put_affine(c, s);
}
