import { put1, put4 } from "./lib/accumulate";
import { gemm, NR, packPanels, setEpilogue } from "./lib/gemm";
import { dotsOfRows, sumOfPanels, sumOfRows } from "./lib/gemv";

/** Rows of y for which packing b costs more than it gains; more when b is too large for the caches. */
const FEW: u32 = 4;
const FEW_LARGE: u32 = 8;
const LARGE: u32 = 1 << 21;

export function matmul_f32(
  y: usize, a: usize, b: usize, bias: usize,
  B: u32, M: u32, N: u32, A: u32, K: u32, C: u32, present: u32,
  alpha: f32, ta: u32, tb: u32, act: u32, beta: f32,
  scratch: usize, lo: u32, hi: u32,
): void {
  // One b for rows that follow each other: a single product.
  if (C == 1 && !ta) {
    M *= B;
    B = 1;
  }
  setEpilogue(bias, N > 1 ? 4 : 0, alpha, act, beta);
  const ar: usize = ta ? 4 : <usize>K << 2;
  const ak: usize = ta ? <usize>M << 2 : 4;
  const bn: usize = tb ? <usize>K << 2 : 4;
  const bk: usize = tb ? 4 : <usize>N << 2;
  const few = M <= FEW || (M <= FEW_LARGE && N * K >= LARGE);
  const ys = <usize>N << 2;
  const byRows = M > N;
  const extent = byRows ? M : N;
  const tiles = (extent + 7) / 8;
  for (let t = lo; t < hi; ) {
    const batch = t / tiles;
    const end = min(hi, (batch + 1) * tiles);
    const from = (t - batch * tiles) * 8;
    const to = min((end - batch * tiles) * 8, extent);
    const py = y + ((<usize>batch * M * N) << 2);
    const pa = a + (A == 1 ? 0 : (<usize>batch * M * K) << 2);
    const pb = b + (C == 1 ? 0 : (<usize>batch * K * N) << 2);
    if (byRows) {
      // A column vector is a row, seen from the other side: yᵀ = bᵀ aᵀ.
      if (N > 1) gemm(py, ys, pa, ar, ak, pb, bn, bk, false, from, to, 0, N, K, scratch);
      else if (ta) sumOfRows(py, 0, pb, 0, 4, pa, ak, 1, from, to, K, scratch);
      else dotsOfRows(py, 0, pb, pa, 1, from, to, K, scratch);
    } else if (few && !tb) sumOfRows(py, ys, pa, ar, ak, pb, bk, M, from, to, K, scratch);
    else if (few && ak == 4) dotsOfRows(py, ys, pa, pb, M, from, to, K, scratch);
    else gemm(py, ys, pa, ar, ak, pb, bn, bk, false, 0, M, from, to, K, scratch);
    t = end;
  }
}

export function matmul_packed_f32(
  y: usize, a: usize, packed: usize, bias: usize,
  R: u32, N: u32, K: u32, P: u32, present: u32,
  alpha: f32, act: u32, n: u32, beta: f32,
  scratch: usize, lo: u32, hi: u32,
): void {
  setEpilogue(bias, 4, alpha, act, beta);
  const row = <usize>K << 2;
  const ys = <usize>N << 2;
  const from = lo * 8;
  if (R <= FEW) sumOfPanels(y, ys, a, packed, R, from, min(hi * 8, N), K, scratch);
  else if (R > N) gemm(y, ys, a, row, 4, packed, 0, 0, true, from, min(hi * 8, R), 0, N, K, scratch);
  else gemm(y, ys, a, row, 4, packed, 0, 0, true, 0, R, from, min(hi * 8, N), K, scratch);
}

/** K that is packed at a time: 8 panels of this are 64 KiB. */
const DEPTH: u32 = 256;

// A tile is 8 panels.
export function pack_b_f32(
  packed: usize, b: usize, P: u32, K: u32, N: u32, tb: u32, beta: f32, scratch: usize, lo: u32, hi: u32,
): void {
  const bn: usize = tb ? <usize>K << 2 : 4;
  const bk: usize = tb ? 4 : <usize>N << 2;
  for (let n = lo * 64; n < min(hi * 64, N); n += 64) {
    const columns = min(N - n, 64);
    for (let k: u32 = 0; k < K; k += DEPTH) {
      const bytes = <usize>min(DEPTH, K - k) << 5;
      packPanels(scratch, bytes, NR, b + bn * n + bk * k, bn, bk, columns, min(DEPTH, K - k));
      let from = scratch;
      for (let j = n; j < n + columns; j += NR) {
        const to = packed + ((<usize>j * K + <usize>k * NR) << 2);
        for (let i: usize = 0; i < bytes; i += 16) put4(to + i, v128.load(from + i), beta);
        from += bytes;
      }
    }
  }
}

// A tile is 8 rows of b.
export function unpack_b_f32(
  b: usize, packed: usize, K: u32, N: u32, P: u32, tb: u32, n: u32, beta: f32, lo: u32, hi: u32,
): void {
  const bn: usize = tb ? <usize>K << 2 : 4;
  const bk: usize = tb ? 4 : <usize>N << 2;
  for (let k = lo * 8; k < min(hi * 8, K); k++) {
    let from = packed + ((<usize>k * NR) << 2);
    let to = b + bk * k;
    for (let j: u32 = 0; j < N; j += NR) {
      const columns = min(N - j, NR);
      if (!tb && columns == NR) {
        put4(to, v128.load(from), beta);
        put4(to + 16, v128.load(from, 16), beta);
      } else {
        for (let i: u32 = 0; i < columns; i++) put1(to + bn * i, load<f32>(from + (i << 2)), beta);
      }
      from += <usize>K << 5;
      to += bn << 3;
    }
  }
}
