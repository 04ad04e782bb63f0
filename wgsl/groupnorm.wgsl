//! use block
//! use math
//! use row
//! use optional
// Group normalisation: a workgroup of 64 a group of one image, whose numbers lie together. The
// gradients of weight and bias: a workgroup a channel. On an adapter that runs on the CPU a thread takes
// sixteen pixels at a time (`blocks`).
struct P { B: u32, C: u32, H: u32, W: u32, G: u32, groups: u32, eps: f32 }
@group(0) @binding(0) var<storage, read_write> y: array<f32>;    // (B,C,H,W)
@group(0) @binding(1) var<storage, read_write> mean: array<f32>; // (B,G)
@group(0) @binding(2) var<storage, read_write> rstd: array<f32>; // (B,G)
@group(0) @binding(3) var<storage, read> x: array<f32>;          // (B,C,H,W)
@group(0) @binding(4) var<storage, read> weight: array<f32>;     // (C)
@group(0) @binding(5) var<storage, read> bias: array<f32>;       // (C)
@group(0) @binding(6) var<uniform> p: P;

@compute @workgroup_size(64)
fn groupnorm_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = w.y * g.x + w.x;
  let inside = row < p.B * p.G;
  let pixels = p.H * p.W;
  let size = p.C / p.G * pixels;
  let o = select(0u, row, inside) * size;
  var s = 0.0;
  for (var i = l; i < size; i += 64u) { s += x[o + i]; }
  let m = row_all_sum(s, l) / f32(size);
  var q = 0.0;
  for (var i = l; i < size; i += 64u) { q += (x[o + i] - m) * (x[o + i] - m); }
  let k = 1.0 / sqrt(row_all_sum(q, l) / f32(size) + p.eps);
  if (!inside) { return; }
  if (l == 0u) { mean[row] = m; rstd[row] = k; }
  for (var i = l; i < size; i += 64u) {
    let c = row % p.G * (p.C / p.G) + i / pixels;
    y[o + i] = (x[o + i] - m) * k * weight[c] + bias[c];
  }
}

struct PB { B: u32, C: u32, H: u32, W: u32, G: u32, beta: f32 }
@group(0) @binding(0) var<storage, read_write> dx: array<f32>;   // (B,C,H,W)
@group(0) @binding(1) var<storage, read> dy: array<f32>;         // (B,C,H,W)
@group(0) @binding(2) var<storage, read> x_b: array<f32>;        // (B,C,H,W)
@group(0) @binding(3) var<storage, read> weight_b: array<f32>;   // (C)
@group(0) @binding(4) var<storage, read> mean_b: array<f32>;     // (B,G)
@group(0) @binding(5) var<storage, read> rstd_b: array<f32>;     // (B,G)
@group(0) @binding(6) var<uniform> pb: PB;

@compute @workgroup_size(64)
fn groupnorm_bwd_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = w.y * g.x + w.x;
  let inside = row < pb.B * pb.G;
  let r = select(0u, row, inside);
  let pixels = pb.H * pb.W;
  let size = pb.C / pb.G * pixels;
  let o = r * size;
  let first = r % pb.G * (pb.C / pb.G);
  let m = mean_b[r];
  let k = rstd_b[r];
  var s = 0.0;
  var t = 0.0;
  for (var i = l; i < size; i += 64u) {
    let h = dy[o + i] * weight_b[first + i / pixels];
    s += h;
    t += h * ((x_b[o + i] - m) * k);
  }
  let sum = row_all_sum(s, l) / f32(size);
  let dot_hat = row_all_sum(t, l) / f32(size);
  if (!inside) { return; }
  for (var i = l; i < size; i += 64u) {
    let v = k * (dy[o + i] * weight_b[first + i / pixels] - sum - (x_b[o + i] - m) * k * dot_hat);
    if (adds(pb.beta)) { dx[o + i] = pb.beta * dx[o + i] + v; } else { dx[o + i] = v; }
  }
}

struct PA { C: u32, B: u32, H: u32, W: u32, G: u32, beta_dweight: f32, beta_dbias: f32 }
@group(0) @binding(0) var<storage, read_write> dweight: array<f32>; // (C)
@group(0) @binding(1) var<storage, read_write> dbias: array<f32>;   // (C)
@group(0) @binding(2) var<storage, read> dy_a: array<f32>;          // (B,C,H,W)
@group(0) @binding(3) var<storage, read> x_a: array<f32>;           // (B,C,H,W)
@group(0) @binding(4) var<storage, read> mean_a: array<f32>;        // (B,G)
@group(0) @binding(5) var<storage, read> rstd_a: array<f32>;        // (B,G)
@group(0) @binding(6) var<uniform> pa: PA;

