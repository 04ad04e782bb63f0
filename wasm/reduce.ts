import { put, put1, put4, take } from "./lib/accumulate";
import { hmax, hsum } from "./lib/math";

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
    let v0 = f32x4.splat(-Infinity);
    let v1 = v0;
    // pmax loses a NaN, and f32x4.max costs five times as much: comparisons note it instead.
    let nan = f32x4.splat(0);
    let i: u32 = 0;
    for (; i + 8 <= C; i += 8) {
      const a = v128.load(p);
      const b = v128.load(p, 16);
      nan = v128.or(nan, v128.or(f32x4.ne(a, a), f32x4.ne(b, b)));
      v0 = f32x4.pmax(v0, a);
      v1 = f32x4.pmax(v1, b);
      p += 32;
    }
    for (; i < C; i += 4) {
      const a = C - i >= 4 ? v128.load(p) : take(p, C - i, -Infinity);
      nan = v128.or(nan, f32x4.ne(a, a));
      v0 = f32x4.pmax(v0, a);
      p += 16;
    }
    put1(y + ((<usize>r) << 2), v128.any_true(nan) ? NaN : hmax(f32x4.pmax(v0, v1)), beta);
  }
}

/** Rows summed before the partial result joins the total: keeps the error of tall sums down. */
const TALL: u32 = 256;

export function sum_leading_f32(y: usize, x: usize, S: u32, L: u32, beta: f32, lo: u32, hi: u32): void {
  const end = min(hi * COLUMNS, S);
  const stride = (<usize>S) << 2;
  let c = lo * COLUMNS;
  let py = y + ((<usize>c) << 2);
  // A cache line of columns at a time.
  for (; c + 16 <= end; c += 16) {
    let t0 = f32x4.splat(0);
    let t1 = t0;
    let t2 = t0;
    let t3 = t0;
    let p = x + ((<usize>c) << 2);
    for (let at: u32 = 0; at < L; at += TALL) {
      const n = min(TALL, L - at);
      let s0 = f32x4.splat(0);
      let s1 = s0;
      let s2 = s0;
      let s3 = s0;
      for (let i: u32 = 0; i < n; i++) {
        s0 = f32x4.add(s0, v128.load(p));
        s1 = f32x4.add(s1, v128.load(p, 16));
        s2 = f32x4.add(s2, v128.load(p, 32));
        s3 = f32x4.add(s3, v128.load(p, 48));
        p += stride;
      }
      t0 = f32x4.add(t0, s0);
      t1 = f32x4.add(t1, s1);
      t2 = f32x4.add(t2, s2);
      t3 = f32x4.add(t3, s3);
    }
    put4(py, t0, beta);
    put4(py + 16, t1, beta);
    put4(py + 32, t2, beta);
    put4(py + 48, t3, beta);
    py += 64;
  }
  for (; c < end; c += 4) {
    const lanes = end - c;
    let total = f32x4.splat(0);
    let p = x + ((<usize>c) << 2);
    for (let at: u32 = 0; at < L; at += TALL) {
      const n = min(TALL, L - at);
      let s = f32x4.splat(0);
      for (let i: u32 = 0; i < n; i++) {
        s = f32x4.add(s, lanes >= 4 ? v128.load(p) : take(p, lanes, 0));
        p += stride;
      }
      total = f32x4.add(total, s);
    }
    if (lanes >= 4) put4(py, total, beta);
    else put(py, total, lanes, beta);
    py += 16;
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
  for (let r = lo; r < hi; r++) {
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
