//! use math
// Sixteen numbers of a row at a time, for threads that have a row to themselves: what an adapter that
// runs on the CPU does best, where a barrier costs more than a row. There exp() is the host's own, and
// its absolute error for x <= 0 is below 2e-7.
fn block_exp(v: mat4x4f, m: f32) -> mat4x4f {
  return mat4x4f(exp(v[0] - m), exp(v[1] - m), exp(v[2] - m), exp(v[3] - m));
}

fn block_times(a: mat4x4f, b: mat4x4f) -> mat4x4f {
  return mat4x4f(a[0] * b[0], a[1] * b[1], a[2] * b[2], a[3] * b[3]);
}

fn block_less(a: mat4x4f, b: f32) -> mat4x4f {
  return mat4x4f(a[0] - b, a[1] - b, a[2] - b, a[3] - b);
}

fn block_sum(v: mat4x4f) -> f32 {
  let s = (v[0] + v[1]) + (v[2] + v[3]);
  return (s.x + s.y) + (s.z + s.w);
}

fn block_max(v: mat4x4f) -> f32 {
  let t = max(max(v[0], v[1]), max(v[2], v[3]));
  return max(max(t.x, t.y), max(t.z, t.w));
}

// Bits of the largest magnitude so far, above INFINITE where there was a NaN: max() and exp() may drop it.
fn block_bits(w: vec4u, v: mat4x4f) -> vec4u {
  let a = max(bitcast<vec4u>(v[0]) & vec4u(0x7fffffffu), bitcast<vec4u>(v[1]) & vec4u(0x7fffffffu));
  let b = max(bitcast<vec4u>(v[2]) & vec4u(0x7fffffffu), bitcast<vec4u>(v[3]) & vec4u(0x7fffffffu));
  return max(w, max(a, b));
}

const INFINITE = 0x7f800000u;

// (m, s, bad): the largest number so far, Σ e^(x − m), and the witness of a NaN or +Inf.
struct Online { m: f32, s: f32, bits: vec4u }

fn block_online(a: Online, v: mat4x4f) -> Online {
  let m = max(a.m, block_max(v));
  return Online(m, a.s * exp(a.m - m) + block_sum(block_exp(v, m)), block_bits(a.bits, v));
}

// Whether e^(x − m) is a number for all that was seen.
fn online_is_bad(a: Online) -> bool {
  return any(a.bits > vec4u(INFINITE)) || bitcast<u32>(a.m) == INFINITE;
}
