// core/threefry.ts for four counters at once: the same integer steps, the same bits.

/** Results of the last `threefry4` and `normal4`: one word, or one normal, of each pair. */
export let x0: v128 = i32x4.splat(0);
export let x1: v128 = i32x4.splat(0);
/** The second half of `threefry8`. */
export let y0: v128 = i32x4.splat(0);
export let y1: v128 = i32x4.splat(0);

// @ts-ignore: decorator
@inline
function rotl(v: v128, r: i32): v128 {
  if (r == 16) return i8x16.shuffle(v, v, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
  return v128.or(i32x4.shl(v, r), i32x4.shr_u(v, 32 - r));
}

// @ts-ignore: decorator
@inline
export function mulhi4(a: v128, b: v128): v128 {
  return i8x16.shuffle(
    i64x2.extmul_low_i32x4_u(a, b),
    i64x2.extmul_high_i32x4_u(a, b),
    4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31,
  );
}

/** Threefry2x32-20 of counters (c0, c1) under one key. Leaves the words in x0 and x1. */
export function threefry4(k0: u32, k1: u32, c0: v128, c1: v128): void {
  const ka = i32x4.splat(k0);
  const kb = i32x4.splat(k1);
  const kc = i32x4.splat(0x1bd11bda ^ k0 ^ k1);
  let a = i32x4.add(c0, ka);
  let b = i32x4.add(c1, kb);
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 13), a);
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 15), a);
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 26), a);
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 6), a);
  a = i32x4.add(a, kb); b = i32x4.add(b, i32x4.add(kc, i32x4.splat(1)));
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 17), a);
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 29), a);
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 16), a);
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 24), a);
  a = i32x4.add(a, kc); b = i32x4.add(b, i32x4.add(ka, i32x4.splat(2)));
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 13), a);
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 15), a);
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 26), a);
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 6), a);
  a = i32x4.add(a, ka); b = i32x4.add(b, i32x4.add(kb, i32x4.splat(3)));
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 17), a);
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 29), a);
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 16), a);
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 24), a);
  a = i32x4.add(a, kb); b = i32x4.add(b, i32x4.add(kc, i32x4.splat(4)));
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 13), a);
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 15), a);
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 26), a);
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 6), a);
  a = i32x4.add(a, kc); b = i32x4.add(b, i32x4.add(ka, i32x4.splat(5)));
  x0 = a;
  x1 = b;
}

/**
 * threefry4 of the counters (c0, c1) and (c0 + 4, c1), whose words go to y0 and y1: 1.2 times as fast as
 * two calls, each of which waits for its own results.
 */
