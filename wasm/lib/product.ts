// Every matrix product comes down to this: a few rows of a times 8 columns of b, with the sums in
// registers. 6 rows with relaxed_madd take 12 sums, 2 vectors of b and 1 of a: the 15 registers that V8
// gives out. mul + add needs one more, hence 5. A tile of 4, 10–15 % slower, saves padding.
//
// What lost, on Zen 4: 6 rows without relaxed_madd (half the speed), unrolling k (20–50 %), an index
// shared by the rows instead of a pointer each (up to 35 %); on V8 11 a loop tested at its end, and adding
// c after the loop instead of starting from it (half the speed each).

import { madd } from "./math";

/** Rows of the tall tile: the most that `multiply` takes. */
// @ts-ignore: decorator
@inline
export const TALL: u32 = RELAXED ? 6 : 5;

/** How many of `left` rows to take next: as few tiles as can be, and of 4 rows as many as that allows. */
// @ts-ignore: decorator
@inline
export function portion(left: u32): u32 {
  const tiles = (left + TALL - 1) / TALL;
  return min(left, tiles * TALL - left >= TALL - 4 ? 4 : TALL);
}

/**
 * c (rows,8) = a·b or, with `add`, += a·b, over `depth` numbers; rows <= TALL. Bytes from a row to the
 * next: `cs` in c, `ar` in a; from a k to the next `ak` in a, `bk` in b. What a row comes to does not
 * depend on the tile that it is in.
 *
 * Inline, so that each tile has several callers: into a single one Binaryen would inline it, and in the
 * larger function V8 11 spills.
 */
// @ts-ignore: decorator
@inline
export function multiply(
  c: usize, cs: usize, a: usize, ar: usize, ak: usize, b: usize, bk: usize, depth: u32, rows: u32, add: bool,
): void {
  if (rows > 4) tall(c, cs, a, ar, ak, b, bk, depth, rows, add);
  else four(c, cs, a, ar, ak, b, bk, depth, rows, add);
}

// Rows that a tile has too many of are the last one again: the same sums, stored in the same place.

/** 5 rows or, with relaxed SIMD, 5 or 6. */
function tall(
  c: usize, cs: usize, a0: usize, ar: usize, ak: usize, b: usize, bk: usize, depth: u32, rows: u32, add: bool,
): void {
  let a1 = a0 + ar;
  let a2 = a1 + ar;
  let a3 = a2 + ar;
  let a4 = a3 + ar;
  let a5 = a4 + (rows > 5 ? ar : 0);
  const last = rows > 5 ? cs : 0;
  let c00 = f32x4.splat(0);
  let c01 = f32x4.splat(0);
  let c10 = f32x4.splat(0);
  let c11 = f32x4.splat(0);
  let c20 = f32x4.splat(0);
  let c21 = f32x4.splat(0);
  let c30 = f32x4.splat(0);
  let c31 = f32x4.splat(0);
  let c40 = f32x4.splat(0);
  let c41 = f32x4.splat(0);
  let c50 = f32x4.splat(0);
  let c51 = f32x4.splat(0);
  if (add) {
    let p = c;
    c00 = v128.load(p);
    c01 = v128.load(p, 16);
    p += cs;
    c10 = v128.load(p);
    c11 = v128.load(p, 16);
    p += cs;
    c20 = v128.load(p);
    c21 = v128.load(p, 16);
    p += cs;
    c30 = v128.load(p);
    c31 = v128.load(p, 16);
    p += cs;
    c40 = v128.load(p);
    c41 = v128.load(p, 16);
    if (RELAXED) {
      p += last;
      c50 = v128.load(p);
      c51 = v128.load(p, 16);
    }
  }
  for (const end = b + bk * depth; b != end; b += bk) {
    const b0 = v128.load(b);
    const b1 = v128.load(b, 16);
    let v = v128.load32_splat(a0);
    c00 = madd(v, b0, c00);
    c01 = madd(v, b1, c01);
    v = v128.load32_splat(a1);
    c10 = madd(v, b0, c10);
    c11 = madd(v, b1, c11);
    v = v128.load32_splat(a2);
    c20 = madd(v, b0, c20);
    c21 = madd(v, b1, c21);
    v = v128.load32_splat(a3);
    c30 = madd(v, b0, c30);
    c31 = madd(v, b1, c31);
    v = v128.load32_splat(a4);
    c40 = madd(v, b0, c40);
    c41 = madd(v, b1, c41);
    if (RELAXED) {
      v = v128.load32_splat(a5);
      c50 = madd(v, b0, c50);
      c51 = madd(v, b1, c51);
      a5 += ak;
    }
    a0 += ak;
    a1 += ak;
    a2 += ak;
    a3 += ak;
    a4 += ak;
  }
  v128.store(c, c00);
  v128.store(c, c01, 16);
  c += cs;
  v128.store(c, c10);
  v128.store(c, c11, 16);
  c += cs;
  v128.store(c, c20);
  v128.store(c, c21, 16);
  c += cs;
  v128.store(c, c30);
  v128.store(c, c31, 16);
  c += cs;
  v128.store(c, c40);
  v128.store(c, c41, 16);
  if (RELAXED) {
    c += last;
    v128.store(c, c50);
    v128.store(c, c51, 16);
  }
}

