import { put, put4, take } from "./lib/accumulate";
import { exp4, nmadd } from "./lib/math";
import { ROWS, rowAt, rowDot, rowExp, rowLse, rowMax, rowSum } from "./lib/row";

// Softmax of rows and its two derivatives, its logarithm and the derivative of that. A row whose maximum is -Inf has nothing in it: zeros.

export function softmax_f32(
  y: usize, x: usize, R: u32, C: u32, beta: f32, scratch: usize, lo: u32, hi: u32,
): void {
  const end = min(hi * ROWS, R);
  for (let r = lo * ROWS; r < end; r++) {
    const px = rowAt(x, r, C);
    let py = rowAt(y, r, C);
    const m = rowMax(px, C);
    // The largest term is 1, so a sum of 0 is that of an empty row; a NaN is in the sum.
    const s = rowExp(scratch, px, m == -Infinity ? 0 : m, C);
    const inv = f32x4.splat(s == 0 ? 0 : 1 / s);
    let e = scratch;
    let i: u32 = 0;
    for (; i + 16 <= C; i += 16) {
      put4(py, f32x4.mul(v128.load(e), inv), beta);
      put4(py + 16, f32x4.mul(v128.load(e, 16), inv), beta);
      put4(py + 32, f32x4.mul(v128.load(e, 32), inv), beta);
      put4(py + 48, f32x4.mul(v128.load(e, 48), inv), beta);
      py += 64;
      e += 64;
    }
    for (; i + 4 <= C; i += 4) {
      put4(py, f32x4.mul(v128.load(e), inv), beta);
      py += 16;
      e += 16;
    }
    if (i < C) put(py, f32x4.mul(v128.load(e), inv), C - i, beta);
  }
}

export function softmax_bwd_f32(dx: usize, dy: usize, y: usize, R: u32, C: u32, beta: f32, lo: u32, hi: u32): void {
  const end = min(hi * ROWS, R);
  for (let r = lo * ROWS; r < end; r++) {
    const pd = rowAt(dy, r, C);
    const py = rowAt(y, r, C);
    const po = rowAt(dx, r, C);
    const s = f32x4.splat(rowDot(pd, py, C));
    let i: u32 = 0;
    let p: usize = 0;
    for (; i + 4 <= C; i += 4) {
      put4(po + p, f32x4.mul(v128.load(py + p), f32x4.sub(v128.load(pd + p), s)), beta);
      p += 16;
    }
    const n = C - i;
    if (n) put(po + p, f32x4.mul(take(py + p, n, 0), f32x4.sub(take(pd + p, n, 0), s)), n, beta);
  }
}

// @ts-ignore: decorator
@inline
function second(u: v128, d: v128, s: v128, t: v128): v128 {
  return nmadd(d, t, f32x4.mul(u, f32x4.sub(d, s)));
}

export function softmax_bwd_bwd_y_f32(gy: usize, u: usize, dy: usize, y: usize, R: u32, C: u32, beta: f32, lo: u32, hi: u32): void {
  const end = min(hi * ROWS, R);
  for (let r = lo * ROWS; r < end; r++) {
    const pu = rowAt(u, r, C);
    const pd = rowAt(dy, r, C);
    const py = rowAt(y, r, C);
    const po = rowAt(gy, r, C);
    const s = f32x4.splat(rowDot(pd, py, C));
    const t = f32x4.splat(rowDot(pu, py, C));
    let i: u32 = 0;
    let p: usize = 0;
    for (; i + 4 <= C; i += 4) {
      put4(po + p, second(v128.load(pu + p), v128.load(pd + p), s, t), beta);
      p += 16;
    }
    const n = C - i;
    if (n) put(po + p, second(take(pu + p, n, 0), take(pd + p, n, 0), s, t), n, beta);
  }
}

export function log_softmax_f32(y: usize, x: usize, R: u32, C: u32, beta: f32, lo: u32, hi: u32): void {
  const end = min(hi * ROWS, R);
  for (let r = lo * ROWS; r < end; r++) {
    const px = rowAt(x, r, C);
    const py = rowAt(y, r, C);
    const l = rowLse(px, 1, C);
    // An empty row is -Inf throughout.
    const vl = f32x4.splat(l == -Infinity ? 0 : l);
    let i: u32 = 0;
    let p: usize = 0;
    for (; i + 4 <= C; i += 4) {
      put4(py + p, f32x4.sub(v128.load(px + p), vl), beta);
      p += 16;
    }
    const n = C - i;
    if (n) put(py + p, f32x4.sub(take(px + p, n, 0), vl), n, beta);
  }
}

export function log_softmax_bwd_f32(dx: usize, dy: usize, y: usize, R: u32, C: u32, beta: f32, lo: u32, hi: u32): void {
  const end = min(hi * ROWS, R);
  for (let r = lo * ROWS; r < end; r++) {
    const pd = rowAt(dy, r, C);
    const py = rowAt(y, r, C);
    const po = rowAt(dx, r, C);
    const s = f32x4.splat(rowSum(pd, C));
    let i: u32 = 0;
    let p: usize = 0;
    for (; i + 4 <= C; i += 4) {
      put4(po + p, nmadd(exp4(v128.load(py + p)), s, v128.load(pd + p)), beta);
      p += 16;
    }
    const n = C - i;
    if (n) put(po + p, nmadd(exp4(take(py + p, n, 0)), s, take(pd + p, n, 0)), n, beta);
  }
}
