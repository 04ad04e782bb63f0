import { put, put4, take } from "./lib/accumulate";
import { hsum, madd, nmadd } from "./lib/math";
import { ROWS, rowAt, rowDot } from "./lib/row";

// Root-mean-square normalisation of rows, and its gradients from the saved rstd.

export function rmsnorm_f32(
  y: usize, rstd: usize, x: usize, weight: usize,
  R: u32, C: u32, eps: f32, lo: u32, hi: u32,
): void {
  const end = min(hi * ROWS, R);
  for (let r = lo * ROWS; r < end; r++) {
    const px = rowAt(x, r, C);
    const py = rowAt(y, r, C);
    const k = <f32>1 / sqrt<f32>(rowDot(px, px, C) / <f32>C + eps);
    store<f32>(rstd + ((<usize>r) << 2), k);
    const vk = f32x4.splat(k);
    let i: u32 = 0;
    let p: usize = 0;
    for (; i + 4 <= C; i += 4) {
      v128.store(py + p, f32x4.mul(f32x4.mul(v128.load(px + p), vk), v128.load(weight + p)));
      p += 16;
    }
    const n = C - i;
    if (n) put(py + p, f32x4.mul(f32x4.mul(take(px + p, n, 0), vk), take(weight + p, n, 0)), n, 0);
  }
}

// @ts-ignore: decorator
@inline
function dx4(d: v128, w: v128, x: v128, k: v128, dot: v128): v128 {
  return f32x4.mul(k, nmadd(f32x4.mul(x, k), dot, f32x4.mul(d, w)));
}

export function rmsnorm_bwd_f32(
  dx: usize, dy: usize, x: usize, weight: usize, rstd: usize,
  R: u32, C: u32, beta: f32, lo: u32, hi: u32,
): void {
  const end = min(hi * ROWS, R);
  for (let r = lo * ROWS; r < end; r++) {
    const px = rowAt(x, r, C);
    const pd = rowAt(dy, r, C);
    const po = rowAt(dx, r, C);
    const k = v128.load32_splat(rstd + ((<usize>r) << 2));
    let s0 = f32x4.splat(0);
    let s1 = s0;
    let i: u32 = 0;
    let p: usize = 0;
    for (; i + 8 <= C; i += 8) {
      s0 = madd(f32x4.mul(v128.load(pd + p), v128.load(weight + p)), v128.load(px + p), s0);
      s1 = madd(f32x4.mul(v128.load(pd + p, 16), v128.load(weight + p, 16)), v128.load(px + p, 16), s1);
      p += 32;
    }
    for (; i + 4 <= C; i += 4) {
      s0 = madd(f32x4.mul(v128.load(pd + p), v128.load(weight + p)), v128.load(px + p), s0);
      p += 16;
    }
    const n = C - i;
    if (n) s1 = madd(f32x4.mul(take(pd + p, n, 0), take(weight + p, n, 0)), take(px + p, n, 0), s1);
    const dot = f32x4.splat((hsum(f32x4.add(s0, s1)) * f32x4.extract_lane(k, 0)) / <f32>C);
    p = 0;
    for (i = 0; i + 4 <= C; i += 4) {
      put4(po + p, dx4(v128.load(pd + p), v128.load(weight + p), v128.load(px + p), k, dot), beta);
      p += 16;
    }
    if (n) put(po + p, dx4(take(pd + p, n, 0), take(weight + p, n, 0), take(px + p, n, 0), k, dot), n, beta);
  }
}

/** Columns of one tile. */
const COLUMNS: u32 = 64;

export function rmsnorm_bwd_weight_f32(
  dweight: usize, dy: usize, x: usize, rstd: usize,
  C: u32, R: u32, beta: f32, lo: u32, hi: u32,
): void {
  const end = min(hi * COLUMNS, C);
  const stride = (<usize>C) << 2;
  const past = rstd + ((<usize>R) << 2);
  let c = lo * COLUMNS;
  let at = (<usize>c) << 2;
  // A cache line of columns at a time.
  for (; c + 16 <= end; c += 16) {
    let w0 = f32x4.splat(0);
    let w1 = w0;
    let w2 = w0;
    let w3 = w0;
    let pd = dy + at;
    let px = x + at;
    for (let pk = rstd; pk < past; pk += 4) {
      const k = v128.load32_splat(pk);
      w0 = madd(v128.load(pd), f32x4.mul(v128.load(px), k), w0);
      w1 = madd(v128.load(pd, 16), f32x4.mul(v128.load(px, 16), k), w1);
      w2 = madd(v128.load(pd, 32), f32x4.mul(v128.load(px, 32), k), w2);
      w3 = madd(v128.load(pd, 48), f32x4.mul(v128.load(px, 48), k), w3);
      pd += stride;
      px += stride;
    }
    put4(dweight + at, w0, beta);
    put4(dweight + at + 16, w1, beta);
    put4(dweight + at + 32, w2, beta);
    put4(dweight + at + 48, w3, beta);
    at += 64;
  }
  for (; c < end; c += 4) {
    const n = end - c;
    let w = f32x4.splat(0);
    let pd = dy + at;
    let px = x + at;
    for (let pk = rstd; pk < past; pk += 4) {
      const d = n >= 4 ? v128.load(pd) : take(pd, n, 0);
      w = madd(d, f32x4.mul(n >= 4 ? v128.load(px) : take(px, n, 0), v128.load32_splat(pk)), w);
      pd += stride;
      px += stride;
    }
    if (n >= 4) put4(dweight + at, w, beta);
    else put(dweight + at, w, n, beta);
    at += 16;
  }
}
