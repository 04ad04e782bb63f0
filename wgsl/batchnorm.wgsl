//! use index
//! use math
//! use row
//! use optional
// Batch normalisation: a workgroup of 64 a channel, whose elements are B runs of S.
struct P { B: u32, C: u32, S: u32, eps: f32 }
@group(0) @binding(0) var<storage, read_write> y: array<f32>;        // (B,C,S)
@group(0) @binding(1) var<storage, read_write> mean: array<f32>;     // (C)
@group(0) @binding(2) var<storage, read_write> variance: array<f32>; // (C)
@group(0) @binding(3) var<storage, read> x: array<f32>;              // (B,C,S)
@group(0) @binding(4) var<storage, read> weight: array<f32>;         // (C)
@group(0) @binding(5) var<storage, read> bias: array<f32>;           // (C)
@group(0) @binding(6) var<uniform> p: P;

// Where element i of channel c lies.
fn of_channel(i: u32, c: u32, C: u32, S: u32) -> u32 {
  return (i / S * C + c) * S + i % S;
}

@compute @workgroup_size(64)
fn batchnorm_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let channel = w.y * g.x + w.x;
  let c = min(channel, p.C - 1u);
  let n = p.B * p.S;
  var s = 0.0;
  for (var i = l; i < n; i += 64u) { s += x[of_channel(i, c, p.C, p.S)]; }
  let m = row_all_sum(s, l) / f32(n);
  var q = 0.0;
  for (var i = l; i < n; i += 64u) {
    let d = x[of_channel(i, c, p.C, p.S)] - m;
    q += d * d;
  }
  let v = row_all_sum(q, l) / f32(n);
  if (channel >= p.C) { return; }
  if (l == 0u) { mean[c] = m; variance[c] = v; }
  let k = weight[c] / sqrt(v + p.eps);
  for (var i = l; i < n; i += 64u) {
    let at = of_channel(i, c, p.C, p.S);
    y[at] = (x[at] - m) * k + bias[c];
  }
}

struct PI { B: u32, C: u32, S: u32, eps: f32, beta: f32 }
@group(0) @binding(1) var<storage, read> x_i: array<f32>;        // (B,C,S)
@group(0) @binding(2) var<storage, read> weight_i: array<f32>;   // (C)
@group(0) @binding(3) var<storage, read> bias_i: array<f32>;     // (C)
@group(0) @binding(4) var<storage, read> mean_i: array<f32>;     // (C)
@group(0) @binding(5) var<storage, read> variance_i: array<f32>; // (C)
@group(0) @binding(6) var<uniform> pi: PI;

@compute @workgroup_size(64)
fn batchnorm_inference_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i >= pi.B * pi.C * pi.S) { return; }
  let c = i / pi.S % pi.C;
  let v = (x_i[i] - mean_i[c]) * (weight_i[c] / sqrt(variance_i[c] + pi.eps)) + bias_i[c];
  if (adds(pi.beta)) { y[i] = pi.beta * y[i] + v; } else { y[i] = v; }
}

struct PB { B: u32, C: u32, S: u32, eps: f32, inference: u32, beta_dx: f32, beta_dweight: f32, beta_dbias: f32 }
@group(0) @binding(0) var<storage, read_write> dx: array<f32>;      // (B,C,S)
@group(0) @binding(1) var<storage, read_write> dweight: array<f32>; // (C)
@group(0) @binding(2) var<storage, read_write> dbias: array<f32>;   // (C)
@group(0) @binding(3) var<storage, read> dy: array<f32>;            // (B,C,S)
@group(0) @binding(4) var<storage, read> x_b: array<f32>;           // (B,C,S)
@group(0) @binding(5) var<storage, read> weight_b: array<f32>;      // (C)
@group(0) @binding(6) var<storage, read> mean_b: array<f32>;        // (C)
@group(0) @binding(7) var<storage, read> variance_b: array<f32>;    // (C)
@group(0) @binding(8) var<uniform> pb: PB;

@compute @workgroup_size(64)
fn batchnorm_bwd_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let channel = w.y * g.x + w.x;
  let c = min(channel, pb.C - 1u);
  let n = pb.B * pb.S;
  let m = mean_b[c];
  let k = 1.0 / sqrt(variance_b[c] + pb.eps);
  var s = 0.0;
  var t = 0.0;
  for (var i = l; i < n; i += 64u) {
    let at = of_channel(i, c, pb.C, pb.S);
    s += dy[at];
    t += dy[at] * ((x_b[at] - m) * k);
  }
  s = row_all_sum(s, l);
  t = row_all_sum(t, l);
  if (channel >= pb.C) { return; }
  if (l == 0u) {
    var dw = t;
    var db = s;
    if (adds(pb.beta_dweight)) { dw += pb.beta_dweight * dweight[c]; }
    if (adds(pb.beta_dbias)) { db += pb.beta_dbias * dbias[c]; }
    dweight[c] = dw;
    dbias[c] = db;
  }
  let batch = select(1.0, 0.0, pb.inference != 0u);
  for (var i = l; i < n; i += 64u) {
    let at = of_channel(i, c, pb.C, pb.S);
    let v = weight_b[c] * k * (dy[at] - batch * (s / f32(n) + (x_b[at] - m) * k * (t / f32(n))));
    if (adds(pb.beta_dx)) { dx[at] = pb.beta_dx * dx[at] + v; } else { dx[at] = v; }
  }
}
