// The inner product of convolutions: a few rows of a matrix as it lies in memory, times a panel of 8
// columns. 6×8 sums with relaxed SIMD and 5×8 without are what 15 registers hold; unrolling over K or
// a loop tested at its end costs a third and more (spills).

import { madd } from "./math";

/** Most rows that `multiply` takes at a time. */
// @ts-ignore: decorator
@inline
export const TALL: u32 = RELAXED ? 6 : 5;

/** How many of `left` rows to take next: as few and as equal portions as there can be. */
// @ts-ignore: decorator
@inline
export function portion(left: u32): u32 {
  const n = (left + TALL - 1) / TALL;
  return (left + n - 1) / n;
}

/**
 * c (rows,8), dense, = a·b or, with `add`, += a·b: rows <= TALL of K numbers, `sa` bytes apart, and
 * the panel b (K,8).
 */
export function multiply(c: usize, a: usize, sa: usize, b: usize, K: u32, rows: u32, add: bool): void {
  if (RELAXED && rows == 6) tile6(c, a, sa, b, K, add);
  else if (rows == 5) tile5(c, a, sa, b, K, add);
  else tile4(c, a, sa, b, K, rows, add);
}

function tile6(c: usize, a: usize, sa: usize, b: usize, K: u32, add: bool): void {
  let a0 = a;
  let a1 = a0 + sa;
  let a2 = a1 + sa;
  let a3 = a2 + sa;
  let a4 = a3 + sa;
  let a5 = a4 + sa;
  const zero = f32x4.splat(0);
  let c00 = add ? v128.load(c) : zero;
  let c01 = add ? v128.load(c, 16) : zero;
  let c10 = add ? v128.load(c, 32) : zero;
  let c11 = add ? v128.load(c, 48) : zero;
  let c20 = add ? v128.load(c, 64) : zero;
  let c21 = add ? v128.load(c, 80) : zero;
  let c30 = add ? v128.load(c, 96) : zero;
  let c31 = add ? v128.load(c, 112) : zero;
  let c40 = add ? v128.load(c, 128) : zero;
  let c41 = add ? v128.load(c, 144) : zero;
  let c50 = add ? v128.load(c, 160) : zero;
  let c51 = add ? v128.load(c, 176) : zero;
  for (let k: u32 = 0; k < K; k++) {
    const b0 = v128.load(b);
    const b1 = v128.load(b, 16);
    const v0 = v128.load32_splat(a0);
    c00 = madd(v0, b0, c00);
    c01 = madd(v0, b1, c01);
    const v1 = v128.load32_splat(a1);
    c10 = madd(v1, b0, c10);
    c11 = madd(v1, b1, c11);
    const v2 = v128.load32_splat(a2);
    c20 = madd(v2, b0, c20);
    c21 = madd(v2, b1, c21);
    const v3 = v128.load32_splat(a3);
    c30 = madd(v3, b0, c30);
    c31 = madd(v3, b1, c31);
    const v4 = v128.load32_splat(a4);
    c40 = madd(v4, b0, c40);
    c41 = madd(v4, b1, c41);
    const v5 = v128.load32_splat(a5);
    c50 = madd(v5, b0, c50);
    c51 = madd(v5, b1, c51);
    b += 32;
    a0 += 4;
    a1 += 4;
    a2 += 4;
    a3 += 4;
    a4 += 4;
    a5 += 4;
  }
  v128.store(c, c00);
  v128.store(c, c01, 16);
  v128.store(c, c10, 32);
  v128.store(c, c11, 48);
  v128.store(c, c20, 64);
  v128.store(c, c21, 80);
  v128.store(c, c30, 96);
  v128.store(c, c31, 112);
  v128.store(c, c40, 128);
  v128.store(c, c41, 144);
  v128.store(c, c50, 160);
  v128.store(c, c51, 176);
}

