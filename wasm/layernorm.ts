import { put, put4, take } from "./lib/accumulate";
import { hsum, madd, nmadd } from "./lib/math";
import { ROWS, rowAt, rowSquares, rowSum } from "./lib/row";

// Layer normalisation of rows, and its gradients from the saved mean and rstd.

export function layernorm_f32(
  y: usize, mean: usize, rstd: usize, x: usize, weight: usize, bias: usize,
  R: u32, C: u32, eps: f32, lo: u32, hi: u32,
): void {
  const end = min(hi * ROWS, R);
  const n = <f32>C;
  for (let r = lo * ROWS; r < end; r++) {
    const px = rowAt(x, r, C);
    const py = rowAt(y, r, C);
    const m = rowSum(px, C) / n;
    const k = <f32>1 / sqrt<f32>(rowSquares(px, m, C) / n + eps);
    store<f32>(mean + ((<usize>r) << 2), m);
    store<f32>(rstd + ((<usize>r) << 2), k);
    const vm = f32x4.splat(m);
    const vk = f32x4.splat(k);
    let i: u32 = 0;
    let p: usize = 0;
    for (; i + 8 <= C; i += 8) {
      const q = px + p;
      const w = weight + p;
      const b = bias + p;
      const h0 = f32x4.mul(f32x4.sub(v128.load(q), vm), vk);
      const h1 = f32x4.mul(f32x4.sub(v128.load(q, 16), vm), vk);
      v128.store(py + p, madd(h0, v128.load(w), v128.load(b)));
      v128.store(py + p, madd(h1, v128.load(w, 16), v128.load(b, 16)), 16);
      p += 32;
    }
    for (; i + 4 <= C; i += 4) {
      const hat = f32x4.mul(f32x4.sub(v128.load(px + p), vm), vk);
      v128.store(py + p, madd(hat, v128.load(weight + p), v128.load(bias + p)));
      p += 16;
    }
    const left = C - i;
    if (left) {
      const hat = f32x4.mul(f32x4.sub(take(px + p, left, 0), vm), vk);
      put(py + p, madd(hat, take(weight + p, left, 0), take(bias + p, left, 0)), left, 0);
    }
  }
}

// @ts-ignore: decorator
@inline
function dx4(d: v128, w: v128, x: v128, m: v128, k: v128, sum: v128, dot: v128): v128 {
  const hat = f32x4.mul(f32x4.sub(x, m), k);
  return f32x4.mul(k, nmadd(hat, dot, f32x4.sub(f32x4.mul(d, w), sum)));
}

export function layernorm_bwd_f32(
  dx: usize, dy: usize, x: usize, weight: usize, mean: usize, rstd: usize,
  R: u32, C: u32, beta: f32, lo: u32, hi: u32,
): void {
  const end = min(hi * ROWS, R);
  for (let r = lo * ROWS; r < end; r++) {
    const px = rowAt(x, r, C);
    const pd = rowAt(dy, r, C);
    const po = rowAt(dx, r, C);
    const vm = v128.load32_splat(mean + ((<usize>r) << 2));
    const vk = v128.load32_splat(rstd + ((<usize>r) << 2));
    let s0 = f32x4.splat(0);
    let s1 = s0;
    let t0 = s0;
    let t1 = s0;
    let i: u32 = 0;
    let p: usize = 0;
    for (; i + 8 <= C; i += 8) {
      const h0 = f32x4.mul(v128.load(pd + p), v128.load(weight + p));
      const h1 = f32x4.mul(v128.load(pd + p, 16), v128.load(weight + p, 16));
      s0 = f32x4.add(s0, h0);
      s1 = f32x4.add(s1, h1);
      t0 = madd(h0, f32x4.sub(v128.load(px + p), vm), t0);
      t1 = madd(h1, f32x4.sub(v128.load(px + p, 16), vm), t1);
      p += 32;
    }
    for (; i < C; i += 4) {
      const left = C - i;
      const whole = left >= 4;
      const d = whole ? v128.load(pd + p) : take(pd + p, left, 0);
      const h = f32x4.mul(d, whole ? v128.load(weight + p) : take(weight + p, left, 0));
      s0 = f32x4.add(s0, h);
      t0 = madd(h, f32x4.sub(whole ? v128.load(px + p) : take(px + p, left, 0), vm), t0);
      p += 16;
    }
    const sum = f32x4.splat(hsum(f32x4.add(s0, s1)) / <f32>C);
    const k = f32x4.extract_lane(vk, 0);
    const dot = f32x4.splat((hsum(f32x4.add(t0, t1)) * k) / <f32>C);
    p = 0;
    for (i = 0; i + 4 <= C; i += 4) {
      put4(po + p, dx4(v128.load(pd + p), v128.load(weight + p), v128.load(px + p), vm, vk, sum, dot), beta);
      p += 16;
    }
    const n = C - i;
    if (n) {
      put(po + p, dx4(take(pd + p, n, 0), take(weight + p, n, 0), take(px + p, n, 0), vm, vk, sum, dot), n, beta);
    }
  }
}

