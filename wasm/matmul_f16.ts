import { put, put4 } from "./lib/accumulate";
import { finish, gemm, setEpilogue } from "./lib/gemm";
import { addProducts } from "./lib/gemv";

// Halves (IEEE 754 binary16), two to a word, and products with them: 64 columns are unpacked at a time or, for few
// rows of y, a piece of a few rows that fits in L1.

/** Rows of a tile of a conversion, columns of one of a product. */
const ROWS: u32 = 8;
const COLUMNS: u32 = 64;
/** Rows of y that do not pay for packing b. */
const FEW: u32 = 4;
/** The piece of b that few rows of y take at a time, 16 KiB. */
const PIECE_ROWS: u32 = 8;
const PIECE: u32 = 512;
/** Where the scratch of lib/gemm.ts ends: without and with room for a packed a. */
const BEHIND: usize = 140032;
const BEHIND_PACKED: usize = BEHIND + 990720;

/** The bits of four halves, in the low half of each lane. */
function halvesOf(x: v128): v128 {
  const sign = v128.and(i32x4.shr_u(x, 16), i32x4.splat(0x8000));
  const v = v128.and(x, i32x4.splat(0x7fffffff));
  // Nearest, ties to even: what is cut off, less half a unit, plus the bit of that unit, carries or not.
  const odd = v128.and(i32x4.shr_u(v, 13), i32x4.splat(1));
  const normal = i32x4.shr_u(i32x4.add(v, i32x4.add(odd, i32x4.splat(0xfff - 0x38000000))), 13);
  // The last place of a sum with 1/2 is 2^-24, the unit of subnormal halves: the addition rounds.
  const half = f32x4.splat(0.5);
  const small = i32x4.sub(f32x4.add(v, half), half);
  let h = v128.bitselect(small, normal, i32x4.lt_s(v, i32x4.splat(0x38800000)));
  h = v128.bitselect(i32x4.splat(0x7c00), h, i32x4.ge_s(v, i32x4.splat(0x47800000)));
  return v128.bitselect(i32x4.splat(0x7e00), v128.or(sign, h), i32x4.gt_s(v, i32x4.splat(0x7f800000)));
}

/** Four halves in the low half of each lane. */
// @ts-ignore: decorator
@inline
function valuesOf(h: v128): v128 {
  const sign = i32x4.shl(v128.and(h, i32x4.splat(0x8000)), 16);
  const v = v128.and(h, i32x4.splat(0x7fff));
  // The exponent is 112 too small, subnormal or not: times 2^112. That of Inf and NaN is set.
  const scaled = f32x4.mul(i32x4.shl(v, 13), i32x4.splat(0x77800000));
  const inf = v128.and(i32x4.ge_s(v, i32x4.splat(0x7c00)), i32x4.splat(0x7f800000));
  return v128.or(v128.or(scaled, inf), sign);
}

/** n halves of a row -> f32. */
function unpackRow(to: usize, words: usize, n: u32, beta: f32): void {
  const low = i32x4.splat(0xffff);
  let j: u32 = 0;
  for (; j + 8 <= n; j += 8) {
    const w = v128.load(words);
    const even = valuesOf(v128.and(w, low));
    const odd = valuesOf(i32x4.shr_u(w, 16));
    put4(to, i32x4.shuffle(even, odd, 0, 4, 1, 5), beta);
    put4(to + 16, i32x4.shuffle(even, odd, 2, 6, 3, 7), beta);
    to += 32;
    words += 16;
  }
  for (; j < n; j += 2) {
    const w = v128.load32_splat(words);
    const pair = i32x4.replace_lane(v128.and(w, low), 1, <i32>(load<u32>(words) >> 16));
    put(to, valuesOf(pair), min(n - j, 2), beta);
    to += 8;
    words += 4;
  }
}

