import { put1, put4 } from "./lib/accumulate";

// Rows picked by an index, and its transpose. Extents N, D, V in the order of the contract.

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
  const first = y + ((<usize>from * D) << 2);
  const past = y + ((<usize>end * D) << 2);
  if (beta == 0) memory.fill(first, 0, past - first);
  else if (beta != 1) for (let p = first; p < past; p += 4) store<f32>(p, beta * load<f32>(p));
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
