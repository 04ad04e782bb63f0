import { put, put4, take } from "./lib/accumulate";
import { exp4 } from "./lib/math";
import { ROWS, rowAt, rowLse, rowsLse4 } from "./lib/row";

// Cross-entropy of rows of logits against one label each, and its gradient from the saved lse.

export function softmax_xent_f32(
  loss: usize, lse: usize, logits: usize, labels: usize,
  R: u32, C: u32, reduction: u32, lo: u32, hi: u32,
): void {
  // A mean is one tile.
  const mean = reduction == 1;
  const end = mean ? R : min(hi * ROWS, R);
  let total: f64 = 0;
  const start = lo * ROWS;
  let r = start;
  for (; r + 4 <= end; r += 4) v128.store(lse + ((<usize>r) << 2), rowsLse4(rowAt(logits, r, C), 1, C));
  for (; r < end; r++) store<f32>(lse + ((<usize>r) << 2), rowLse(rowAt(logits, r, C), 1, C));
  for (r = start; r < end; r++) {
    const px = rowAt(logits, r, C);
    const at = (<usize>r) << 2;
    const l = load<f32>(lse + at);
    const label = load<u32>(labels + at);
    const own: f32 = label < C ? l - load<f32>(px + ((<usize>label) << 2)) : NaN;
    if (mean) total += <f64>own;
    else store<f32>(loss + at, own);
  }
  if (mean) store<f32>(loss, <f32>(total / <f64>R));
}

/** dlogits may lie where the logits do. */
function gradient(
  dlogits: usize, dloss: usize, logits: usize, lse: usize, labels: usize,
  R: u32, C: u32, reduction: u32, beta: f32, lo: u32, hi: u32,
): void {
  const end = min(hi * ROWS, R);
  for (let r = lo * ROWS; r < end; r++) {
    const at = (<usize>r) << 2;
    const px = rowAt(logits, r, C);
    const po = rowAt(dlogits, r, C);
    const l = f32x4.splat(load<f32>(lse + at));
    const label = load<u32>(labels + at);
    const given = reduction == 1 ? load<f32>(dloss) / <f32>R : load<f32>(dloss + at);
    const d: f32 = label < C ? given : NaN;
    const vd = f32x4.splat(d);
    // The label's element is set last: e^… − 1 before the product keeps its digits.
    const hit = (<usize>label) << 2;
    const x: f32 = label < C ? load<f32>(px + hit) : 0;
    const before: f32 = beta != 0 && label < C ? beta * load<f32>(po + hit) : 0;
    let i: u32 = 0;
    let p: usize = 0;
    for (; i + 4 <= C; i += 4) {
      put4(po + p, f32x4.mul(vd, exp4(f32x4.sub(v128.load(px + p), l))), beta);
      p += 16;
    }
    if (i < C) put(po + p, f32x4.mul(vd, exp4(f32x4.sub(take(px + p, C - i, 0), l))), C - i, beta);
    if (label < C) {
      const q = f32x4.extract_lane(exp4(f32x4.sub(f32x4.splat(x), l)), 0);
      store<f32>(po + hit, before + d * (q - 1));
    }
  }
}

export function softmax_xent_bwd_f32(
  dlogits: usize, dloss: usize, logits: usize, lse: usize, labels: usize,
  R: u32, C: u32, reduction: u32, beta: f32, lo: u32, hi: u32,
): void {
  gradient(dlogits, dloss, logits, lse, labels, R, C, reduction, beta, lo, hi);
}

export function softmax_xent_bwd_inplace_f32(
  logits: usize, dloss: usize, lse: usize, labels: usize,
  R: u32, C: u32, reduction: u32, lo: u32, hi: u32,
): void {
  gradient(logits, dloss, logits, lse, labels, R, C, reduction, 0, lo, hi);
}
