//! use index
//! use activation
// y (B,M,N) = beta·y + act(alpha · A·B + bias), and products with a packed B.
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

fn finish(i: u32, n: u32, s: f32, alpha: f32, present: u32, act: u32, beta: f32) {
  var v = alpha * s;
  if (present != 0u) { v += bias[n]; }
  put(i, activate(act, v), beta);
}

fn put(i: u32, v: f32, beta: f32) {
  if (beta != 0.0) { y[i] = beta * y[i] + v; } else { y[i] = v; }
}

// Where element (row, k = 0) of an operand lies, and the step to the next k.
fn start_a(batch: u32, m: u32) -> u32 {
  return select(batch, 0u, p.A == 1u) * p.M * p.K + m * select(p.K, 1u, p.ta != 0u);
}

fn start_b(batch: u32, n: u32) -> u32 {
  return select(batch, 0u, p.C == 1u) * p.K * p.N + n * select(1u, p.K, p.tb != 0u);
}

fn step_a() -> u32 { return select(1u, p.M, p.ta != 0u); }
fn step_b() -> u32 { return select(p.N, 1u, p.tb != 0u); }

// A 4×4 block a thread: 16 sums in registers for 8 loads, and no barriers. Rows and columns past the end
// repeat the last and are not stored.
@compute @workgroup_size(64)
fn matmul_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  let across = (p.N + 3u) / 4u;
  let down = (p.M + 3u) / 4u;
  if (i >= p.B * down * across) { return; }
  let n = i % across * 4u;
  let m = i / across % down * 4u;
  let batch = i / (across * down);
  let rows = min(vec4u(m) + vec4u(0u, 1u, 2u, 3u), vec4u(p.M - 1u));
  let columns = min(vec4u(n) + vec4u(0u, 1u, 2u, 3u), vec4u(p.N - 1u));
  var ia = vec4u(start_a(batch, rows.x), start_a(batch, rows.y), start_a(batch, rows.z), start_a(batch, rows.w));
  var ib = vec4u(start_b(batch, columns.x), start_b(batch, columns.y), start_b(batch, columns.z), start_b(batch, columns.w));
  let da = step_a();
  let db = step_b();
  var s0 = vec4f();
  var s1 = vec4f();
  var s2 = vec4f();
  var s3 = vec4f();
  for (var k = 0u; k < p.K; k++) {
    let v = vec4f(b[ib.x], b[ib.y], b[ib.z], b[ib.w]);
    s0 += a[ia.x] * v;
    s1 += a[ia.y] * v;
    s2 += a[ia.z] * v;
    s3 += a[ia.w] * v;
    ia += vec4u(da);
    ib += vec4u(db);
  }
  let sums = array<vec4f, 4>(s0, s1, s2, s3);
  for (var r = 0u; r < min(4u, p.M - m); r++) {
    for (var c = 0u; c < min(4u, p.N - n); c++) {
      let at = (batch * p.M + m + r) * p.N + n + c;
      finish(at, n + c, sums[r][c], p.alpha, p.present, p.act, p.beta);
    }
  }
}

// Small products: a thread an element, for there are few of them.
@compute @workgroup_size(64)
fn matmul_f32__small(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i >= p.B * p.M * p.N) { return; }
  let n = i % p.N;
  let m = (i / p.N) % p.M;
  let batch = i / (p.M * p.N);
  var ia = start_a(batch, m);
  var ib = start_b(batch, n);
  let da = step_a();
  let db = step_b();
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
