// core/threefry.ts for four counters at once: the same integer steps, the same bits.

/** Results of the last `threefry4` and `normal4`: one word, or one normal, of each pair. */
export let x0: v128 = i32x4.splat(0);
export let x1: v128 = i32x4.splat(0);

// @ts-ignore: decorator
@inline
function rotl(v: v128, r: i32): v128 {
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

/** The upper 24 bits as f32 in [0, 1). */
// @ts-ignore: decorator
@inline
export function uniform4(bits: v128): v128 {
  return f32x4.mul(f32x4.convert_i32x4_s(i32x4.shr_u(bits, 8)), f32x4.splat(5.9604644775390625e-8));
}

// @ts-ignore: decorator
@inline
function step(c: u32, p: v128, x: v128): v128 {
  return i32x4.sub(i32x4.splat(c), mulhi4(p, x));
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

function sinQuarter(t: v128): v128 {
  const u = mulhi4(t, t);
  let p = i32x4.splat(325727);
  p = i32x4.sub(i32x4.splat(10037677), i32x4.shl(mulhi4(p, u), 2));
  p = i32x4.sub(i32x4.splat(171132815), i32x4.shl(mulhi4(p, u), 2));
  p = i32x4.sub(i32x4.splat(1387196615), i32x4.shl(mulhi4(p, u), 2));
  p = i32x4.sub(i32x4.splat(3373259412), i32x4.shl(mulhi4(p, u), 2));
  return i32x4.shl(mulhi4(t, p), 1);
}

/** Turns the words in x0 and x1 into two standard normals (f32) in their place. */
export function normal4(): void {
  const v = v128.or(x0, i32x4.splat(1));
  const e = i32x4.sub(i32x4.splat(31), leadingBit(v));
  const f = i32x4.shl(shiftLeft(v, e), 1);
  let p = step(46644317, i32x4.splat(8340344), f);
  p = step(122703873, p, f);
  p = step(212946402, p, f);
  p = step(296573531, p, f);
  p = step(384992505, p, f);
  p = step(516159445, p, f);
  p = step(774534072, p, f);
  p = step(1549081965, p, f);
  const log = i32x4.shr_u(mulhi4(p, f), 4);
  const whole = i32x4.shl(i32x4.add(e, i32x4.splat(1)), 26);
  const L = v128.or(i32x4.sub(whole, i32x4.min_u(log, whole)), i32x4.splat(1));
  const z = i32x4.sub(i32x4.splat(31), leadingBit(L));
  const x = i32x4.shl(shiftLeft(L, z), 1);
  let q = step(19607419, i32x4.splat(4085538), x);
  q = step(46262449, q, x);
  q = step(80242410, q, x);
  q = step(133682687, q, x);
  q = step(268405257, q, x);
  q = step(1073741544, q, x);
  const root = i32x4.add(i32x4.splat(0x80000000), mulhi4(q, x));
  const exponent = i32x4.sub(i32x4.splat(5), z);
  const odd = i32x4.eq(v128.and(exponent, i32x4.splat(1)), i32x4.splat(1));
  const m = mulhi4(root, v128.bitselect(i32x4.splat(3575794827), i32x4.splat(2528468770), odd));
  const t = i32x4.shr_u(i32x4.shl(x1, 2), 1);
  const s = sinQuarter(t);
  const c = sinQuarter(i32x4.sub(i32x4.splat(0x80000000), t));
  const quadrant = i32x4.shr_u(x1, 30);
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
