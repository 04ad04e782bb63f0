import { put, take } from "./lib/accumulate";

// y ← d·y + (1 − d)·x in place over tiles of 1024.

const TILE: u32 = 1024;

export function ema_f32(y: usize, x: usize, N: u32, decay: f32, t: f32, lo: u32, hi: u32): void {
  const d: f32 = t > 0 ? min(decay, (1 + t) / (10 + t)) : decay;
  const keep = f32x4.splat(d);
  const rest = f32x4.splat(1 - d);
  const end = min(hi * TILE, N);
  let i = lo * TILE;
  let o = (<usize>i) << 2;
  for (; i + 4 <= end; i += 4) {
    v128.store(y + o, f32x4.add(f32x4.mul(keep, v128.load(y + o)), f32x4.mul(rest, v128.load(x + o))));
    o += 16;
  }
  if (i < end) put(y + o, f32x4.mul(rest, take(x + o, end - i, 0)), end - i, d);
}
