import { clear, put1, put4 } from "./lib/accumulate";
import { ROWS, rowAt } from "./lib/row";

// Rows picked by an index, sums of them, and elements of each row; and their transposes.

export function gather_f32(
  y: usize, x: usize, index: usize,
  N: u32, D: u32, V: u32, outside: u32, beta: f32, lo: u32, hi: u32,
): void {
  const end = min(hi * 64, N);
  const other: f32 = outside == 0 ? NaN : 0;
  for (let n = lo * 64; n < end; n++) {
    const v = load<u32>(index + ((<usize>n) << 2));
    let p = y + ((<usize>n * D) << 2);
    let i: u32 = 0;
    if (v >= V) {
      for (; i < D; i++) {
        put1(p, other, beta);
        p += 4;
      }
      continue;
    }
    let q = x + ((<usize>v * D) << 2);
    for (; i + 4 <= D; i += 4) {
      put4(p, v128.load(q), beta);
      p += 16;
      q += 16;
    }
    for (; i < D; i++) {
      put1(p, load<f32>(q), beta);
      p += 4;
      q += 4;
    }
  }
}

/** Rows of sums of one tile. */
const BAGS: u32 = 8;

export function embedding_bag_f32(
  y: usize, x: usize, index: usize,
  N: u32, D: u32, V: u32, K: u32, outside: u32, beta: f32, lo: u32, hi: u32,
): void {
  const end = min(hi * BAGS, N);
  const other: f32 = outside == 0 ? NaN : 0;
  const vo = f32x4.splat(other);
  const size = (<usize>D) << 2;
  for (let n = lo * BAGS; n < end; n++) {
    const first = rowAt(index, n, K);
    const last = first + ((<usize>K) << 2);
    const to = rowAt(y, n, D);
    let o: usize = 0;
    for (; o + 64 <= size; o += 64) {
      let s0 = f32x4.splat(0);
      let s1 = s0;
      let s2 = s0;
      let s3 = s0;
      for (let p = first; p < last; p += 4) {
        const v = load<u32>(p);
        if (v >= V) {
          s0 = f32x4.add(s0, vo);
          s1 = f32x4.add(s1, vo);
          s2 = f32x4.add(s2, vo);
          s3 = f32x4.add(s3, vo);
          continue;
        }
        const q = x + <usize>v * size + o;
        s0 = f32x4.add(s0, v128.load(q));
        s1 = f32x4.add(s1, v128.load(q, 16));
        s2 = f32x4.add(s2, v128.load(q, 32));
        s3 = f32x4.add(s3, v128.load(q, 48));
      }
      put4(to + o, s0, beta);
      put4(to + o + 16, s1, beta);
      put4(to + o + 32, s2, beta);
      put4(to + o + 48, s3, beta);
    }
    for (; o + 16 <= size; o += 16) {
      let s = f32x4.splat(0);
      for (let p = first; p < last; p += 4) {
        const v = load<u32>(p);
        s = f32x4.add(s, v < V ? v128.load(x + <usize>v * size + o) : vo);
      }
      put4(to + o, s, beta);
    }
    for (; o < size; o += 4) {
      let s: f32 = 0;
      for (let p = first; p < last; p += 4) {
        const v = load<u32>(p);
        s += v < V ? load<f32>(x + <usize>v * size + o) : other;
      }
      put1(to + o, s, beta);
    }
  }
}

/** Rows of y that one tile owns. */
const OWNED: u32 = 64;

export function scatter_add_f32(
  y: usize, x: usize, index: usize,
  V: u32, D: u32, N: u32, E: u32, size: u32, beta: f32, lo: u32, hi: u32,
): void {
  const from = lo * OWNED;
  const end = min(hi * OWNED, V);
  clear(rowAt(y, from, D), rowAt(y, end, D), beta);
  const row = (<usize>D) << 2;
  const K = E / max(N, 1);
  let at = index;
  for (let n: u32 = 0; n < N; n++) {
    for (let k: u32 = 0; k < K; k++) {
      const v = load<u32>(at);
      at += 4;
      if (v < from || v >= end) continue;
      let p = y + <usize>v * row;
      let q = x;
      const past = x + row;
      for (; q + 16 <= past; q += 16) {
        v128.store(p, f32x4.add(v128.load(p), v128.load(q)));
        p += 16;
      }
      for (; q < past; q += 4) {
        store<f32>(p, load<f32>(p) + load<f32>(q));
        p += 4;
      }
    }
    x += row;
  }
}

export function gather_last_f32(
  y: usize, x: usize, index: usize,
  R: u32, K: u32, C: u32, outside: u32, beta: f32, lo: u32, hi: u32,
): void {
  const end = min(hi * ROWS, R);
  const other: f32 = outside == 0 ? NaN : 0;
  for (let r = lo * ROWS; r < end; r++) {
    const row = rowAt(x, r, C);
    const past = rowAt(y, r + 1, K);
    let pi = rowAt(index, r, K);
    for (let p = rowAt(y, r, K); p < past; p += 4) {
      const c = load<u32>(pi);
      put1(p, c < C ? load<f32>(row + ((<usize>c) << 2)) : other, beta);
      pi += 4;
    }
  }
}

export function scatter_add_last_f32(
  y: usize, x: usize, index: usize,
  R: u32, C: u32, K: u32, E: u32, size: u32, beta: f32, lo: u32, hi: u32,
): void {
  const end = min(hi * ROWS, R);
  clear(rowAt(y, lo * ROWS, C), rowAt(y, end, C), beta);
  for (let r = lo * ROWS; r < end; r++) {
    const row = rowAt(y, r, C);
    const past = rowAt(x, r + 1, K);
    let pi = rowAt(index, r, K);
    for (let p = rowAt(x, r, K); p < past; p += 4) {
      const c = load<u32>(pi);
      if (c < C) {
        const q = row + ((<usize>c) << 2);
        store<f32>(q, load<f32>(q) + load<f32>(p));
      }
      pi += 4;
    }
  }
}