export function threefry8(k0: u32, k1: u32, c0: v128, c1: v128): void {
  const ka = i32x4.splat(k0);
  const kb = i32x4.splat(k1);
  const kc = i32x4.splat(0x1bd11bda ^ k0 ^ k1);
  const kc1 = i32x4.splat((0x1bd11bda ^ k0 ^ k1) + 1);
  const ka2 = i32x4.splat(k0 + 2);
  const kb3 = i32x4.splat(k1 + 3);
  const kc4 = i32x4.splat((0x1bd11bda ^ k0 ^ k1) + 4);
  const ka5 = i32x4.splat(k0 + 5);
  let a = i32x4.add(c0, ka);
  let b = i32x4.add(c1, kb);
  let d = i32x4.add(a, i32x4.splat(4));
  let e = b;
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 13), a);
  d = i32x4.add(d, e); e = v128.xor(rotl(e, 13), d);
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 15), a);
  d = i32x4.add(d, e); e = v128.xor(rotl(e, 15), d);
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 26), a);
  d = i32x4.add(d, e); e = v128.xor(rotl(e, 26), d);
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 6), a);
  d = i32x4.add(d, e); e = v128.xor(rotl(e, 6), d);
  a = i32x4.add(a, kb); b = i32x4.add(b, kc1);
  d = i32x4.add(d, kb); e = i32x4.add(e, kc1);
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 17), a);
  d = i32x4.add(d, e); e = v128.xor(rotl(e, 17), d);
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 29), a);
  d = i32x4.add(d, e); e = v128.xor(rotl(e, 29), d);
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 16), a);
  d = i32x4.add(d, e); e = v128.xor(rotl(e, 16), d);
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 24), a);
  d = i32x4.add(d, e); e = v128.xor(rotl(e, 24), d);
  a = i32x4.add(a, kc); b = i32x4.add(b, ka2);
  d = i32x4.add(d, kc); e = i32x4.add(e, ka2);
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 13), a);
  d = i32x4.add(d, e); e = v128.xor(rotl(e, 13), d);
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 15), a);
  d = i32x4.add(d, e); e = v128.xor(rotl(e, 15), d);
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 26), a);
  d = i32x4.add(d, e); e = v128.xor(rotl(e, 26), d);
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 6), a);
  d = i32x4.add(d, e); e = v128.xor(rotl(e, 6), d);
  a = i32x4.add(a, ka); b = i32x4.add(b, kb3);
  d = i32x4.add(d, ka); e = i32x4.add(e, kb3);
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 17), a);
  d = i32x4.add(d, e); e = v128.xor(rotl(e, 17), d);
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 29), a);
  d = i32x4.add(d, e); e = v128.xor(rotl(e, 29), d);
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 16), a);
  d = i32x4.add(d, e); e = v128.xor(rotl(e, 16), d);
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 24), a);
  d = i32x4.add(d, e); e = v128.xor(rotl(e, 24), d);
  a = i32x4.add(a, kb); b = i32x4.add(b, kc4);
  d = i32x4.add(d, kb); e = i32x4.add(e, kc4);
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 13), a);
  d = i32x4.add(d, e); e = v128.xor(rotl(e, 13), d);
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 15), a);
  d = i32x4.add(d, e); e = v128.xor(rotl(e, 15), d);
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 26), a);
  d = i32x4.add(d, e); e = v128.xor(rotl(e, 26), d);
  a = i32x4.add(a, b); b = v128.xor(rotl(b, 6), a);
  d = i32x4.add(d, e); e = v128.xor(rotl(e, 6), d);
  a = i32x4.add(a, kc); b = i32x4.add(b, ka5);
  d = i32x4.add(d, kc); e = i32x4.add(e, ka5);
  x0 = a;
  x1 = b;
  y0 = d;
  y1 = e;
}

/** The upper 24 bits as f32 in [0, 1). */
// @ts-ignore: decorator
@inline
export function uniform4(bits: v128): v128 {
  return f32x4.mul(f32x4.convert_i32x4_s(i32x4.shr_u(bits, 8)), f32x4.splat(5.9604644775390625e-8));
}

/** Position of the leading bit of each lane, none of which is 0. */
// @ts-ignore: decorator
@inline
function leadingBit(v: v128): v128 {
  // Clearing the bit below each set bit keeps the conversion from rounding up to the next power.
  const f = f32x4.convert_i32x4_u(v128.andnot(v, i32x4.shr_u(v, 1)));
  return i32x4.sub(i32x4.shr_u(f, 23), i32x4.splat(127));
}

/** v << n lane by lane, as a product: SIMD has no shift by lanes. */
// @ts-ignore: decorator
@inline
function shiftLeft(v: v128, n: v128): v128 {
  const power = i32x4.trunc_sat_f32x4_u(i32x4.shl(i32x4.add(n, i32x4.splat(127)), 23));
  return i32x4.mul(v, power);
}

// Polynomials, highest power first; read from memory, see lib/math.
const SIN = memory.data<u32>([325727, 10037677, 171132815, 1387196615, 3373259412]);
const LOG = memory.data<u32>([
  8340344, 46644317, 122703873, 212946402, 296573531, 384992505, 516159445, 774534072, 1549081965,
]);
const ROOT = memory.data<u32>([
  4085538, 19607419, 46262449, 80242410, 133682687, 268405257, 1073741544,
]);

/** Coefficient i less p · x / 2^32. */
// @ts-ignore: decorator
@inline
function step(table: usize, i: usize, p: v128, x: v128): v128 {
  return i32x4.sub(v128.load32_splat(table + (i << 2)), mulhi4(p, x));
}