function tile5(c: usize, a: usize, sa: usize, b: usize, K: u32, add: bool): void {
  let a0 = a;
  let a1 = a0 + sa;
  let a2 = a1 + sa;
  let a3 = a2 + sa;
  let a4 = a3 + sa;
  const zero = f32x4.splat(0);
  let c00 = add ? v128.load(c) : zero;
  let c01 = add ? v128.load(c, 16) : zero;
  let c10 = add ? v128.load(c, 32) : zero;
  let c11 = add ? v128.load(c, 48) : zero;
  let c20 = add ? v128.load(c, 64) : zero;
  let c21 = add ? v128.load(c, 80) : zero;
  let c30 = add ? v128.load(c, 96) : zero;
  let c31 = add ? v128.load(c, 112) : zero;
  let c40 = add ? v128.load(c, 128) : zero;
  let c41 = add ? v128.load(c, 144) : zero;
  for (let k: u32 = 0; k < K; k++) {
    const b0 = v128.load(b);
    const b1 = v128.load(b, 16);
    const v0 = v128.load32_splat(a0);
    c00 = madd(v0, b0, c00);
    c01 = madd(v0, b1, c01);
    const v1 = v128.load32_splat(a1);
    c10 = madd(v1, b0, c10);
    c11 = madd(v1, b1, c11);
    const v2 = v128.load32_splat(a2);
    c20 = madd(v2, b0, c20);
    c21 = madd(v2, b1, c21);
    const v3 = v128.load32_splat(a3);
    c30 = madd(v3, b0, c30);
    c31 = madd(v3, b1, c31);
    const v4 = v128.load32_splat(a4);
    c40 = madd(v4, b0, c40);
    c41 = madd(v4, b1, c41);
    b += 32;
    a0 += 4;
    a1 += 4;
    a2 += 4;
    a3 += 4;
    a4 += 4;
  }
  v128.store(c, c00);
  v128.store(c, c01, 16);
  v128.store(c, c10, 32);
  v128.store(c, c11, 48);
  v128.store(c, c20, 64);
  v128.store(c, c21, 80);
  v128.store(c, c30, 96);
  v128.store(c, c31, 112);
  v128.store(c, c40, 128);
  v128.store(c, c41, 144);
}

/** 1 to 4 rows: those past the last repeat it and are not stored. */
function tile4(c: usize, a: usize, sa: usize, b: usize, K: u32, rows: u32, add: bool): void {
  let a0 = a;
  let a1 = rows > 1 ? a0 + sa : a0;
  let a2 = rows > 2 ? a1 + sa : a1;
  let a3 = rows > 3 ? a2 + sa : a2;
  const zero = f32x4.splat(0);
  let c00 = add ? v128.load(c) : zero;
  let c01 = add ? v128.load(c, 16) : zero;
  let c10 = add ? v128.load(c, 32) : zero;
  let c11 = add ? v128.load(c, 48) : zero;
  let c20 = add ? v128.load(c, 64) : zero;
  let c21 = add ? v128.load(c, 80) : zero;
  let c30 = add ? v128.load(c, 96) : zero;
  let c31 = add ? v128.load(c, 112) : zero;
  for (let k: u32 = 0; k < K; k++) {
    const b0 = v128.load(b);
    const b1 = v128.load(b, 16);
    const v0 = v128.load32_splat(a0);
    c00 = madd(v0, b0, c00);
    c01 = madd(v0, b1, c01);
    const v1 = v128.load32_splat(a1);
    c10 = madd(v1, b0, c10);
    c11 = madd(v1, b1, c11);
    const v2 = v128.load32_splat(a2);
    c20 = madd(v2, b0, c20);
    c21 = madd(v2, b1, c21);
    const v3 = v128.load32_splat(a3);
    c30 = madd(v3, b0, c30);
    c31 = madd(v3, b1, c31);
    b += 32;
    a0 += 4;
    a1 += 4;
    a2 += 4;
    a3 += 4;
  }
  v128.store(c, c00);
  v128.store(c, c01, 16);
  if (rows > 1) {
    v128.store(c, c10, 32);
    v128.store(c, c11, 48);
  }
  if (rows > 2) {
    v128.store(c, c20, 64);
    v128.store(c, c21, 80);
  }
  if (rows > 3) {
    v128.store(c, c30, 96);
    v128.store(c, c31, 112);
  }
}
