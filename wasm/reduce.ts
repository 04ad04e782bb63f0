import { put1, put4 } from "./lib/accumulate";
import { hsum } from "./lib/math";

// Reductions of rows (R, C) -> (R), and of columns (L, S) -> (S). A row is summed in blocks of 4096 by
// four vectors, and the blocks in f64, so that a million terms keep f32 accuracy. The order depends on
// the shape alone, never on the number of threads.

const BLOCK: u32 = 4096;
/** Rows, or columns, of one tile. */
const ROWS: u32 = 8;
const COLUMNS: u32 = 64;

// @ts-ignore: decorator
@inline
function term(squares: bool, v: v128): v128 {
  return squares ? f32x4.mul(v, v) : v;
}

// @ts-ignore: decorator
@inline
function rowSum(squares: bool, x: usize, C: u32): f64 {
  let total: f64 = 0;
  for (let at: u32 = 0; at < C; at += BLOCK) {
    const n = min(BLOCK, C - at);
    let p = x + ((<usize>at) << 2);
    let s0 = f32x4.splat(0);
    let s1 = f32x4.splat(0);
    let s2 = f32x4.splat(0);
    let s3 = f32x4.splat(0);
    let i: u32 = 0;
    for (; i + 16 <= n; i += 16) {
      s0 = f32x4.add(s0, term(squares, v128.load(p)));
      s1 = f32x4.add(s1, term(squares, v128.load(p, 16)));
      s2 = f32x4.add(s2, term(squares, v128.load(p, 32)));
      s3 = f32x4.add(s3, term(squares, v128.load(p, 48)));
      p += 64;
    }
    for (; i + 4 <= n; i += 4) {
      s0 = f32x4.add(s0, term(squares, v128.load(p)));
      p += 16;
    }
    let tail: f32 = 0;
    for (; i < n; i++) {
      const v = load<f32>(p);
      tail += squares ? v * v : v;
      p += 4;
    }
    total += <f64>(hsum(f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3))) + tail);
  }
  return total;
}

export function sum_f32(y: usize, x: usize, R: u32, C: u32, beta: f32, lo: u32, hi: u32): void {
  const end = min(hi * ROWS, R);
  for (let r = lo * ROWS; r < end; r++) {
    put1(y + ((<usize>r) << 2), <f32>rowSum(false, x + ((<usize>r * C) << 2), C), beta);
  }
}

export function mean_f32(y: usize, x: usize, R: u32, C: u32, beta: f32, lo: u32, hi: u32): void {
  const end = min(hi * ROWS, R);
  for (let r = lo * ROWS; r < end; r++) {
    put1(y + ((<usize>r) << 2), <f32>(rowSum(false, x + ((<usize>r * C) << 2), C) / <f64>C), beta);
  }
}

export function sum_squares_f32(y: usize, x: usize, R: u32, C: u32, beta: f32, lo: u32, hi: u32): void {
  const end = min(hi * ROWS, R);
  for (let r = lo * ROWS; r < end; r++) {
    put1(y + ((<usize>r) << 2), <f32>rowSum(true, x + ((<usize>r * C) << 2), C), beta);
  }
}

export function max_f32(y: usize, x: usize, R: u32, C: u32, beta: f32, lo: u32, hi: u32): void {
  const end = min(hi * ROWS, R);
  for (let r = lo * ROWS; r < end; r++) {
    let p = x + ((<usize>r * C) << 2);
    let v = f32x4.splat(-Infinity);
    let i: u32 = 0;
    // f32x4.max, not pmax: a NaN anywhere must come out.
    for (; i + 4 <= C; i += 4) {
      v = f32x4.max(v, v128.load(p));
      p += 16;
    }
    for (; i < C; i++) {
      v = f32x4.max(v, v128.load32_splat(p));
      p += 4;
    }
    const a = f32x4.max(v, i8x16.shuffle(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
    const b = f32x4.max(a, i8x16.shuffle(a, a, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11));
    put1(y + ((<usize>r) << 2), f32x4.extract_lane(b, 0), beta);
  }
}

/** Rows summed before the partial result joins the total: keeps the error of tall sums down. */
const TALL: u32 = 256;

export function sum_leading_f32(y: usize, x: usize, S: u32, L: u32, beta: f32, lo: u32, hi: u32): void {
  const end = min(hi * COLUMNS, S);
  const stride = (<usize>S) << 2;
  let c = lo * COLUMNS;
  for (; c + 4 <= end; c += 4) {
    let total = f32x4.splat(0);
    let p = x + ((<usize>c) << 2);
    for (let at: u32 = 0; at < L; at += TALL) {
      const n = min(TALL, L - at);
      let s = f32x4.splat(0);
      for (let i: u32 = 0; i < n; i++) {
        s = f32x4.add(s, v128.load(p));
        p += stride;
      }
      total = f32x4.add(total, s);
    }
    put4(y + ((<usize>c) << 2), total, beta);
  }
  for (; c < end; c++) {
    let total: f32 = 0;
    let p = x + ((<usize>c) << 2);
    for (let at: u32 = 0; at < L; at += TALL) {
      const n = min(TALL, L - at);
      let s: f32 = 0;
      for (let i: u32 = 0; i < n; i++) {
        s += load<f32>(p);
        p += stride;
      }
      total += s;
    }
    put1(y + ((<usize>c) << 2), total, beta);
  }
}

export function expand_f32(y: usize, x: usize, R: u32, C: u32, size: u32, beta: f32, lo: u32, hi: u32): void {
  const end = min(hi * ROWS, R);
  for (let r = lo * ROWS; r < end; r++) {
    const v = load<f32>(x + ((<usize>r) << 2));
    let p = y + ((<usize>r * C) << 2);
    let i: u32 = 0;
    for (; i + 4 <= C; i += 4) {
      put4(p, f32x4.splat(v), beta);
      p += 16;
    }
    for (; i < C; i++) {
      put1(p, v, beta);
      p += 4;
    }
  }
}

export function expand_leading_f32(y: usize, x: usize, L: u32, S: u32, size: u32, beta: f32, lo: u32, hi: u32): void {
  const end = min(hi * ROWS, L);
  for (let r = lo * ROWS; r < end; r++) {
    let p = y + ((<usize>r * S) << 2);
    let q = x;
    let i: u32 = 0;
    for (; i + 4 <= S; i += 4) {
      put4(p, v128.load(q), beta);
      p += 16;
      q += 16;
    }
    for (; i < S; i++) {
      put1(p, load<f32>(q), beta);
      p += 4;
      q += 4;
    }
  }
}