export function pack_f16_f32(words: usize, x: usize, R: u32, W: u32, N: u32, lo: u32, hi: u32): void {
  for (let r = lo * ROWS; r < min(hi * ROWS, R); r++) {
    let p = x + ((<usize>r * N) << 2);
    let q = words + ((<usize>r * W) << 2);
    let n: u32 = 0;
    for (; n + 8 <= N; n += 8) {
      const h0 = halvesOf(v128.load(p));
      const h1 = halvesOf(v128.load(p, 16));
      const even = i32x4.shuffle(h0, h1, 0, 2, 4, 6);
      const odd = i32x4.shuffle(h0, h1, 1, 3, 5, 7);
      v128.store(q, v128.or(even, i32x4.shl(odd, 16)));
      p += 32;
      q += 16;
    }
    for (; n < N; n += 2) {
      const first = i32x4.extract_lane(halvesOf(v128.load32_splat(p)), 0);
      const second = n + 1 < N ? i32x4.extract_lane(halvesOf(v128.load32_splat(p + 4)), 0) : 0;
      store<u32>(q, first | (second << 16));
      p += 8;
      q += 4;
    }
  }
}

export function unpack_f16_f32(
  x: usize, words: usize, R: u32, N: u32, W: u32, n: u32, beta: f32, lo: u32, hi: u32,
): void {
  for (let r = lo * ROWS; r < min(hi * ROWS, R); r++) {
    unpackRow(x + ((<usize>r * N) << 2), words + ((<usize>r * W) << 2), N, beta);
  }
}

function unpackRows(to: usize, step: usize, words: usize, W: u32, rows: u32, columns: u32): void {
  for (let k: u32 = 0; k < rows; k++) {
    unpackRow(to, words, columns, 0);
    to += step;
    words += (<usize>W) << 2;
  }
}

function fewRows(
  y: usize, a: usize, words: usize, R: u32, N: u32, K: u32, W: u32, n0: u32, n1: u32, scratch: usize,
): void {
  const bytes: usize = PIECE << 2;
  const piece = scratch + bytes * FEW;
  for (let n = n0; n < n1; n += PIECE) {
    const columns = min(n1 - n, PIECE);
    memory.fill(scratch, 0, bytes * R);
    for (let k: u32 = 0; k < K; k += PIECE_ROWS) {
      const rows = min(K - k, PIECE_ROWS);
      unpackRows(piece, bytes, words + (((<usize>k * W) << 2) + ((<usize>n) << 1)), W, rows, columns);
      addProducts(scratch, bytes, a + ((<usize>k) << 2), (<usize>K) << 2, 4, piece, bytes, R, columns, rows);
    }
    finish(scratch, bytes, y + ((<usize>n) << 2), (<usize>N) << 2, R, columns, n, true, true);
  }
}

export function matmul_f16_f32(
  y: usize, a: usize, words: usize, bias: usize,
  R: u32, N: u32, K: u32, W: u32, present: u32,
  alpha: f32, act: u32, n: u32, beta: f32,
  scratch: usize, lo: u32, hi: u32,
): void {
  setEpilogue(bias, 4, alpha, act, beta);
  if (R <= FEW) fewRows(y, a, words, R, N, K, W, lo * COLUMNS, min(hi * COLUMNS, N), scratch);
  else {
    const ar = (<usize>K) << 2;
    const ys = (<usize>N) << 2;
    const strip = scratch + (K >= 1024 ? BEHIND_PACKED : BEHIND);
    const bk: usize = COLUMNS << 2;
    for (let n0 = lo * COLUMNS; n0 < min(hi * COLUMNS, N); n0 += COLUMNS) {
      const n1 = min(n0 + COLUMNS, N);
      unpackRows(strip, bk, words + ((<usize>n0) << 1), W, K, n1 - n0);
      // Where column 0 would be.
      gemm(y, ys, a, ar, 4, strip - ((<usize>n0) << 2), 4, bk, false, 0, R, n0, n1, K, scratch);
    }
  }
}
