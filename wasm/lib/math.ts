// f32x4 approximations, built from adds, multiplies and integer operations only, so that every host
// gives the same bits (the relaxed build fuses, where the host does). Errors were measured against f64
// over the stated range (test/math.test.ts).
//
// Constants are read from memory where they are used: V8 builds a v128 literal anew at each use, which
// costs three instructions, while the load is one and takes no register.

// @ts-ignore: decorator
@inline
function c(table: usize, i: usize = 0): v128 {
  return v128.load32_splat(table + (i << 2));
}

/** a · b + c, in one rounding where the relaxed build may. */
// @ts-ignore: decorator
@inline
export function madd(a: v128, b: v128, c: v128): v128 {
  if (RELAXED) return f32x4.relaxed_madd(a, b, c);
  return f32x4.add(f32x4.mul(a, b), c);
}

/** c − a · b. */
// @ts-ignore: decorator
@inline
export function nmadd(a: v128, b: v128, c: v128): v128 {
  if (RELAXED) return f32x4.relaxed_nmadd(a, b, c);
  return f32x4.sub(c, f32x4.mul(a, b));
}

const HALF = memory.data<f32>([0.5]);
const ONE = memory.data<f32>([1]);
const INF = memory.data<f32>([Infinity]);

// Beyond these e^x overflows, or is scaled by an exponent field of 0, which is zero.
const EXP_MOST = memory.data<f32>([89]);
const EXP_LEAST = memory.data<f32>([-87.3]);
const LOG2E = memory.data<f32>([1.4426950408889634]);
/**
 * 1.5 · 2^23 + 126: adding it rounds to the nearest integer n and leaves n + 126 in the low bits, which
 * shifted into the exponent field are 2^(n−1).
 */
const EXP_ROUND = memory.data<f32>([12583038]);
const LN2_HI = memory.data<f32>([0.693145751953125]); // 12 bits: n · LN2_HI is exact for |n| < 2^11
const LN2_LO = memory.data<f32>([1.428606765330187e-6]);
/** 2 e^r over |r| <= ln 2 / 2, minimax of the relative error (9.3e-8), highest power first. */
const EXP_P = memory.data<f32>([
  1.6580289229750633e-2, 8.379770815372467e-2, 0.3333528935909271, 0.9999828338623047,
  1.9999994039535522, 2,
]);

/** e^x as exp4, for x <= 89. */
// @ts-ignore: decorator
@inline
export function expBelow4(x0: v128): v128 {
  // pmax, and pmin below, hand on their first operand when it is NaN.
  const x = f32x4.pmax(x0, c(EXP_LEAST));
  const t = madd(x, c(LOG2E), c(EXP_ROUND));
  const n = f32x4.sub(t, c(EXP_ROUND));
  const r = nmadd(n, c(LN2_LO), nmadd(n, c(LN2_HI), x));
  // Estrin's order, half the latency of Horner's.
  const z = f32x4.mul(r, r);
  const p4 = madd(c(EXP_P), r, c(EXP_P, 1));
  const p2 = madd(c(EXP_P, 2), r, c(EXP_P, 3));
  const p0 = madd(c(EXP_P, 4), r, c(EXP_P, 5));
  const p = madd(madd(p4, z, p2), z, p0);
  // 2p · 2^(n−1): the half keeps the exponent in range for the largest results.
  return f32x4.mul(p, i32x4.shl(t, 23));
}

/** e^x, relative error < 2e-7; 0 below -86.98, +Inf above 88.72, NaN for NaN. */
// @ts-ignore: decorator
@inline
export function exp4(x: v128): v128 {
  return expBelow4(f32x4.pmin(x, c(EXP_MOST)));
}

const MIN_NORMAL = memory.data<f32>([1.17549435e-38]);
const TWO_23 = memory.data<f32>([8388608]);
const MINUS_23 = memory.data<i32>([-23]);
const SQRT_HALF = memory.data<f32>([0.70710678]);
const MANTISSA = memory.data<i32>([0x007fffff]);
const LOG_LN2_HI = memory.data<f32>([0.693359375]);
const LOG_LN2_LO = memory.data<f32>([-2.1219444e-4]);
/** (ln(1+f) − f + f²/2) / f³ over √½ <= 1 + f < √2, minimax of the relative error of ln (3.2e-8). */
const LOG_P = memory.data<f32>([
  8.70044156908989e-2, -0.14267496764659882, 0.14914770424365997, -0.1657758355140686,
  0.19963063299655914, -0.2500133812427521, 0.3333390951156616,
]);