@compute @workgroup_size(64)
fn groupnorm_bwd_affine_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = w.y * g.x + w.x;
  let inside = row < pa.C;
  let c = select(0u, row, inside);
  let pixels = pa.H * pa.W;
  var s = 0.0;
  var t = 0.0;
  for (var b = 0u; b < pa.B; b++) {
    let r = b * pa.G + c / (pa.C / pa.G);
    let o = (b * pa.C + c) * pixels;
    for (var i = l; i < pixels; i += 64u) {
      s += dy_a[o + i] * ((x_a[o + i] - mean_a[r]) * rstd_a[r]);
      t += dy_a[o + i];
    }
  }
  s = row_all_sum(s, l);
  t = row_all_sum(t, l);
  if (!inside || l != 0u) { return; }
  if (adds(pa.beta_dweight)) { s += pa.beta_dweight * dweight[c]; }
  if (adds(pa.beta_dbias)) { t += pa.beta_dbias * dbias[c]; }
  dweight[c] = s;
  dbias[c] = t;
}

// ---- sixteen pixels at a time, their number a multiple of 16 --------------------------------------------

@group(0) @binding(0) var<storage, read_write> yk: array<mat4x4f>; // (B,C,H,W), y or dx
@group(0) @binding(3) var<storage, read> xk: array<mat4x4f>;       // (B,C,H,W)

@compute @workgroup_size(64)
fn groupnorm_f32__blocks(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = w.y * g.x + w.x;
  let inside = row < p.B * p.G;
  let pixels = p.H * p.W / 16u;
  let size = p.C / p.G * pixels;
  let o = select(0u, row, inside) * size;
  let first = row % p.G * (p.C / p.G);
  var s = mat4x4f();
  for (var i = l; i < size; i += 64u) { s += xk[o + i]; }
  let m = row_all_sum(block_sum(s), l) / f32(16u * size);
  var q = mat4x4f();
  for (var i = l; i < size; i += 64u) {
    let d = block_less(xk[o + i], m);
    q += block_times(d, d);
  }
  let k = 1.0 / sqrt(row_all_sum(block_sum(q), l) / f32(16u * size) + p.eps);
  if (!inside) { return; }
  if (l == 0u) { mean[row] = m; rstd[row] = k; }
  for (var i = l; i < size; i += 64u) {
    let c = first + i / pixels;
    yk[o + i] = block_less(block_less(xk[o + i], m) * (k * weight[c]), -bias[c]);
  }
}

@group(0) @binding(1) var<storage, read> dyk: array<mat4x4f>; // (B,C,H,W)
@group(0) @binding(2) var<storage, read> xbk: array<mat4x4f>; // (B,C,H,W)

@compute @workgroup_size(64)
fn groupnorm_bwd_f32__blocks(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = w.y * g.x + w.x;
  let inside = row < pb.B * pb.G;
  let r = select(0u, row, inside);
  let pixels = pb.H * pb.W / 16u;
  let size = pb.C / pb.G * pixels;
  let o = r * size;
  let first = r % pb.G * (pb.C / pb.G);
  let m = mean_b[r];
  let k = rstd_b[r];
  var s = mat4x4f();
  var t = mat4x4f();
  for (var i = l; i < size; i += 64u) {
    let h = dyk[o + i] * weight_b[first + i / pixels];
    s += h;
    t += block_times(h, block_less(xbk[o + i], m));
  }
  let sum = row_all_sum(block_sum(s), l) / f32(16u * size);
  let dot_hat = row_all_sum(block_sum(t) * k, l) / f32(16u * size);
  if (!inside) { return; }
  for (var i = l; i < size; i += 64u) {
    let h = block_less(dyk[o + i] * weight_b[first + i / pixels], sum);
    let v = (h - block_less(xbk[o + i], m) * (k * dot_hat)) * k;
    if (adds(pb.beta)) { yk[o + i] = pb.beta * yk[o + i] + v; } else { yk[o + i] = v; }
  }
}

@group(0) @binding(2) var<storage, read> dyak: array<mat4x4f>; // (B,C,H,W)

@compute @workgroup_size(64)
fn groupnorm_bwd_affine_f32__blocks(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = w.y * g.x + w.x;
  let inside = row < pa.C;
  let c = select(0u, row, inside);
  let pixels = pa.H * pa.W / 16u;
  var s = 0.0;
  var t = mat4x4f();
  for (var b = 0u; b < pa.B; b++) {
    let r = b * pa.G + c / (pa.C / pa.G);
    let o = (b * pa.C + c) * pixels;
    let m = mean_a[r];
    var dots = mat4x4f();
    for (var i = l; i < pixels; i += 64u) {
      let d = dyak[o + i];
      dots += block_times(d, block_less(xk[o + i], m));
      t += d;
    }
    s += block_sum(dots) * rstd_a[r];
  }
  s = row_all_sum(s, l);
  var u = row_all_sum(block_sum(t), l);
  if (!inside || l != 0u) { return; }
  if (adds(pa.beta_dweight)) { s += pa.beta_dweight * dweight[c]; }
  if (adds(pa.beta_dbias)) { u += pa.beta_dbias * dbias[c]; }
  dweight[c] = s;
  dbias[c] = u;
}
