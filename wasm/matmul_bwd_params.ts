import { put, take } from "./lib/accumulate";
import { gemm, setEpilogue } from "./lib/gemm";
import { sum_leading_f32 } from "./reduce";

// The gradient of a product by its parameters. A tile is 64 columns of them: it needs those of dz alone.

const COLUMNS: u32 = 64;

// @ts-ignore: decorator
@inline
function slope(act: u32, d: v128, y: v128): v128 {
  const one = f32x4.splat(1);
  if (act == 1) return v128.and(d, f32x4.gt(y, f32x4.splat(0)));
  if (act == 2) return f32x4.mul(d, f32x4.sub(one, f32x4.mul(y, y)));
  return f32x4.mul(d, f32x4.mul(y, f32x4.sub(one, y)));
}

/** A run of n elements. */
function slopes(act: u32, dz: usize, dy: usize, y: usize, n: u32): void {
  let i: u32 = 0;
  for (; i + 4 <= n; i += 4) {
    v128.store(dz, slope(act, v128.load(dy), v128.load(y)));
    dz += 16;
    dy += 16;
    y += 16;
  }
  if (i < n) put(dz, slope(act, take(dy, n - i, 0), take(y, n - i, 0)), n - i, 0);
}

export function matmul_bwd_params_f32(
  dw: usize, db: usize, dz: usize, a: usize, dy: usize, y: usize,
  K: u32, N: u32, R: u32, present: u32,
  alpha: f32, act: u32, beta_dw: f32, beta_db: f32,
  scratch: usize, lo: u32, hi: u32,
): void {
  const n0 = lo * COLUMNS;
  const n1 = min(hi * COLUMNS, N);
  const whole = n1 - n0 == N;
  const runs = whole ? min(R, 1) : R;
  const length = whole ? R * N : n1 - n0;
  for (let r: u32 = 0; r < runs; r++) {
    const at = (<usize>r * N + n0) << 2;
    if (act == 0) memory.copy(dz + at, dy + at, (<usize>length) << 2);
    else slopes(act, dz + at, dy + at, y + at, length);
  }
  setEpilogue(0, 4, alpha, 0, beta_dw);
  const row = (<usize>N) << 2;
  gemm(dw, row, a, 4, (<usize>K) << 2, dz, 4, row, false, 0, K, n0, n1, R, scratch);
  sum_leading_f32(db, dz, N, R, beta_db, lo, hi);
}