/** ln of a positive normal x, plus n0 · ln 2. */
// @ts-ignore: decorator
@inline
function logNormal4(x: v128, n0: v128): v128 {
  // x = 2^n (1 + f): the exponent counted from √½ on.
  const above = i32x4.sub(x, c(SQRT_HALF));
  const n = f32x4.convert_i32x4_s(i32x4.add(i32x4.shr_s(above, 23), n0));
  const f = f32x4.sub(i32x4.add(v128.and(above, c(MANTISSA)), c(SQRT_HALF)), c(ONE));
  // Estrin's order: half the latency of Horner's, which is what this long a chain is bound by.
  const z = f32x4.mul(f, f);
  const p0 = madd(c(LOG_P, 5), f, c(LOG_P, 6));
  const p2 = madd(c(LOG_P, 3), f, c(LOG_P, 4));
  const p4 = madd(c(LOG_P, 1), f, c(LOG_P, 2));
  let p = madd(madd(madd(c(LOG_P), z, p4), z, p2), z, p0);
  p = madd(n, c(LOG_LN2_LO), f32x4.mul(p, f32x4.mul(f, z)));
  return madd(n, c(LOG_LN2_HI), f32x4.add(f, nmadd(z, c(HALF), p)));
}

/** ln x, relative error < 2e-7 away from 1, absolute < 1e-7 near it; -Inf at 0, NaN below 0. */
// @ts-ignore: decorator
@inline
export function log4(x0: v128): v128 {
  // Subnormals are scaled up first.
  const tiny = f32x4.lt(x0, c(MIN_NORMAL));
  const x = v128.bitselect(f32x4.mul(x0, c(TWO_23)), x0, tiny);
  let y = logNormal4(x, v128.and(tiny, c(MINUS_23)));
  y = v128.bitselect(y, x0, f32x4.lt(x0, c(INF)));
  const zero = f32x4.splat(0);
  y = v128.bitselect(f32x4.neg(c(INF)), y, f32x4.eq(x0, zero));
  // All bits set is a NaN.
  return v128.or(y, f32x4.lt(x0, zero));
}

/** Beyond it tanh is 1 to the last bit. */
const TANH_MOST = memory.data<f32>([7.90531110763549805]);
// A rational approximation, x P(x²) / Q(x²), as in Eigen (generic_fast_tanh_float).
const TANH_P = memory.data<f32>([
  -2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-8,
  1.48572235717979e-5, 6.37261928875436e-4, 4.89352455891786e-3,
]);
const TANH_Q = memory.data<f32>([
  1.19825839466702e-6, 1.18534705686654e-4, 2.2684346324390e-3, 4.89352518554385e-3,
]);

/** tanh x, absolute and relative error < 3e-7. */
// @ts-ignore: decorator
@inline
export function tanh4(x0: v128): v128 {
  const x = f32x4.pmax(f32x4.pmin(x0, c(TANH_MOST)), f32x4.neg(c(TANH_MOST)));
  const z = f32x4.mul(x, x);
  let p = madd(c(TANH_P), z, c(TANH_P, 1));
  p = madd(p, z, c(TANH_P, 2));
  p = madd(p, z, c(TANH_P, 3));
  p = madd(p, z, c(TANH_P, 4));
  p = madd(p, z, c(TANH_P, 5));
  p = madd(p, z, c(TANH_P, 6));
  let q = madd(c(TANH_Q), z, c(TANH_Q, 1));
  q = madd(q, z, c(TANH_Q, 2));
  q = madd(q, z, c(TANH_Q, 3));
  return f32x4.div(f32x4.mul(x, p), q);
}

/** 1/(1+e^-x), relative error < 4e-7. */
// @ts-ignore: decorator
@inline
export function sigmoid4(x: v128): v128 {
  return f32x4.div(c(ONE), f32x4.add(c(ONE), exp4(f32x4.neg(x))));
}

/** x/(1+e^-x). */
// @ts-ignore: decorator
@inline
export function silu4(x: v128): v128 {
  return f32x4.div(x, f32x4.add(c(ONE), exp4(f32x4.neg(x))));
}

/** 1.5 · 2^23: adding it rounds to the nearest integer, ties to even. */
const ROUND = memory.data<f32>([12582912]);
const TWO_OVER_PI = memory.data<f32>([0.6366197723675814]);
const HALF_PI = memory.data<f32>([1.5703125, 4.837512969970703125e-4, 7.549789948768648e-8]);
const SIN_P = memory.data<f32>([-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1]);
const COS_P = memory.data<f32>([
  2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2,
]);

