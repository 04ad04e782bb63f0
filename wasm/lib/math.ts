// f32x4 approximations, built from adds, multiplies and integer operations only, so that every host
// gives the same bits. Errors were measured against f64 over the stated range (test/math.test.ts).

const LOG2E: f32 = 1.4426950408889634;
const LN2_HI: f32 = 0.693145751953125; // 12 bits: n * LN2_HI is exact for |n| < 2^11
const LN2_LO: f32 = 1.428606765330187e-6;
/** 1.5 · 2^23: adding it rounds to the nearest integer, ties to even. */
const ROUND: f32 = 12582912.0;

/** e^x, relative error < 3e-7; 0 below -104, +Inf above 88.73, NaN for NaN. */
// @ts-ignore: decorator
@inline
export function exp4(x0: v128): v128 {
  // Clamped so that n stays in range; the ends still round to 0 and Inf. pmin/pmax keep NaN in x.
  const x = f32x4.pmax(f32x4.pmin(x0, f32x4.splat(100)), f32x4.splat(-110));
  const n = f32x4.sub(f32x4.add(f32x4.mul(x, f32x4.splat(LOG2E)), f32x4.splat(ROUND)), f32x4.splat(ROUND));
  let r = f32x4.sub(x, f32x4.mul(n, f32x4.splat(LN2_HI)));
  r = f32x4.sub(r, f32x4.mul(n, f32x4.splat(LN2_LO)));
  let p = f32x4.splat(1.9875691500e-4);
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(1.3981999507e-3));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(8.3334519073e-3));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(4.1665795894e-2));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(1.6666665459e-1));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(5.0000001201e-1));
  p = f32x4.add(f32x4.add(f32x4.mul(f32x4.mul(r, r), p), r), f32x4.splat(1));
  // 2^n in two halves: n may be below the smallest or above the largest exponent.
  const k = i32x4.trunc_sat_f32x4_s(n);
  const k1 = i32x4.shr_s(k, 1);
  const k2 = i32x4.sub(k, k1);
  const s1 = i32x4.shl(i32x4.add(k1, i32x4.splat(127)), 23);
  const s2 = i32x4.shl(i32x4.add(k2, i32x4.splat(127)), 23);
  const y = f32x4.mul(f32x4.mul(p, s1), s2);
  return v128.bitselect(x0, y, f32x4.ne(x0, x0));
}

/** ln x, relative error < 2e-7 away from 1, absolute < 1e-7 near it; -Inf at 0, NaN below 0. */
// @ts-ignore: decorator
@inline
export function log4(x0: v128): v128 {
  // Subnormals are scaled up first.
  const tiny = f32x4.lt(x0, f32x4.splat(1.17549435e-38));
  const x = v128.bitselect(f32x4.mul(x0, f32x4.splat(8388608)), x0, tiny);
  let e = i32x4.sub(i32x4.shr_u(x, 23), i32x4.splat(126));
  e = i32x4.sub(e, v128.and(tiny, i32x4.splat(23)));
  // Mantissa in [0.5, 1), then [sqrt(1/2), sqrt(2)).
  let m = v128.or(v128.and(x, i32x4.splat(0x007fffff)), i32x4.splat(0x3f000000));
  const low = f32x4.lt(m, f32x4.splat(0.70710678));
  e = i32x4.add(e, low);
  m = f32x4.sub(f32x4.add(m, v128.and(m, low)), f32x4.splat(1));
  const n = f32x4.convert_i32x4_s(e);
  const z = f32x4.mul(m, m);
  let p = f32x4.splat(7.0376836292e-2);
  p = f32x4.add(f32x4.mul(p, m), f32x4.splat(-1.1514610310e-1));
  p = f32x4.add(f32x4.mul(p, m), f32x4.splat(1.1676998740e-1));
  p = f32x4.add(f32x4.mul(p, m), f32x4.splat(-1.2420140846e-1));
  p = f32x4.add(f32x4.mul(p, m), f32x4.splat(1.4249322787e-1));
  p = f32x4.add(f32x4.mul(p, m), f32x4.splat(-1.6668057665e-1));
  p = f32x4.add(f32x4.mul(p, m), f32x4.splat(2.0000714765e-1));
  p = f32x4.add(f32x4.mul(p, m), f32x4.splat(-2.4999993993e-1));
  p = f32x4.add(f32x4.mul(p, m), f32x4.splat(3.3333331174e-1));
  p = f32x4.mul(f32x4.mul(p, m), z);
  p = f32x4.add(p, f32x4.mul(n, f32x4.splat(-2.12194440e-4)));
  p = f32x4.sub(p, f32x4.mul(z, f32x4.splat(0.5)));
  let y = f32x4.add(f32x4.add(m, p), f32x4.mul(n, f32x4.splat(0.693359375)));
  const inf = f32x4.splat(Infinity);
  y = v128.bitselect(inf, y, f32x4.eq(x0, inf));
  y = v128.bitselect(f32x4.neg(inf), y, f32x4.eq(x0, f32x4.splat(0)));
  const bad = v128.or(f32x4.lt(x0, f32x4.splat(0)), f32x4.ne(x0, x0));
  return v128.bitselect(f32x4.splat(NaN), y, bad);
}

