//! use index
//! use math
//! use random
//! use optional
// Rotary position embedding: a thread a position and a pair, for all of the leading rows. Frequencies are
// fractions of a turn a position, as 64-bit fixed point (x the upper word): a position times a frequency,
// modulo 2^64, is the exact remainder of the angle. The integer steps are those of wasm/rope.ts.
struct P {
  R: u32, S: u32, D: u32,
  theta: f32, offset: u32, interleaved: u32, inverse: u32, rotary: u32, beta: f32,
}
@group(0) @binding(0) var<storage, read_write> y: array<f32>; // (R,S,D)
@group(0) @binding(1) var<storage, read> x: array<f32>;       // (R,S,D)
@group(0) @binding(2) var<uniform> p: P;

// Elements that are turned; the others are handed on.
fn turned() -> u32 {
  return select(p.rotary, p.D, p.rotary == 0u);
}

fn add64(a: vec2u, b: vec2u) -> vec2u {
  let lo = a.y + b.y;
  return vec2u(a.x + b.x + select(0u, 1u, lo < a.y), lo);
}

// The upper half of a·b.
fn mulhi64(a: vec2u, b: vec2u) -> vec2u {
  let m = add64(vec2u(mulhi(a.x, b.y), a.x * b.y), vec2u(0u, mulhi(a.y, b.y)));
  let n = add64(vec2u(mulhi(a.y, b.x), a.y * b.x), vec2u(0u, m.y));
  return add64(add64(vec2u(mulhi(a.x, b.x), a.x * b.x), vec2u(0u, m.x)), vec2u(0u, n.x));
}

// a / k, k < 2^16.
fn div64(a: vec2u, k: u32) -> vec2u {
  let r1 = ((a.x % k) << 16u) | (a.y >> 16u);
  let r0 = ((r1 % k) << 16u) | (a.y & 0xffffu);
  return vec2u(a.x / k, ((r1 / k) << 16u) | (r0 / k));
}

// log2 θ with 56 bits after the point, θ >= 1: squared, the mantissa gives up a bit at a time.
fn log2_fixed(theta: f32) -> vec2u {
  let bits = bitcast<u32>(theta);
  var m = vec2u((bits | 0x800000u) << 8u, 0u);
  var v = vec2u(0u, (bits >> 23u) - 127u);
  for (var i = 0u; i < 56u; i++) {
    m = mulhi64(m, m);
    let one = m.x >> 31u;
    v = vec2u((v.x << 1u) | (v.y >> 31u), (v.y << 1u) | one);
    if (one == 0u) { m = vec2u((m.x << 1u) | (m.y >> 31u), m.y << 1u); }
  }
  return v;
}

// θ^(−2i/turned) / 2π. e^−z = 1 − z(1 − z/2(1 − z/3(…))), and 1 − t is the complement of t.
fn frequency(i: u32) -> vec2u {
  // 2i/turned as a fraction of 2^64, 16 bits at a time.
  let q3 = ((2u * i) << 16u) / turned();
  let r3 = ((2u * i) << 16u) % turned();
  let q2 = (r3 << 16u) / turned();
  let r2 = (r3 << 16u) % turned();
  let q1 = (r2 << 16u) / turned();
  let r1 = (r2 << 16u) % turned();
  let share = vec2u((q3 << 16u) | q2, (q1 << 16u) | ((r1 << 16u) / turned()));
  let e = mulhi64(log2_fixed(p.theta), share);
  let z = mulhi64(vec2u((e.x << 8u) | (e.y >> 24u), e.y << 8u), vec2u(0xb17217f7u, 0xd1cf79abu));
  var a = vec2u(0xffffffffu, 0xffffffffu);
  for (var k = 21u; k > 0u; k--) { a = ~div64(mulhi64(z, a), k); }
  a = mulhi64(a, vec2u(0x28be60dbu, 0x9391054au));
  let n = e.x >> 24u;
  if (n >= 32u) { return vec2u(0u, a.x >> min(n - 32u, 31u)); }
  if (n == 0u) { return a; }
  return vec2u(a.x >> n, (a.y >> n) | (a.x << (32u - n)));
}

fn put(i: u32, v: f32) {
  if (adds(p.beta)) { y[i] = v + p.beta * y[i]; } else { y[i] = v; }
}

@compute @workgroup_size(64)
fn rope_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let at = linear_index(w, g, l);
  let pairs = p.D / 2u;
  if (at >= p.S * pairs) { return; }
  let half = turned() / 2u;
  let i = at % pairs;
  let s = at / pairs;
  if (i >= half) {
    for (var r = 0u; r < p.R; r++) {
      let ia = (r * p.S + s) * p.D + 2u * i;
      put(ia, x[ia]);
      put(ia + 1u, x[ia + 1u]);
    }
    return;
  }
  let f = frequency(i);
  let position = p.offset + s;
  let turn = bitcast<i32>(position * f.x + mulhi(position, f.y));
  let angle = f32(turn) * select(1.4629180792671596e-9, -1.4629180792671596e-9, p.inverse != 0u);
  let cs = cos_f(angle);
  let sn = sin_f(angle);
  for (var r = 0u; r < p.R; r++) {
    let row = (r * p.S + s) * p.D;
    let ia = row + select(i, 2u * i, p.interleaved != 0u);
    let ib = ia + select(half, 1u, p.interleaved != 0u);
    let a = x[ia] * cs - x[ib] * sn;
    let b = x[ib] * cs + x[ia] * sn;
    put(ia, a);
    put(ib, b);
  }
}
