import { clear, put1, put4 } from "./lib/accumulate";
import { ROWS, rowAt } from "./lib/row";

// Rows picked by an index, and elements of each row; and their transposes.

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

/** Rows of y that one tile owns. */
const OWNED: u32 = 64;

export function scatter_add_f32(
  y: usize, x: usize, index: usize,
  V: u32, D: u32, N: u32, size: u32, beta: f32, lo: u32, hi: u32,
): void {
  const from = lo * OWNED;
  const end = min(hi * OWNED, V);
  clear(rowAt(y, from, D), rowAt(y, end, D), beta);
  for (let n: u32 = 0; n < N; n++) {
    const v = load<u32>(index + ((<usize>n) << 2));
    if (v < from || v >= end) continue;
    let p = y + ((<usize>v * D) << 2);
    let q = x + ((<usize>n * D) << 2);
    let i: u32 = 0;
    for (; i + 4 <= D; i += 4) {
      v128.store(p, f32x4.add(v128.load(p), v128.load(q)));
      p += 16;
      q += 16;
    }
    for (; i < D; i++) {
      store<f32>(p, load<f32>(p) + load<f32>(q));
      p += 4;
      q += 4;
    }
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
  R: u32, C: u32, K: u32, size: u32, beta: f32, lo: u32, hi: u32,
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
