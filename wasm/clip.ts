import { clipScale } from "./lib/clip";

// What happens to a gradient before its step: clipping in place over tiles of 1024, skipping.

const TILE: u32 = 1024;

export function clip_by_norm_f32(g: usize, sumsq: usize, N: u32, max_norm: f32, lo: u32, hi: u32): void {
  const s = clipScale(sumsq, max_norm);
  const by = f32x4.splat(s);
  const end = min(hi * TILE, N);
  let i = lo * TILE;
  let o = (<usize>i) << 2;
  for (; i + 16 <= end; i += 16) {
    const q = g + o;
    v128.store(q, f32x4.mul(by, v128.load(q)));
    v128.store(q, f32x4.mul(by, v128.load(q, 16)), 16);
    v128.store(q, f32x4.mul(by, v128.load(q, 32)), 32);
    v128.store(q, f32x4.mul(by, v128.load(q, 48)), 48);
    o += 64;
  }
  for (; i + 4 <= end; i += 4) {
    v128.store(g + o, f32x4.mul(by, v128.load(g + o)));
    o += 16;
  }
  for (; i < end; i++) {
    store<f32>(g + o, s * load<f32>(g + o));
    o += 4;
  }
}

export function skip_nonfinite_f32(g: usize, skipped: usize, probe: usize, N: u32, K: u32, lo: u32, hi: u32): void {
  // 0 · x is 0 unless x is a NaN or an infinity.
  let s: f32 = 0;
  for (let i: u32 = 0; i < K; i++) s += 0 * load<f32>(probe + ((<usize>i) << 2));
  if (s == 0) return;
  memory.fill(g, 0, (<usize>N) << 2);
  store<f32>(skipped, load<f32>(skipped) + 1);
}
