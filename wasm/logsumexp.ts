import { put, take } from "./lib/accumulate";
import { expBelow4, hsum, log4 } from "./lib/math";
import { ROWS, rowAt, rowMax } from "./lib/row";

// The smooth maximum of rows and its weights; the terms e^((x − max)/τ) wait in scratch for their sum.

export function logsumexp_f32(
  y: usize, w: usize, x: usize, R: u32, C: u32, tau: f32, scratch: usize, lo: u32, hi: u32,
): void {
  const end = min(hi * ROWS, R);
  const by = f32x4.splat(1 / tau);
  for (let r = lo * ROWS; r < end; r++) {
    let px = rowAt(x, r, C);
    let pw = rowAt(w, r, C);
    const m = rowMax(px, C);
    const vm = f32x4.splat(m);
    let sums = f32x4.splat(0);
    let e = scratch;
    let i: u32 = 0;
    for (; i + 4 <= C; i += 4) {
      const t = expBelow4(f32x4.mul(f32x4.sub(v128.load(px), vm), by));
      v128.store(e, t);
      sums = f32x4.add(sums, t);
      px += 16;
      e += 16;
    }
    if (i < C) {
      // e^-Inf = 0: the lanes past the end add nothing.
      const t = expBelow4(f32x4.mul(f32x4.sub(take(px, C - i, -Infinity), vm), by));
      v128.store(e, t);
      sums = f32x4.add(sums, t);
    }
    const s = hsum(sums);
    store<f32>(y + ((<usize>r) << 2), m + tau * f32x4.extract_lane(log4(f32x4.splat(s)), 0));
    const inv = f32x4.splat(1 / s);
    e = scratch;
    i = 0;
    for (; i + 4 <= C; i += 4) {
      v128.store(pw, f32x4.mul(v128.load(e), inv));
      pw += 16;
      e += 16;
    }
    if (i < C) put(pw, f32x4.mul(v128.load(e), inv), C - i, 0);
  }
}