// @ts-ignore: decorator
@inline
function sinStep(i: usize, p: v128, u: v128): v128 {
  return i32x4.sub(v128.load32_splat(SIN + (i << 2)), i32x4.shl(mulhi4(p, u), 2));
}

/** Turns the words u0 and u1 into two standard normals (f32), in x0 and x1. */
export function normal4(u0: v128, u1: v128): void {
  const v = v128.or(u0, i32x4.splat(1));
  const e = i32x4.sub(i32x4.splat(31), leadingBit(v));
  const f = i32x4.shl(shiftLeft(v, e), 1);
  // sin and cos of the quarter turn go along with the logarithm: alone each waits for its own results.
  const t = i32x4.shr_u(i32x4.shl(u1, 2), 1);
  const tc = i32x4.sub(i32x4.splat(0x80000000), t);
  const us = mulhi4(t, t);
  const uc = mulhi4(tc, tc);
  let p = step(LOG, 1, v128.load32_splat(LOG), f);
  let s = sinStep(1, v128.load32_splat(SIN), us);
  let c = sinStep(1, v128.load32_splat(SIN), uc);
  p = step(LOG, 2, p, f);
  s = sinStep(2, s, us);
  c = sinStep(2, c, uc);
  p = step(LOG, 3, p, f);
  s = sinStep(3, s, us);
  c = sinStep(3, c, uc);
  p = step(LOG, 4, p, f);
  s = sinStep(4, s, us);
  c = sinStep(4, c, uc);
  p = step(LOG, 5, p, f);
  s = i32x4.shl(mulhi4(t, s), 1);
  c = i32x4.shl(mulhi4(tc, c), 1);
  p = step(LOG, 6, p, f);
  p = step(LOG, 7, p, f);
  p = step(LOG, 8, p, f);
  const log = i32x4.shr_u(mulhi4(p, f), 4);
  const whole = i32x4.shl(i32x4.add(e, i32x4.splat(1)), 26);
  const L = v128.or(i32x4.sub(whole, i32x4.min_u(log, whole)), i32x4.splat(1));
  const z = i32x4.sub(i32x4.splat(31), leadingBit(L));
  const x = i32x4.shl(shiftLeft(L, z), 1);
  let q = step(ROOT, 1, v128.load32_splat(ROOT), x);
  q = step(ROOT, 2, q, x);
  q = step(ROOT, 3, q, x);
  q = step(ROOT, 4, q, x);
  q = step(ROOT, 5, q, x);
  q = step(ROOT, 6, q, x);
  const root = i32x4.add(i32x4.splat(0x80000000), mulhi4(q, x));
  const exponent = i32x4.sub(i32x4.splat(5), z);
  const odd = i32x4.eq(v128.and(exponent, i32x4.splat(1)), i32x4.splat(1));
  const m = mulhi4(root, v128.bitselect(i32x4.splat(3575794827), i32x4.splat(2528468770), odd));
  const quadrant = i32x4.shr_u(u1, 30);
  const swap = i32x4.eq(v128.and(quadrant, i32x4.splat(1)), i32x4.splat(1));
  const scale = i32x4.shl(i32x4.add(i32x4.shr_s(exponent, 1), i32x4.splat(127 - 22)), 23);
  const half = i32x4.splat(64);
  const a = i32x4.shr_u(i32x4.add(mulhi4(m, v128.bitselect(s, c, swap)), half), 7);
  const b = i32x4.shr_u(i32x4.add(mulhi4(m, v128.bitselect(c, s, swap)), half), 7);
  // cos is negative in quadrants 1 and 2, sin in 2 and 3.
  const signCos = i32x4.shl(v128.xor(quadrant, i32x4.shr_u(quadrant, 1)), 31);
  const signSin = i32x4.shl(i32x4.shr_u(quadrant, 1), 31);
  x0 = v128.xor(f32x4.mul(f32x4.convert_i32x4_s(a), scale), signCos);
  x1 = v128.xor(f32x4.mul(f32x4.convert_i32x4_s(b), scale), signSin);
}
