import { put1, put4 } from "./lib/accumulate";
import { hsum } from "./lib/math";
import { rowAt, rowSum } from "./lib/row";

// Group normalisation: a tile is a group of one image, whose numbers lie together; weight and bias
// change from one run of `pixels` to the next.

/** Σ (x − m)² over n numbers. */
function squares(x: usize, n: u32, m: f32): f32 {
  const vm = f32x4.splat(m);
  let s = f32x4.splat(0);
  let t: f32 = 0;
  let i: u32 = 0;
  for (; i + 4 <= n; i += 4) {
    const d = f32x4.sub(v128.load(x), vm);
    s = f32x4.add(s, f32x4.mul(d, d));
    x += 16;
  }
  for (; i < n; i++) {
    const d = load<f32>(x) - m;
    t += d * d;
    x += 4;
  }
  return hsum(s) + t;
}

/** Σ dy·(x − m) over n numbers. */
function centredDot(dy: usize, x: usize, n: u32, m: f32): f32 {
  const vm = f32x4.splat(m);
  let s = f32x4.splat(0);
  let t: f32 = 0;
  let i: u32 = 0;
  for (; i + 4 <= n; i += 4) {
    s = f32x4.add(s, f32x4.mul(v128.load(dy), f32x4.sub(v128.load(x), vm)));
    x += 16;
    dy += 16;
  }
  for (; i < n; i++) {
    t += load<f32>(dy) * (load<f32>(x) - m);
    x += 4;
    dy += 4;
  }
  return hsum(s) + t;
}

export function groupnorm_f32(
  y: usize, mean: usize, rstd: usize, x: usize, weight: usize, bias: usize,
  B: u32, C: u32, H: u32, W: u32, G: u32, groups: u32, eps: f32, lo: u32, hi: u32,
): void {
  const pixels = H * W;
  const channels = C / G;
  const size = channels * pixels;
  for (let r = lo; r < hi; r++) {
    const px = rowAt(x, r, size);
    const m = rowSum(px, size) / <f32>size;
    const k = <f32>1 / sqrt<f32>(squares(px, size, m) / <f32>size + eps);
    store<f32>(mean + ((<usize>r) << 2), m);
    store<f32>(rstd + ((<usize>r) << 2), k);
    const vm = f32x4.splat(m);
    const vk = f32x4.splat(k);
    for (let j: u32 = 0; j < channels; j++) {
      const at = (<usize>((r % G) * channels + j)) << 2;
      const w = v128.load32_splat(weight + at);
      const b = v128.load32_splat(bias + at);
      let from = rowAt(px, j, pixels);
      let to = rowAt(rowAt(y, r, size), j, pixels);
      let i: u32 = 0;
      for (; i + 4 <= pixels; i += 4) {
        const hat = f32x4.mul(f32x4.sub(v128.load(from), vm), vk);
        v128.store(to, f32x4.add(f32x4.mul(hat, w), b));
        from += 16;
        to += 16;
      }
      for (; i < pixels; i++) {
        store<f32>(to, (load<f32>(from) - m) * k * load<f32>(weight + at) + load<f32>(bias + at));
        from += 4;
        to += 4;
      }
    }
  }
}

export function groupnorm_bwd_f32(
  dx: usize, dy: usize, x: usize, weight: usize, mean: usize, rstd: usize,
  B: u32, C: u32, H: u32, W: u32, G: u32, beta: f32, lo: u32, hi: u32,
): void {
  const pixels = H * W;
  const channels = C / G;
  const size = channels * pixels;
  for (let r = lo; r < hi; r++) {
    const px = rowAt(x, r, size);
    const pd = rowAt(dy, r, size);
    const m = load<f32>(mean + ((<usize>r) << 2));
    const k = load<f32>(rstd + ((<usize>r) << 2));
    const pw = weight + ((<usize>((r % G) * channels)) << 2);
    let sum: f32 = 0;
    let dot: f32 = 0;
    for (let j: u32 = 0; j < channels; j++) {
      const w = load<f32>(pw + ((<usize>j) << 2));
      const d = rowAt(pd, j, pixels);
      sum += w * rowSum(d, pixels);
      dot += w * centredDot(d, rowAt(px, j, pixels), pixels, m);
    }
    sum /= <f32>size;
    dot *= k / <f32>size;
    const vm = f32x4.splat(m);
    const vk = f32x4.splat(k);
    const vs = f32x4.splat(sum);
    const vt = f32x4.splat(dot);
    for (let j: u32 = 0; j < channels; j++) {
      const w = load<f32>(pw + ((<usize>j) << 2));
      const vw = f32x4.splat(w);
      let pj = rowAt(px, j, pixels);
      let dj = rowAt(pd, j, pixels);
      let to = rowAt(rowAt(dx, r, size), j, pixels);
      let i: u32 = 0;
      for (; i + 4 <= pixels; i += 4) {
        const hat = f32x4.mul(f32x4.sub(v128.load(pj), vm), vk);
        const h = f32x4.sub(f32x4.mul(v128.load(dj), vw), vs);
        put4(to, f32x4.mul(vk, f32x4.sub(h, f32x4.mul(hat, vt))), beta);
        pj += 16;
        dj += 16;
        to += 16;
      }
      for (; i < pixels; i++) {
        put1(to, k * (load<f32>(dj) * w - sum - (load<f32>(pj) - m) * k * dot), beta);
        pj += 4;
        dj += 4;
        to += 4;
      }
    }
  }
}

export function groupnorm_bwd_affine_f32(
  dweight: usize, dbias: usize, dy: usize, x: usize, mean: usize, rstd: usize,
  C: u32, B: u32, H: u32, W: u32, G: u32, beta_dweight: f32, beta_dbias: f32, lo: u32, hi: u32,
): void {
  const pixels = H * W;
  for (let c = lo; c < hi; c++) {
    let w: f32 = 0;
    let s: f32 = 0;
    for (let b: u32 = 0; b < B; b++) {
      const d = rowAt(dy, b * C + c, pixels);
      const r = (<usize>(b * G + c / (C / G))) << 2;
      w += load<f32>(rstd + r) * centredDot(d, rowAt(x, b * C + c, pixels), pixels, load<f32>(mean + r));
      s += rowSum(d, pixels);
    }
    put1(dweight + ((<usize>c) << 2), w, beta_dweight);
    put1(dbias + ((<usize>c) << 2), s, beta_dbias);
  }
}
