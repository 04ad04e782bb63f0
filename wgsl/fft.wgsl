//! use index
//! use math
//! use optional
// Fourier transform of rows. Powers of two in one workgroup a row: the input goes to the output in
// bit-reversed order, then log₂ N passes of butterflies of radix 2 run there in place. Any N in passes of
// Stockham's over the factors of N, between scratch and the output; or by the definition.
struct P { R: u32, N: u32, present: u32, inverse: u32, norm: u32 }
@group(0) @binding(0) var<storage, read_write> yr: array<f32>; // (R,N)
@group(0) @binding(1) var<storage, read_write> yi: array<f32>; // (R,N)
@group(0) @binding(2) var<storage, read> xr: array<f32>;       // (R,N)
@group(0) @binding(3) var<storage, read> xi: array<f32>;       // (R,N), optional
@group(0) @binding(4) var<uniform> p: P;

const TURN = 6.283185307179586;

// norm 0: factor of the inverse; 1: of the forward transform; 2: of both.
fn factor() -> f32 {
  let n = f32(p.N);
  if (p.norm == 2u) { return 1.0 / sqrt(n); }
  return select(1.0 / n, 1.0, (p.norm == 1u) == (p.inverse == 1u));
}

@compute @workgroup_size(256)
fn fft_f32__workgroup(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = w.y * g.x + w.x;
  if (row >= p.R) { return; }
  let o = row * p.N;
  let f = factor();
  let unused = countLeadingZeros(p.N) + 1u;
  for (var i = l; i < p.N; i += 256u) {
    // Of N = 1 all bits are unused, and a shift by 32 is no shift.
    let j = select(reverseBits(i) >> (unused & 31u), 0u, p.N == 1u);
    yr[o + j] = f * xr[o + i];
    yi[o + j] = select(0.0, f * xi[select(0u, o + i, p.present == 1u)], p.present == 1u);
  }
  let sign = select(-1.0, 1.0, p.inverse == 1u);
  for (var half = 1u; half < p.N; half <<= 1u) {
    storageBarrier();
    for (var t = l; t < p.N / 2u; t += 256u) {
      let k = t & (half - 1u);
      let a = o + 2u * t - k;
      let b = a + half;
      let angle = TURN * f32(k) / f32(2u * half);
      let c = cos_f(angle);
      let s = sign * sin_f(angle);
      let r = yr[b] * c - yi[b] * s;
      let m = yr[b] * s + yi[b] * c;
      yr[b] = yr[a] - r;
      yi[b] = yi[a] - m;
      yr[a] += r;
      yi[a] += m;
    }
  }
}

// e^∓2πik/n for k < n < 2^29: the angle to the nearest quarter turn is exact but for one rounding.
fn root(k: u32, n: u32) -> vec2f {
  let quarter = (8u * k + n) / (2u * n);
  let angle = 0.25 * TURN * f32(i32(4u * k) - i32(quarter * n)) / f32(n);
  let c = cos_f(angle);
  let s = sin_f(angle);
  var w = select(vec2f(c, s), vec2f(-s, c), (quarter & 1u) == 1u);
  w = select(w, -w, (quarter & 2u) == 2u);
  return vec2f(w.x, select(-w.y, w.y, p.inverse == 1u));
}

fn times(a: vec2f, b: vec2f) -> vec2f {
  return vec2f(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x);
}

// x e^∓iπq/2.
fn quarter_turns(x: vec2f, q: u32) -> vec2f {
  let v = select(x, -x, (q & 2u) == 2u);
  let sign = select(1.0, -1.0, p.inverse == 1u);
  return select(v, sign * vec2f(v.y, -v.x), (q & 1u) == 1u);
}

fn input(i: u32) -> vec2f {
  if (has(p.present)) { return vec2f(xr[i], xi[i]); }
  return vec2f(xr[i], 0.0);
}

// The definition.
@compute @workgroup_size(64)
fn fft_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let t = linear_index(w, g, l);
  if (t >= p.R * p.N) { return; }
  let o = t - t % p.N;
  var v = vec2f(0.0);
  var e = 0u;
  for (var k = 0u; k < p.N; k++) {
    v += times(input(o + k), root(e, p.N));
    e += t - o;
    if (e >= p.N) { e -= p.N; }
  }
  yr[t] = factor() * v.x;
  yi[t] = factor() * v.y;
}

// Length that is left and radix before an even and before an odd pass, then numbers (R,N).
@group(0) @binding(5) var<storage, read_write> scratch: array<vec2u>;
const HEAD = 4u;

// 4 where it divides n, else the least prime factor.
fn radix_of(n: u32) -> u32 {
  if (n % 4u == 0u) { return 4u; }
  for (var r = 2u; r * r <= n; r++) {
    if (n % r == 0u) { return r; }
  }
  return n;
}

@compute @workgroup_size(64)
fn fft_f32__passes(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let t = linear_index(w, g, l);
  if (t > 0u) { return; }
  // How many passes there are says where the first one writes: the last writes y.
  var passes = 0u;
  for (var n = p.N; n > 1u; n /= radix_of(n)) { passes++; }
  scratch[0] = vec2u(p.N, radix_of(p.N));
  scratch[2] = vec2u(passes, 0u);
}

// What a thread of a pass makes: Σ_k x[p + m k] e^(∓2πi j (p + m k)/n) for number j of group p, m = n/r.
fn fft_pass(t: u32, state: vec2u, even: bool) {
  let n = state.x;
  let r = state.y;
  if (t >= p.R * p.N || (n <= 1u && p.N > 1u) || (p.N == 1u && !even)) { return; }
  let o = t - t % p.N;
  let s = p.N / n;
  let m = n / r;
  let u = (t - o) / s;
  let j = u % r;
  let first = u / r;
  let source_at = o + (t - o) % s + s * first;
  let to_y = (scratch[2].x & 1u) == select(0u, 1u, even) || p.N == 1u;
  let f = select(1.0, factor(), n == p.N);
  // j (p + m k) / n is j p / n + j k / r.
  let turn = root(j * first % n, n);
  var v = vec2f(0.0);
  var e = 0u;
  for (var k = 0u; k < r; k++) {
    let i = source_at + s * m * k;
    var x: vec2f = vec2f(0.0);
    if (n == p.N) { x = input(i); } else if (to_y) { x = bitcast<vec2f>(scratch[HEAD + i]); } else { x = vec2f(yr[i], yi[i]); }
    if (r <= 4u && r != 3u) { v += quarter_turns(x, e * 4u / r); } else { v += times(x, root(e, r)); }
    e += j;
    if (e >= r) { e -= r; }
  }
  v = f * times(v, turn);
  if (to_y) {
    yr[t] = v.x;
    yi[t] = v.y;
  } else {
    scratch[HEAD + t] = bitcast<vec2u>(v);
  }
}

@compute @workgroup_size(64)
fn fft_even(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let t = linear_index(w, g, l);
  let state = scratch[0];
  if (t == 0u) { scratch[1] = vec2u(state.x / state.y, radix_of(state.x / state.y)); }
  fft_pass(t, state, true);
}

@compute @workgroup_size(64)
fn fft_odd(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let t = linear_index(w, g, l);
  let state = scratch[1];
  if (t == 0u) { scratch[0] = vec2u(state.x / state.y, radix_of(state.x / state.y)); }
  fft_pass(t, state, false);
}
