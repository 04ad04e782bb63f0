import { put1, put4 } from "./lib/accumulate";
import { hsum } from "./lib/math";
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
    for (; i < C; i++) {
      store<f32>(py + p, load<f32>(px + p) * k * load<f32>(weight + p));
      p += 4;
    }
  }
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
    const k = load<f32>(rstd + ((<usize>r) << 2));
    const vk = f32x4.splat(k);
    let s = f32x4.splat(0);
    let tail: f32 = 0;
    let i: u32 = 0;
    let p: usize = 0;
    for (; i + 4 <= C; i += 4) {
      const h = f32x4.mul(v128.load(pd + p), v128.load(weight + p));
      s = f32x4.add(s, f32x4.mul(h, f32x4.mul(v128.load(px + p), vk)));
      p += 16;
    }
    for (; i < C; i++) {
      tail += load<f32>(pd + p) * load<f32>(weight + p) * (load<f32>(px + p) * k);
      p += 4;
    }
    const dot = (hsum(s) + tail) / <f32>C;
    const vt = f32x4.splat(dot);
    p = 0;
    for (i = 0; i + 4 <= C; i += 4) {
      const h = f32x4.mul(v128.load(pd + p), v128.load(weight + p));
      const hat = f32x4.mul(v128.load(px + p), vk);
      put4(po + p, f32x4.mul(vk, f32x4.sub(h, f32x4.mul(hat, vt))), beta);
      p += 16;
    }
    for (; i < C; i++) {
      const h = load<f32>(pd + p) * load<f32>(weight + p);
      put1(po + p, k * (h - load<f32>(px + p) * k * dot), beta);
      p += 4;
    }
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
  let c = lo * COLUMNS;
  for (; c + 4 <= end; c += 4) {
    let at = (<usize>c) << 2;
    let w = f32x4.splat(0);
    for (let r: u32 = 0; r < R; r++) {
      const hat = f32x4.mul(v128.load(x + at), v128.load32_splat(rstd + ((<usize>r) << 2)));
      w = f32x4.add(w, f32x4.mul(v128.load(dy + at), hat));
      at += stride;
    }
    put4(dweight + ((<usize>c) << 2), w, beta);
  }
  for (; c < end; c++) {
    let at = (<usize>c) << 2;
    let w: f32 = 0;
    for (let r: u32 = 0; r < R; r++) {
      w += load<f32>(dy + at) * (load<f32>(x + at) * load<f32>(rstd + ((<usize>r) << 2)));
      at += stride;
    }
    put1(dweight + ((<usize>c) << 2), w, beta);
  }
}
