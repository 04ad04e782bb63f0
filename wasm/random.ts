import { normal4, threefry4, uniform4, x0, x1 } from "./lib/random";

// Random fills over tiles of 1024 elements. Eight elements take four counters (i >> 1, t): their
// words, or normals, interleave.

const TILE: u32 = 1024;
const UNIFORM: i32 = 0;
const NORMAL: i32 = 1;
const BERNOULLI: i32 = 2;

// @ts-ignore: decorator
@inline
function shape(kind: i32, a: f32, b: f32, v: v128): v128 {
  if (kind == NORMAL) return f32x4.add(f32x4.mul(v, f32x4.splat(b)), f32x4.splat(a));
  const u = uniform4(v);
  if (kind == UNIFORM) return u;
  return v128.and(f32x4.lt(u, f32x4.splat(a)), f32x4.splat(1));
}

// @ts-ignore: decorator
@inline
function fill(kind: i32, y: usize, N: u32, seed: u32, stream: u32, t: u32, a: f32, b: f32, lo: u32, hi: u32): void {
  const end = min(hi * TILE, N);
  const time = i32x4.splat(t);
  for (let i = lo * TILE; i < end; i += 8) {
    threefry4(seed, stream, i32x4.add(i32x4.splat(i >> 1), i32x4(0, 1, 2, 3)), time);
    if (kind == NORMAL) normal4();
    const low = shape(kind, a, b, i8x16.shuffle(x0, x1, 0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23));
    const high = shape(kind, a, b, i8x16.shuffle(x0, x1, 8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31));
    const p = y + ((<usize>i) << 2);
    const left = end - i;
    if (left >= 8) {
      v128.store(p, low);
      v128.store(p, high, 16);
    } else {
      if (left >= 4) v128.store(p, low);
      const rest = left >= 4 ? high : low;
      const q = left >= 4 ? p + 16 : p;
      const n = left & 3;
      if (n > 0) store<f32>(q, f32x4.extract_lane(rest, 0));
      if (n > 1) store<f32>(q, f32x4.extract_lane(rest, 1), 4);
      if (n > 2) store<f32>(q, f32x4.extract_lane(rest, 2), 8);
    }
  }
}

export function uniform_f32(y: usize, N: u32, seed: u32, stream: u32, t: u32, lo: u32, hi: u32): void {
  fill(UNIFORM, y, N, seed, stream, t, 0, 0, lo, hi);
}

export function normal_f32(y: usize, N: u32, seed: u32, stream: u32, t: u32, mean: f32, sigma: f32, lo: u32, hi: u32): void {
  fill(NORMAL, y, N, seed, stream, t, mean, sigma, lo, hi);
}

export function bernoulli_f32(y: usize, N: u32, seed: u32, stream: u32, t: u32, p: f32, lo: u32, hi: u32): void {
  fill(BERNOULLI, y, N, seed, stream, t, p, 0, lo, hi);
}
