import { clipScale } from "./lib/clip";

// g ← g · min(1, max_norm / √sumsq) in place over tiles of 1024.

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