// sin and cos share the reduction x = j·π/2 + r, |r| <= π/4, with π/2 in three parts (Cody, Waite).
// Absolute error < 2e-6 for |x| <= 1e4, growing with |x| beyond; NaN for Inf and NaN.
// @ts-ignore: decorator
@inline
function sincos4(x: v128, shift: i32): v128 {
  const jf = f32x4.sub(f32x4.add(f32x4.mul(x, c(TWO_OVER_PI)), c(ROUND)), c(ROUND));
  let r = nmadd(jf, c(HALF_PI), x);
  r = nmadd(jf, c(HALF_PI, 1), r);
  r = nmadd(jf, c(HALF_PI, 2), r);
  const j = i32x4.add(i32x4.trunc_sat_f32x4_s(jf), i32x4.splat(shift));
  const z = f32x4.mul(r, r);
  let s = madd(c(SIN_P), z, c(SIN_P, 1));
  s = madd(s, z, c(SIN_P, 2));
  s = madd(f32x4.mul(s, z), r, r);
  let p = madd(c(COS_P), z, c(COS_P, 1));
  p = madd(p, z, c(COS_P, 2));
  p = f32x4.add(f32x4.sub(f32x4.mul(f32x4.mul(p, z), z), f32x4.mul(z, c(HALF))), c(ONE));
  const odd = i32x4.shr_s(i32x4.shl(j, 31), 31);
  const y = v128.xor(v128.bitselect(p, s, odd), i32x4.shl(i32x4.shr_u(j, 1), 31));
  const finite = f32x4.lt(f32x4.abs(x), c(INF));
  return v128.or(y, v128.not(finite));
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

/** max(x, 0); NaN for NaN. */
// @ts-ignore: decorator
@inline
export function relu4(x: v128): v128 {
  // f32x4.max costs five times as much; this order of the operands keeps NaN.
  return f32x4.pmax(x, f32x4.splat(0));
}

const SOFTPLUS_LOW = memory.data<f32>([-15]);

/** ln(1+e^x) = max(x,0) + ln(1+e^-|x|). */
// @ts-ignore: decorator
@inline
export function softplus4(x: v128): v128 {
  const t = expBelow4(f32x4.neg(f32x4.abs(x)));
  // A NaN comes through relu4.
  const y = f32x4.add(relu4(x), logNormal4(f32x4.add(c(ONE), t), f32x4.splat(0)));
  // Where 1 + t rounds to 1 the logarithm is t.
  return v128.bitselect(t, y, f32x4.lt(x, c(SOFTPLUS_LOW)));
}

/** 2√(2/π), and 0.044715 times it. */
const GELU = memory.data<f32>([1.5957691216057308, 0.07135481282723963]);
const THREE = memory.data<f32>([3]);

// The tanh form of GELU, 0.5 x (1 + tanh(√(2/π)(x + 0.044715 x³))), is x · sigmoid(v) with
// v = 2√(2/π)(x + 0.044715 x³), and sigmoid does not cancel for negative x.

/** GELU in its tanh form, relative error < 2e-6 down to results of 1e-9. */
// @ts-ignore: decorator
@inline
export function gelu4(x: v128): v128 {
  const v = f32x4.mul(x, madd(f32x4.mul(x, x), c(GELU, 1), c(GELU)));
  return f32x4.div(x, f32x4.add(c(ONE), exp4(f32x4.neg(v))));
}

/** The derivative of gelu4: s + x s (1 − s) v' with s = sigmoid(v). */
// @ts-ignore: decorator
@inline
export function geluSlope4(x: v128): v128 {
  const w = f32x4.mul(f32x4.mul(x, x), c(GELU, 1));
  const s = sigmoid4(f32x4.mul(x, f32x4.add(w, c(GELU))));
  const slope = madd(w, c(THREE), c(GELU));
  // s (1 − s) first: it is 0 where v' overflows.
  return madd(f32x4.mul(x, f32x4.mul(s, f32x4.sub(c(ONE), s))), slope, s);
}

/** The derivative of silu4: s (1 + x (1 − s)) with s = sigmoid(x). */
// @ts-ignore: decorator
@inline
export function siluSlope4(x: v128): v128 {
  const s = sigmoid4(x);
  return f32x4.mul(s, madd(x, f32x4.sub(c(ONE), s), c(ONE)));
}

/** Sum of the four lanes, ((0+2)+(1+3)). */
// @ts-ignore: decorator
@inline
export function hsum(v: v128): f32 {
  const a = f32x4.add(v, i8x16.shuffle(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
  return f32x4.extract_lane(a, 0) + f32x4.extract_lane(a, 1);
}

/** Largest of the four lanes; a NaN may get lost. */
// @ts-ignore: decorator
@inline
export function hmax(v: v128): f32 {
  const a = f32x4.pmax(v, i8x16.shuffle(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
  const b = f32x4.pmax(a, i8x16.shuffle(a, a, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11));
  return f32x4.extract_lane(b, 0);
}