/** tanh x, absolute error < 2e-7. Small |x| by an odd polynomial, the rest through exp. */
// @ts-ignore: decorator
@inline
export function tanh4(x: v128): v128 {
  const a = f32x4.abs(x);
  const z = f32x4.mul(x, x);
  let p = f32x4.splat(-5.70498872745e-3);
  p = f32x4.add(f32x4.mul(p, z), f32x4.splat(2.06390887954e-2));
  p = f32x4.add(f32x4.mul(p, z), f32x4.splat(-5.37397155531e-2));
  p = f32x4.add(f32x4.mul(p, z), f32x4.splat(1.33314422036e-1));
  p = f32x4.add(f32x4.mul(p, z), f32x4.splat(-3.33332819422e-1));
  const small = f32x4.add(x, f32x4.mul(f32x4.mul(p, z), x));
  const e = exp4(f32x4.add(a, a));
  let big = f32x4.sub(f32x4.splat(1), f32x4.div(f32x4.splat(2), f32x4.add(e, f32x4.splat(1))));
  big = v128.or(big, v128.and(x, i32x4.splat(0x80000000)));
  return v128.bitselect(small, big, f32x4.lt(a, f32x4.splat(0.625)));
}

/** 1/(1+e^-x), relative error < 5e-7. */
// @ts-ignore: decorator
@inline
export function sigmoid4(x: v128): v128 {
  const one = f32x4.splat(1);
  return f32x4.div(one, f32x4.add(one, exp4(f32x4.neg(x))));
}

// sin and cos share the reduction x = j·π/2 + r, |r| <= π/4, with π/2 in three parts (Cody, Waite).
// Absolute error < 2e-6 for |x| <= 1e4, growing with |x| beyond; NaN for Inf and NaN.
// @ts-ignore: decorator
@inline
function sincos4(x: v128, shift: i32): v128 {
  const jf = f32x4.sub(f32x4.add(f32x4.mul(x, f32x4.splat(0.6366197723675814)), f32x4.splat(ROUND)), f32x4.splat(ROUND));
  let r = f32x4.sub(x, f32x4.mul(jf, f32x4.splat(1.5703125)));
  r = f32x4.sub(r, f32x4.mul(jf, f32x4.splat(4.837512969970703125e-4)));
  r = f32x4.sub(r, f32x4.mul(jf, f32x4.splat(7.549789948768648e-8)));
  const j = i32x4.add(i32x4.trunc_sat_f32x4_s(jf), i32x4.splat(shift));
  const z = f32x4.mul(r, r);
  let s = f32x4.splat(-1.9515295891e-4);
  s = f32x4.add(f32x4.mul(s, z), f32x4.splat(8.3321608736e-3));
  s = f32x4.add(f32x4.mul(s, z), f32x4.splat(-1.6666654611e-1));
  s = f32x4.add(f32x4.mul(f32x4.mul(s, z), r), r);
  let c = f32x4.splat(2.443315711809948e-5);
  c = f32x4.add(f32x4.mul(c, z), f32x4.splat(-1.388731625493765e-3));
  c = f32x4.add(f32x4.mul(c, z), f32x4.splat(4.166664568298827e-2));
  c = f32x4.add(f32x4.sub(f32x4.mul(f32x4.mul(c, z), z), f32x4.mul(z, f32x4.splat(0.5))), f32x4.splat(1));
  const odd = i32x4.eq(v128.and(j, i32x4.splat(1)), i32x4.splat(1));
  const y = v128.xor(v128.bitselect(c, s, odd), i32x4.shl(v128.and(j, i32x4.splat(2)), 30));
  const finite = f32x4.lt(f32x4.abs(x), f32x4.splat(Infinity));
  return v128.bitselect(y, f32x4.splat(NaN), finite);
}

// @ts-ignore: decorator
@inline
export function sin4(x: v128): v128 {
  return sincos4(x, 0);
}

// @ts-ignore: decorator
@inline
export function cos4(x: v128): v128 {
  return sincos4(x, 1);
}

/** ln(1+e^x) = max(x,0) + ln(1+e^-|x|). */
// @ts-ignore: decorator
@inline
export function softplus4(x: v128): v128 {
  const t = exp4(f32x4.neg(f32x4.abs(x)));
  const y = f32x4.add(f32x4.max(x, f32x4.splat(0)), log4(f32x4.add(f32x4.splat(1), t)));
  // Where 1 + t rounds to 1 the logarithm is t.
  return v128.bitselect(t, y, f32x4.lt(x, f32x4.splat(-15)));
}

/** 0.5 x (1 + tanh(√(2/π)(x + 0.044715 x³))), the tanh form of GELU. */
// @ts-ignore: decorator
@inline
export function gelu4(x: v128): v128 {
  return f32x4.mul(f32x4.mul(f32x4.splat(0.5), x), f32x4.add(f32x4.splat(1), geluTanh4(x)));
}

// @ts-ignore: decorator
@inline
export function geluTanh4(x: v128): v128 {
  const cubic = f32x4.mul(f32x4.mul(f32x4.mul(x, x), x), f32x4.splat(0.044715));
  return tanh4(f32x4.mul(f32x4.splat(0.7978845608028654), f32x4.add(x, cubic)));
}

/** Sum of the four lanes, ((0+2)+(1+3)). */
// @ts-ignore: decorator
@inline
export function hsum(v: v128): f32 {
  const a = f32x4.add(v, i8x16.shuffle(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
  return f32x4.extract_lane(a, 0) + f32x4.extract_lane(a, 1);
}
