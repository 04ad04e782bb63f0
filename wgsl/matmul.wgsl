//! use index
//! use activation
// y (B,M,N) = beta·y + act(alpha · A·B + bias). Large: a 16×16 tile of y per workgroup, K in steps of 16
// through workgroup memory. grid: (N tiles, M tiles, B).
struct P {
  B: u32, M: u32, N: u32, A: u32, K: u32, C: u32,
  present: u32,
  alpha: f32, ta: u32, tb: u32, act: u32, beta: f32,
}
@group(0) @binding(0) var<storage, read_write> y: array<f32>; // (B,M,N)
@group(0) @binding(1) var<storage, read> a: array<f32>;       // (A,M,K) or (A,K,M); A is B or 1
@group(0) @binding(2) var<storage, read> b: array<f32>;       // (C,K,N) or (C,N,K); C is B or 1
@group(0) @binding(3) var<storage, read> bias: array<f32>;    // (N)
@group(0) @binding(4) var<uniform> p: P;

const T = 16u;
var<workgroup> ta: array<f32, 256>;
var<workgroup> tb: array<f32, 256>;

fn finish(i: u32, n: u32, s: f32, alpha: f32, present: u32, act: u32, beta: f32) {
  var v = alpha * s;
  if (present != 0u) { v += bias[n]; }
  put(i, activate(act, v), beta);
}

fn put(i: u32, v: f32, beta: f32) {
  if (beta != 0.0) { y[i] = beta * y[i] + v; } else { y[i] = v; }
}

@compute @workgroup_size(16, 16)
fn matmul_f32(@builtin(workgroup_id) w: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let m = w.y * T + l.y;
  let n = w.x * T + l.x;
  let oa = select(w.z, 0u, p.A == 1u) * p.M * p.K;
  let ob = select(w.z, 0u, p.C == 1u) * p.K * p.N;
  var s = 0.0;
  for (var k0 = 0u; k0 < p.K; k0 += T) {
    // Neighbouring threads read neighbouring words, whichever way the operand lies.
    var v = 0.0;
    if (p.ta == 0u) {
      if (m < p.M && k0 + l.x < p.K) { v = a[oa + m * p.K + k0 + l.x]; }
      ta[l.y * T + l.x] = v;
    } else {
      let i = w.y * T + l.x;
      if (i < p.M && k0 + l.y < p.K) { v = a[oa + (k0 + l.y) * p.M + i]; }
      ta[l.x * T + l.y] = v;
    }
    v = 0.0;
    if (p.tb == 0u) {
      if (n < p.N && k0 + l.y < p.K) { v = b[ob + (k0 + l.y) * p.N + n]; }
      tb[l.y * T + l.x] = v;
    } else {
      let j = w.x * T + l.y;
      if (j < p.N && k0 + l.x < p.K) { v = b[ob + j * p.K + k0 + l.x]; }
      tb[l.x * T + l.y] = v;
    }
    workgroupBarrier();
    let depth = min(T, p.K - k0);
    for (var k = 0u; k < depth; k++) { s += ta[l.y * T + k] * tb[k * T + l.x]; }
    workgroupBarrier();
  }
  if (m < p.M && n < p.N) { finish((w.z * p.M + m) * p.N + n, n, s, p.alpha, p.present, p.act, p.beta); }
}

// Small products: a thread an element, no workgroup memory. A tile would leave most of itself empty,
// and a software adapter pays more for a barrier than for all of the arithmetic.
@compute @workgroup_size(64)
fn matmul_small_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i >= p.B * p.M * p.N) { return; }
  let n = i % p.N;
  let m = (i / p.N) % p.M;
  let batch = i / (p.M * p.N);
  var ia = select(batch, 0u, p.A == 1u) * p.M * p.K + m * select(p.K, 1u, p.ta != 0u);
  var ib = select(batch, 0u, p.C == 1u) * p.K * p.N + n * select(1u, p.K, p.tb != 0u);
  let da = select(1u, p.M, p.ta != 0u);
  let db = select(p.N, 1u, p.tb != 0u);
  var s = 0.0;
  for (var k = 0u; k < p.K; k++) {
    s += a[ia] * b[ib];
    ia += da;
    ib += db;
  }
  finish(i, n, s, p.alpha, p.present, p.act, p.beta);
}

// Panels (P,K,8): packed[p][k][j] = b[k][8p + j], zero past column N.
fn in_panels(k: u32, n: u32, K: u32) -> u32 {
  return ((n >> 3u) * K + k) * 8u + (n & 7u);
}

struct PM { R: u32, N: u32, K: u32, P: u32, present: u32, alpha: f32, act: u32, n: u32, beta: f32 }
@group(0) @binding(4) var<uniform> pm: PM;

// y (R,N) of a (R,K) and panels, which are bound as b: a thread an element.
@compute @workgroup_size(64)
fn matmul_packed_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i >= pm.R * pm.N) { return; }
  let n = i % pm.N;
  let row = i / pm.N * pm.K;
  var s = 0.0;
  for (var k = 0u; k < pm.K; k++) { s += a[row + k] * b[in_panels(k, n, pm.K)]; }
  finish(i, n, s, pm.alpha, pm.present, pm.act, pm.beta);
}

struct PP { P: u32, K: u32, N: u32, tb: u32, beta: f32 }
@group(0) @binding(2) var<uniform> pp: PP;

// y the panels, a the matrix: a thread an element of the panels.
@compute @workgroup_size(64)
fn pack_b_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i >= pp.P * pp.K * 8u) { return; }
  let n = i / (8u * pp.K) * 8u + i % 8u;
  let k = i / 8u % pp.K;
  var v = 0.0;
  if (n < pp.N) { v = a[select(k * pp.N + n, n * pp.K + k, pp.tb != 0u)]; }
  put(i, v, pp.beta);
}

struct PU { K: u32, N: u32, P: u32, tb: u32, n: u32, beta: f32 }
@group(0) @binding(2) var<uniform> pu: PU;

// y the matrix, a the panels: a thread an element of the matrix.
@compute @workgroup_size(64)
fn unpack_b_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i >= pu.K * pu.N) { return; }
  let k = select(i / pu.N, i % pu.K, pu.tb != 0u);
  let n = select(i % pu.N, i / pu.K, pu.tb != 0u);
  put(i, a[in_panels(k, n, pu.K)], pu.beta);
}
