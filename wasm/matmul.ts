import { put1, put4 } from "./lib/accumulate";
import { activate } from "./lib/activation";

// y (B,M,N) = beta·y + act(alpha · A·B + bias). A tile is 32 rows of one batch entry. For each panel of 8
// columns B is packed as (K, 8), zero-padded, and a 4×8 block of sums runs down K against it; A is
// read in place through its two strides, so transposes cost nothing extra.

const ROWS: u32 = 32;

// @ts-ignore: decorator
@inline
function madd(a: v128, b: v128, c: v128): v128 {
  if (RELAXED) return f32x4.relaxed_madd(a, b, c);
  return f32x4.add(f32x4.mul(a, b), c);
}

/** Copies columns [n, n+8) of B into (K, 8); sk and sn are byte strides along k and n. */
function pack(panel: usize, b: usize, K: u32, sk: usize, sn: usize, columns: u32): void {
  if (columns == 8 && sn == 4) {
    for (let k: u32 = 0; k < K; k++) {
      v128.store(panel, v128.load(b));
      v128.store(panel, v128.load(b, 16), 16);
      panel += 32;
      b += sk;
    }
    return;
  }
  for (let k: u32 = 0; k < K; k++) {
    let q = b;
    for (let j: u32 = 0; j < 8; j++) {
      store<f32>(panel, j < columns ? load<f32>(q) : 0);
      panel += 4;
      if (j < columns) q += sn;
    }
    b += sk;
  }
}

/** Rows of sums -> y: scale, bias, activation, beta. `bias` 0 means none. */
function finish(y: usize, lo: v128, hi: v128, columns: u32, bias: usize, alpha: f32, act: u32, beta: f32, spill: usize): void {
  lo = f32x4.mul(lo, f32x4.splat(alpha));
  hi = f32x4.mul(hi, f32x4.splat(alpha));
  if (columns == 8) {
    if (bias) {
      lo = f32x4.add(lo, v128.load(bias));
      hi = f32x4.add(hi, v128.load(bias, 16));
    }
    put4(y, activate(act, lo), beta);
    put4(y + 16, activate(act, hi), beta);
    return;
  }
  v128.store(spill, lo);
  v128.store(spill, hi, 16);
  for (let j: u32 = 0; j < columns; j++) {
    let v = load<f32>(spill);
    if (bias) v += load<f32>(bias);
    put1(y, f32x4.extract_lane(activate(act, f32x4.splat(v)), 0), beta);
    spill += 4;
    y += 4;
    bias += bias ? 4 : 0;
  }
}

export function matmul_f32(
  y: usize, a: usize, b: usize, bias: usize,
  B: u32, M: u32, N: u32, A: u32, K: u32, C: u32, present: u32,
  alpha: f32, ta: u32, tb: u32, act: u32, beta: f32,
  scratch: usize, lo: u32, hi: u32,
): void {
  const blocks = (M + ROWS - 1) / ROWS;
  const sai: usize = ta ? 4 : (<usize>K) << 2;
  const sak: usize = ta ? (<usize>M) << 2 : 4;
  const sbk: usize = tb ? 4 : (<usize>N) << 2;
  const sbn: usize = tb ? (<usize>K) << 2 : 4;
  const panel = scratch + 64;
  for (let t = lo; t < hi; t++) {
    const batch = t / blocks;
    const from = (t % blocks) * ROWS;
    const to = min(from + ROWS, M);
    const pa = a + (A == 1 ? 0 : ((<usize>batch * M * K) << 2));
    const pb = b + (C == 1 ? 0 : ((<usize>batch * K * N) << 2));
    const py = y + ((<usize>batch * M * N) << 2);
    for (let n: u32 = 0; n < N; n += 8) {
      const columns = min(N - n, 8);
      pack(panel, pb + (<usize>n) * sbn, K, sbk, sbn, columns);
      const pbias = bias ? bias + ((<usize>n) << 2) : 0;
      for (let i = from; i < to; i += 4) {
        const left = to - i;
        // Rows past the end are computed from the last one and not stored.
        let a0 = pa + (<usize>i) * sai;
        let a1 = a0 + (left > 1 ? sai : 0);
        let a2 = a1 + (left > 2 ? sai : 0);
        let a3 = a2 + (left > 3 ? sai : 0);
        let q = panel;
        let c00 = f32x4.splat(0);
        let c01 = f32x4.splat(0);
        let c10 = f32x4.splat(0);
        let c11 = f32x4.splat(0);
        let c20 = f32x4.splat(0);
        let c21 = f32x4.splat(0);
        let c30 = f32x4.splat(0);
        let c31 = f32x4.splat(0);
        for (let k: u32 = 0; k < K; k++) {
          const b0 = v128.load(q);
          const b1 = v128.load(q, 16);
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
          q += 32;
          a0 += sak;
          a1 += sak;
          a2 += sak;
          a3 += sak;
        }
        const row = (<usize>N) << 2;
        const out = py + (((<usize>i) * N + n) << 2);
        finish(out, c00, c01, columns, pbias, alpha, act, beta, scratch);
        if (left > 1) finish(out + row, c10, c11, columns, pbias, alpha, act, beta, scratch);
        if (left > 2) finish(out + 2 * row, c20, c21, columns, pbias, alpha, act, beta, scratch);
        if (left > 3) finish(out + 3 * row, c30, c31, columns, pbias, alpha, act, beta, scratch);
      }
    }
  }
}
