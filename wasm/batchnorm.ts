import { put, put1, put4, take } from "./lib/accumulate";
import { hsum, madd } from "./lib/math";
import { rowAt, rowSquares, rowSum } from "./lib/row";

// Batch normalisation: a tile is a channel, whose elements are B runs of S.

/** y = beta·y + a·x + b over a run. */
function line(y: usize, x: usize, S: u32, a: f32, b: f32, beta: f32): void {
  const va = f32x4.splat(a);
  const vb = f32x4.splat(b);
  let i: u32 = 0;
  for (; i + 4 <= S; i += 4) {
    put4(y, madd(va, v128.load(x), vb), beta);
    x += 16;
    y += 16;
  }
  if (i < S) put(y, madd(va, take(x, S - i, 0), vb), S - i, beta);
}

export function batchnorm_f32(
  y: usize, mean: usize, variance: usize, x: usize, weight: usize, bias: usize,
  B: u32, C: u32, S: u32, eps: f32, lo: u32, hi: u32,
): void {
  const n = <f32>(B * S);
  for (let c = lo; c < hi; c++) {
    const at = (<usize>c) << 2;
    let s: f32 = 0;
    for (let b: u32 = 0; b < B; b++) s += rowSum(rowAt(x, b * C + c, S), S);
    const m = s / n;
    let q: f32 = 0;
    for (let b: u32 = 0; b < B; b++) q += rowSquares(rowAt(x, b * C + c, S), m, S);
    store<f32>(mean + at, m);
    store<f32>(variance + at, q / n);
    const k = load<f32>(weight + at) / sqrt<f32>(q / n + eps);
    const shift = load<f32>(bias + at);
    const vm = f32x4.splat(m);
    const vk = f32x4.splat(k);
    const vs = f32x4.splat(shift);
    for (let b: u32 = 0; b < B; b++) {
      let px = rowAt(x, b * C + c, S);
      let py = rowAt(y, b * C + c, S);
      let i: u32 = 0;
      for (; i + 4 <= S; i += 4) {
        v128.store(py, madd(f32x4.sub(v128.load(px), vm), vk, vs));
        px += 16;
        py += 16;
      }
      if (i < S) put(py, madd(f32x4.sub(take(px, S - i, 0), vm), vk, vs), S - i, 0);
    }
  }
}

export function batchnorm_inference_f32(
  y: usize, x: usize, weight: usize, bias: usize, mean: usize, variance: usize,
  B: u32, C: u32, S: u32, eps: f32, beta: f32, lo: u32, hi: u32,
): void {
  for (let r = lo; r < hi; r++) {
    const at = (<usize>(r % C)) << 2;
    const k = load<f32>(weight + at) / sqrt<f32>(load<f32>(variance + at) + eps);
    line(rowAt(y, r, S), rowAt(x, r, S), S, k, load<f32>(bias + at) - load<f32>(mean + at) * k, beta);
  }
}

/** Σ dy·(x − m) over a run. */
function centredDot(dy: usize, x: usize, S: u32, m: f32): f32 {
  const vm = f32x4.splat(m);
  let s = f32x4.splat(0);
  let i: u32 = 0;
  for (; i + 4 <= S; i += 4) {
    s = madd(v128.load(dy), f32x4.sub(v128.load(x), vm), s);
    x += 16;
    dy += 16;
  }
  if (i < S) s = madd(take(dy, S - i, 0), f32x4.sub(take(x, S - i, 0), vm), s);
  return hsum(s);
}

export function batchnorm_bwd_f32(
  dx: usize, dweight: usize, dbias: usize, dy: usize, x: usize, weight: usize, mean: usize, variance: usize,
  B: u32, C: u32, S: u32, eps: f32, inference: u32, beta_dx: f32, beta_dweight: f32, beta_dbias: f32, lo: u32, hi: u32,
): void {
  const n = <f32>(B * S);
  for (let c = lo; c < hi; c++) {
    const at = (<usize>c) << 2;
    const m = load<f32>(mean + at);
    const k = <f32>1 / sqrt<f32>(load<f32>(variance + at) + eps);
    let s: f32 = 0;
    let t: f32 = 0;
    for (let b: u32 = 0; b < B; b++) {
      const o = rowAt(dy, b * C + c, S);
      s += rowSum(o, S);
      t += centredDot(o, rowAt(x, b * C + c, S), S, m);
    }
    t *= k;
    put1(dweight + at, t, beta_dweight);
    put1(dbias + at, s, beta_dbias);
    const a = load<f32>(weight + at) * k;
    const vm = f32x4.splat(m);
    const va = f32x4.splat(a);
    const ofX = f32x4.splat(inference ? 0 : -k * t / n);
    const shift = f32x4.splat(inference ? 0 : -s / n);
    for (let b: u32 = 0; b < B; b++) {
      let py = rowAt(dy, b * C + c, S);
      let px = rowAt(x, b * C + c, S);
      let po = rowAt(dx, b * C + c, S);
      let i: u32 = 0;
      for (; i + 4 <= S; i += 4) {
        const u = madd(ofX, f32x4.sub(v128.load(px), vm), f32x4.add(v128.load(py), shift));
        put4(po, f32x4.mul(va, u), beta_dx);
        px += 16;
        py += 16;
        po += 16;
      }
      if (i < S) {
        const u = madd(ofX, f32x4.sub(take(px, S - i, 0), vm), f32x4.add(take(py, S - i, 0), shift));
        put(po, f32x4.mul(va, u), S - i, beta_dx);
      }
    }
  }
}
