import { put1, put4 } from "./lib/accumulate";
import { hsum } from "./lib/math";
import { ROWS, rowAt, rowSum } from "./lib/row";

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
    const vm = f32x4.splat(m);
    let s = f32x4.splat(0);
    let tail: f32 = 0;
    let i: u32 = 0;
    let p: usize = 0;
    for (; i + 4 <= C; i += 4) {
      const d = f32x4.sub(v128.load(px + p), vm);
      s = f32x4.add(s, f32x4.mul(d, d));
      p += 16;
    }
    for (; i < C; i++) {
      const d = load<f32>(px + p) - m;
      tail += d * d;
      p += 4;
    }
    const k = <f32>1 / sqrt<f32>((hsum(s) + tail) / n + eps);
    store<f32>(mean + ((<usize>r) << 2), m);
    store<f32>(rstd + ((<usize>r) << 2), k);
    const vk = f32x4.splat(k);
    p = 0;
    for (i = 0; i + 4 <= C; i += 4) {
      const hat = f32x4.mul(f32x4.sub(v128.load(px + p), vm), vk);
      v128.store(py + p, f32x4.add(f32x4.mul(hat, v128.load(weight + p)), v128.load(bias + p)));
      p += 16;
    }
    for (; i < C; i++) {
      store<f32>(py + p, (load<f32>(px + p) - m) * k * load<f32>(weight + p) + load<f32>(bias + p));
      p += 4;
    }
  }
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
    const m = load<f32>(mean + ((<usize>r) << 2));
    const k = load<f32>(rstd + ((<usize>r) << 2));
    const vm = f32x4.splat(m);
    const vk = f32x4.splat(k);
    let s = f32x4.splat(0);
    let t = f32x4.splat(0);
    let s1: f32 = 0;
    let t1: f32 = 0;
    let i: u32 = 0;
    let p: usize = 0;
    for (; i + 4 <= C; i += 4) {
      const h = f32x4.mul(v128.load(pd + p), v128.load(weight + p));
      s = f32x4.add(s, h);
      t = f32x4.add(t, f32x4.mul(h, f32x4.mul(f32x4.sub(v128.load(px + p), vm), vk)));
      p += 16;
    }
    for (; i < C; i++) {
      const h = load<f32>(pd + p) * load<f32>(weight + p);
      s1 += h;
      t1 += h * ((load<f32>(px + p) - m) * k);
      p += 4;
    }
    const sum = (hsum(s) + s1) / <f32>C;
    const dot = (hsum(t) + t1) / <f32>C;
    const vs = f32x4.splat(sum);
    const vt = f32x4.splat(dot);
    p = 0;
    for (i = 0; i + 4 <= C; i += 4) {
      const h = f32x4.mul(v128.load(pd + p), v128.load(weight + p));
      const hat = f32x4.mul(f32x4.sub(v128.load(px + p), vm), vk);
      put4(po + p, f32x4.mul(vk, f32x4.sub(f32x4.sub(h, vs), f32x4.mul(hat, vt))), beta);
      p += 16;
    }
    for (; i < C; i++) {
      const h = load<f32>(pd + p) * load<f32>(weight + p);
      put1(po + p, k * (h - sum - (load<f32>(px + p) - m) * k * dot), beta);
      p += 4;
    }
  }
}

/** Columns of one tile. */
const COLUMNS: u32 = 64;

export function layernorm_bwd_affine_f32(
  dweight: usize, dbias: usize, dy: usize, x: usize, mean: usize, rstd: usize,
  C: u32, R: u32, beta_dweight: f32, beta_dbias: f32, lo: u32, hi: u32,
): void {
  const end = min(hi * COLUMNS, C);
  const stride = (<usize>C) << 2;
  let c = lo * COLUMNS;
  for (; c + 4 <= end; c += 4) {
    let at = (<usize>c) << 2;
    let w = f32x4.splat(0);
    let b = f32x4.splat(0);
    for (let r: u32 = 0; r < R; r++) {
      const d = v128.load(dy + at);
      const hat = f32x4.mul(
        f32x4.sub(v128.load(x + at), v128.load32_splat(mean + ((<usize>r) << 2))),
        v128.load32_splat(rstd + ((<usize>r) << 2)),
      );
      w = f32x4.add(w, f32x4.mul(d, hat));
      b = f32x4.add(b, d);
      at += stride;
    }
    put4(dweight + ((<usize>c) << 2), w, beta_dweight);
    put4(dbias + ((<usize>c) << 2), b, beta_dbias);
  }
  for (; c < end; c++) {
    let at = (<usize>c) << 2;
    let w: f32 = 0;
    let b: f32 = 0;
    for (let r: u32 = 0; r < R; r++) {
      const d = load<f32>(dy + at);
      w += d * ((load<f32>(x + at) - load<f32>(mean + ((<usize>r) << 2))) * load<f32>(rstd + ((<usize>r) << 2)));
      b += d;
      at += stride;
    }
    put1(dweight + ((<usize>c) << 2), w, beta_dweight);
    put1(dbias + ((<usize>c) << 2), b, beta_dbias);
  }
}