/** Columns of one tile. */
const COLUMNS: u32 = 64;

// @ts-ignore: decorator
@inline
function hat4(x: v128, mean: usize, rstd: usize): v128 {
  return f32x4.mul(f32x4.sub(x, v128.load32_splat(mean)), v128.load32_splat(rstd));
}

export function layernorm_bwd_affine_f32(
  dweight: usize, dbias: usize, dy: usize, x: usize, mean: usize, rstd: usize,
  C: u32, R: u32, beta_dweight: f32, beta_dbias: f32, lo: u32, hi: u32,
): void {
  const end = min(hi * COLUMNS, C);
  const stride = (<usize>C) << 2;
  let c = lo * COLUMNS;
  let at = (<usize>c) << 2;
  // A cache line of columns at a time.
  for (; c + 16 <= end; c += 16) {
    let w0 = f32x4.splat(0);
    let w1 = w0;
    let w2 = w0;
    let w3 = w0;
    let b0 = w0;
    let b1 = w0;
    let b2 = w0;
    let b3 = w0;
    let pd = dy + at;
    let px = x + at;
    for (let r: usize = 0; r < <usize>R << 2; r += 4) {
      const d0 = v128.load(pd);
      const d1 = v128.load(pd, 16);
      const d2 = v128.load(pd, 32);
      const d3 = v128.load(pd, 48);
      b0 = f32x4.add(b0, d0);
      b1 = f32x4.add(b1, d1);
      b2 = f32x4.add(b2, d2);
      b3 = f32x4.add(b3, d3);
      w0 = madd(d0, hat4(v128.load(px), mean + r, rstd + r), w0);
      w1 = madd(d1, hat4(v128.load(px, 16), mean + r, rstd + r), w1);
      w2 = madd(d2, hat4(v128.load(px, 32), mean + r, rstd + r), w2);
      w3 = madd(d3, hat4(v128.load(px, 48), mean + r, rstd + r), w3);
      pd += stride;
      px += stride;
    }
    put4(dweight + at, w0, beta_dweight);
    put4(dweight + at + 16, w1, beta_dweight);
    put4(dweight + at + 32, w2, beta_dweight);
    put4(dweight + at + 48, w3, beta_dweight);
    put4(dbias + at, b0, beta_dbias);
    put4(dbias + at + 16, b1, beta_dbias);
    put4(dbias + at + 32, b2, beta_dbias);
    put4(dbias + at + 48, b3, beta_dbias);
    at += 64;
  }
  for (; c < end; c += 4) {
    const n = end - c;
    let w = f32x4.splat(0);
    let b = f32x4.splat(0);
    let pd = dy + at;
    let px = x + at;
    for (let r: usize = 0; r < <usize>R << 2; r += 4) {
      const d = n >= 4 ? v128.load(pd) : take(pd, n, 0);
      b = f32x4.add(b, d);
      w = madd(d, hat4(n >= 4 ? v128.load(px) : take(px, n, 0), mean + r, rstd + r), w);
      pd += stride;
      px += stride;
    }
    if (n >= 4) {
      put4(dweight + at, w, beta_dweight);
      put4(dbias + at, b, beta_dbias);
    } else {
      put(dweight + at, w, n, beta_dweight);
      put(dbias + at, b, n, beta_dbias);
    }
    at += 16;
  }
}
