/**
 * Counter-based random numbers that have the same bits on every backend: this file defines them,
 * wasm/lib/random.ts and wgsl/lib/random.wgsl repeat it step by step.
 *
 * Generator: Threefry2x32-20 of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC'11).
 * The key is (seed, stream); element i of a fill at time t takes word i mod 2 of counter (i >> 1, t).
 *
 * Normals come from Box–Muller in fixed point. WGSL promises no exact log, sqrt or cos, and may fuse
 * a·b + c; integers leave no such freedom. Qn below is a u32 that stands for value · 2^n. The
 * coefficients are fitted by test/fixtures/normal_coefficients.py.
 */

/** High word of the 64-bit product of two u32. */
export function mulhi(a: number, b: number): number {
  const al = a & 0xffff;
  const ah = a >>> 16;
  const bl = b & 0xffff;
  const bh = b >>> 16;
  const lh = al * bh;
  const mid = ah * bl + ((al * bl) >>> 16) + (lh & 0xffff);
  return (ah * bh + Math.floor(mid / 65536) + (lh >>> 16)) >>> 0;
}

const ROTATIONS = [13, 15, 26, 6, 17, 29, 16, 24];

/** Threefry2x32 with 20 rounds: key (k0, k1), counter (c0, c1) → two u32. */
export function threefry2x32(k0: number, k1: number, c0: number, c1: number): [number, number] {
  const ks = [k0 | 0, k1 | 0, 0x1bd11bda ^ k0 ^ k1];
  let x0 = (c0 + ks[0]) | 0;
  let x1 = (c1 + ks[1]) | 0;
  for (let round = 0; round < 20; round++) {
    const r = ROTATIONS[round % 8];
    x0 = (x0 + x1) | 0;
    x1 = ((x1 << r) | (x1 >>> (32 - r))) ^ x0;
    if (round % 4 === 3) {
      const j = (round + 1) / 4;
      x0 = (x0 + ks[j % 3]) | 0;
      x1 = (x1 + ks[(j + 1) % 3] + j) | 0;
    }
  }
  return [x0 >>> 0, x1 >>> 0];
}

/** The upper 24 bits as a number in [0, 1), exact in f32. */
export const uniformOf = (bits: number): number => (bits >>> 8) / 16777216;

/** log2(1+f)/f, (√(1+x)−1)/x and sin(π/2 √u)/√u: alternating signs, so Horner stays unsigned. */
const LOG2 = [
  1549081965, 774534072, 516159445, 384992505, 296573531, 212946402, 122703873, 46644317, 8340344,
];
const SQRT = [1073741544, 268405257, 133682687, 80242410, 46262449, 19607419, 4085538];
const SIN = [3373259412, 1387196615, 171132815, 10037677, 325727];
/** √(2 ln 2) and 2√(ln 2), Q31: for even and odd exponents. */
const ROOT_EVEN = 2528468770;
const ROOT_ODD = 3575794827;

function horner(c: readonly number[], x: number): number {
  let p = c[c.length - 1];
  for (let k = c.length - 2; k >= 0; k--) p = c[k] - mulhi(p, x);
  return p;
}

/** sin(π/2 t): t and the result Q31, both up to 1 inclusive. */
function sinQuarter(t: number): number {
  const u = mulhi(t, t); // Q30
  let p = SIN[4];
  for (let k = 3; k >= 0; k--) p = SIN[k] - mulhi(p, u) * 4; // Q31 · Q30 -> Q29 -> Q31
  return mulhi(t, p) * 2; // Q31 · Q31 -> Q30 -> Q31
}

/** Two standard normals from two uniform words; |error| < 2e-6 where r > 0.01. */
export function normalPair(x0: number, x1: number): [number, number] {
  // L = −log2(v / 2^32), v the odd neighbour of x0: never 0.
  const v = (x0 | 1) >>> 0;
  const e = Math.clz32(v);
  const f = ((v << e) << 1) >>> 0; // Q32
  const log = mulhi(horner(LOG2, f), f); // Q30
  const whole = ((e + 1) << 26) >>> 0; // Q26
  const L = ((whole - Math.min(log >>> 4, whole)) | 1) >>> 0;
  // r = √(2 ln 2 · L) = m · 2^h, with L = (1 + x) · 2^(5−z) brought to its leading bit.
  const z = Math.clz32(L);
  const x = ((L << z) << 1) >>> 0; // Q32
  const root = (0x80000000 + mulhi(horner(SQRT, x), x)) >>> 0; // Q31
  const h = (5 - z) >> 1;
  const m = mulhi(root, (5 - z) & 1 ? ROOT_ODD : ROOT_EVEN); // Q30
  // The angle: quadrant in the top two bits of x1, the rest a quarter turn.
  const t = (x1 << 2) >>> 1; // Q31
  const s = sinQuarter(t);
  const c = sinQuarter((0x80000000 - t) >>> 0);
  const q = x1 >>> 30;
  const [cos, sin] = q & 1 ? [s, c] : [c, s];
  // 24 bits and a power of two: conversion and scaling are exact.
  const scale = 2 ** (h - 22);
  const a = ((mulhi(m, cos) + 64) >>> 7) * scale; // Q29 -> Q22
  const b = ((mulhi(m, sin) + 64) >>> 7) * scale;
  return [q === 1 || q === 2 ? -a : a, q >= 2 ? -b : b];
}