/** 1 to 4 rows. */
function four(
  c0: usize, cs: usize, a0: usize, ar: usize, ak: usize, b: usize, bk: usize, depth: u32, rows: u32, add: bool,
): void {
  let a1 = a0 + (rows > 1 ? ar : 0);
  let a2 = a1 + (rows > 2 ? ar : 0);
  let a3 = a2 + (rows > 3 ? ar : 0);
  const c1 = c0 + (rows > 1 ? cs : 0);
  const c2 = c1 + (rows > 2 ? cs : 0);
  const c3 = c2 + (rows > 3 ? cs : 0);
  let c00 = f32x4.splat(0);
  let c01 = f32x4.splat(0);
  let c10 = f32x4.splat(0);
  let c11 = f32x4.splat(0);
  let c20 = f32x4.splat(0);
  let c21 = f32x4.splat(0);
  let c30 = f32x4.splat(0);
  let c31 = f32x4.splat(0);
  if (add) {
    c00 = v128.load(c0);
    c01 = v128.load(c0, 16);
    c10 = v128.load(c1);
    c11 = v128.load(c1, 16);
    c20 = v128.load(c2);
    c21 = v128.load(c2, 16);
    c30 = v128.load(c3);
    c31 = v128.load(c3, 16);
  }
  for (const end = b + bk * depth; b != end; b += bk) {
    const b0 = v128.load(b);
    const b1 = v128.load(b, 16);
    let v = v128.load32_splat(a0);
    c00 = madd(v, b0, c00);
    c01 = madd(v, b1, c01);
    v = v128.load32_splat(a1);
    c10 = madd(v, b0, c10);
    c11 = madd(v, b1, c11);
    v = v128.load32_splat(a2);
    c20 = madd(v, b0, c20);
    c21 = madd(v, b1, c21);
    v = v128.load32_splat(a3);
    c30 = madd(v, b0, c30);
    c31 = madd(v, b1, c31);
    a0 += ak;
    a1 += ak;
    a2 += ak;
    a3 += ak;
  }
  v128.store(c0, c00);
  v128.store(c0, c01, 16);
  v128.store(c1, c10);
  v128.store(c1, c11, 16);
  v128.store(c2, c20);
  v128.store(c2, c21, 16);
  v128.store(c3, c30);
  v128.store(c3, c31, 16);
}

/** Rows of the slim tile. */
// @ts-ignore: decorator
@inline
export const SLIM: u32 = 6;

/** c (rows,4) of 1 to 6 rows, as `multiply` does 8 columns: where b has no more, half of its sums are of nothing. */
export function slim(
  c: usize, cs: usize, a0: usize, ar: usize, ak: usize, b: usize, bk: usize, depth: u32, rows: u32, add: bool,
): void {
  let a1 = a0 + (rows > 1 ? ar : 0);
  let a2 = a1 + (rows > 2 ? ar : 0);
  let a3 = a2 + (rows > 3 ? ar : 0);
  let a4 = a3 + (rows > 4 ? ar : 0);
  let a5 = a4 + (rows > 5 ? ar : 0);
  let s0 = f32x4.splat(0);
  let s1 = f32x4.splat(0);
  let s2 = f32x4.splat(0);
  let s3 = f32x4.splat(0);
  let s4 = f32x4.splat(0);
  let s5 = f32x4.splat(0);
  if (add) {
    let p = c;
    s0 = v128.load(p);
    if (rows > 1) p += cs;
    s1 = v128.load(p);
    if (rows > 2) p += cs;
    s2 = v128.load(p);
    if (rows > 3) p += cs;
    s3 = v128.load(p);
    if (rows > 4) p += cs;
    s4 = v128.load(p);
    if (rows > 5) p += cs;
    s5 = v128.load(p);
  }
  for (const end = b + bk * depth; b != end; b += bk) {
    const v = v128.load(b);
    s0 = madd(v128.load32_splat(a0), v, s0);
    s1 = madd(v128.load32_splat(a1), v, s1);
    s2 = madd(v128.load32_splat(a2), v, s2);
    s3 = madd(v128.load32_splat(a3), v, s3);
    s4 = madd(v128.load32_splat(a4), v, s4);
    s5 = madd(v128.load32_splat(a5), v, s5);
    a0 += ak;
    a1 += ak;
    a2 += ak;
    a3 += ak;
    a4 += ak;
    a5 += ak;
  }
  v128.store(c, s0);
  if (rows > 1) c += cs;
  v128.store(c, s1);
  if (rows > 2) c += cs;
  v128.store(c, s2);
  if (rows > 3) c += cs;
  v128.store(c, s3);
  if (rows > 4) c += cs;
  v128.store(c, s4);
  if (rows > 5) c += cs;
  v128.store(c, s5);
}
