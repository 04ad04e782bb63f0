import { hsum } from "./lib/math";

// Projection on a ball: its distance in one piece, then the elements in tiles of 1024. A block of 4096 is summed by
// four vectors, the blocks in f64, so that a million terms keep f32 accuracy.

const TILE: u32 = 1024;
const BLOCK: u32 = 4096;

// @ts-ignore: decorator
@inline
function square(p: usize, c: usize): v128 {
  const d = f32x4.sub(v128.load(p), v128.load(c));
  return f32x4.mul(d, d);
}

export function squared_distance_f32(y: usize, p: usize, c: usize, N: u32, lo: u32, hi: u32): void {
  if (lo >= hi) return;
  let total: f64 = 0;
  let o: usize = 0;
  for (let at: u32 = 0; at < N; at += BLOCK) {
    const n = min(BLOCK, N - at);
    let s0 = f32x4.splat(0);
    let s1 = s0;
    let s2 = s0;
    let s3 = s0;
    let i: u32 = 0;
    for (; i + 16 <= n; i += 16) {
      s0 = f32x4.add(s0, square(p + o, c + o));
      s1 = f32x4.add(s1, square(p + o + 16, c + o + 16));
      s2 = f32x4.add(s2, square(p + o + 32, c + o + 32));
      s3 = f32x4.add(s3, square(p + o + 48, c + o + 48));
      o += 64;
    }
    let s: f32 = 0;
    for (; i < n; i++) {
      const d = load<f32>(p + o) - load<f32>(c + o);
      s += d * d;
      o += 4;
    }
    total += <f64>(hsum(f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3))) + s);
  }
  store<f32>(y, <f32>total);
}

export function project_ball_f32(p: usize, m: usize, c: usize, sumsq: usize, N: u32, radius: f32, lo: u32, hi: u32): void {
  const norm = sqrt<f32>(load<f32>(sumsq));
  if (norm <= radius) return;
  const begin = lo * TILE;
  const end = min(hi * TILE, N);
  const bytes = (<usize>(end - begin)) << 2;
  let o = (<usize>begin) << 2;
  memory.fill(m + o, 0, bytes);
  if (radius == 0) {
    // c + 0·d would turn −0 into 0
    memory.copy(p + o, c + o, bytes);
    return;
  }
  const to = radius / norm;
  const s = f32x4.splat(to);
  let i = begin;
  for (; i + 4 <= end; i += 4) {
    const v = v128.load(c + o);
    v128.store(p + o, f32x4.add(v, f32x4.mul(s, f32x4.sub(v128.load(p + o), v))));
    o += 16;
  }
  for (; i < end; i++) {
    const v = load<f32>(c + o);
    store<f32>(p + o, v + to * (load<f32>(p + o) - v));
    o += 4;
  }
}
