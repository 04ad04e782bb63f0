import { put1 } from "./lib/accumulate";
import { exp4, hsum, log4 } from "./lib/math";
import { ROWS, rowAt, rowMax } from "./lib/row";

// Cross-entropy of rows of logits against one label each, and its gradient from the saved lse.

export function softmax_xent_f32(
  loss: usize, lse: usize, logits: usize, labels: usize,
  R: u32, C: u32, lo: u32, hi: u32,
): void {
  const end = min(hi * ROWS, R);
  for (let r = lo * ROWS; r < end; r++) {
    const px = rowAt(logits, r, C);
    const m = rowMax(px, C);
    const vm = f32x4.splat(m);
    let s = f32x4.splat(0);
    let tail: f32 = 0;
    let i: u32 = 0;
    let p = px;
    for (; i + 4 <= C; i += 4) {
      s = f32x4.add(s, exp4(f32x4.sub(v128.load(p), vm)));
      p += 16;
    }
    for (; i < C; i++) {
      tail += f32x4.extract_lane(exp4(f32x4.sub(v128.load32_splat(p), vm)), 0);
      p += 4;
    }
    const l = m + f32x4.extract_lane(log4(f32x4.splat(hsum(s) + tail)), 0);
    const at = (<usize>r) << 2;
    const label = load<u32>(labels + at);
    store<f32>(lse + at, l);
    store<f32>(loss + at, label < C ? l - load<f32>(px + ((<usize>label) << 2)) : NaN);
  }
}

export function softmax_xent_bwd_f32(
  dlogits: usize, dloss: usize, logits: usize, lse: usize, labels: usize,
  R: u32, C: u32, beta: f32, lo: u32, hi: u32,
): void {
  const end = min(hi * ROWS, R);
  for (let r = lo * ROWS; r < end; r++) {
    const at = (<usize>r) << 2;
    const px = rowAt(logits, r, C);
    const po = rowAt(dlogits, r, C);
    const d = load<f32>(dloss + at);
    const l = f32x4.splat(load<f32>(lse + at));
    const label = load<u32>(labels + at);
    for (let i: u32 = 0; i < C; i++) {
      const p = (<usize>i) << 2;
      const q = f32x4.extract_lane(exp4(f32x4.sub(v128.load32_splat(px + p), l)), 0);
      put1(po + p, label < C ? d * (q - (i == label ? <f32>1 : <f32>0)) : NaN, beta);
    }
  }
}
