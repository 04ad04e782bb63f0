import { put } from "./lib/accumulate";
import { normal4, threefry8, uniform4, x0, x1, y0, y1 } from "./lib/random";

// Random fills over tiles of 1024 elements. Element i takes counter ((first + i) >> 1, t): the two
// words, or normals, of a counter are neighbours.

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

/** Eight elements from the words of four counters; `left` of them are stored. */
// @ts-ignore: decorator
@inline
function emit(kind: i32, y: usize, u0: v128, u1: v128, a: f32, b: f32, left: u32): void {
  if (kind == NORMAL) {
    normal4(u0, u1);
    u0 = x0;
    u1 = x1;
  }
  const low = shape(kind, a, b, i8x16.shuffle(u0, u1, 0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23));
  const high = shape(kind, a, b, i8x16.shuffle(u0, u1, 8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31));
  if (left >= 8) {
    v128.store(y, low);
    v128.store(y, high, 16);
    return;
  }
  if (left >= 4) v128.store(y, low);
  if (left & 3) put(left >= 4 ? y + 16 : y, left >= 4 ? high : low, left & 3, 0);
}

// @ts-ignore: decorator
@inline
function fill(kind: i32, y: usize, N: u32, seed: u32, stream: u32, t: u32, first: u32, a: f32, b: f32, lo: u32, hi: u32): void {
  const end = min(hi * TILE, N);
  const time = i32x4.splat(t);
  for (let i = lo * TILE; i < end; i += 16) {
    threefry8(seed, stream, i32x4.add(i32x4.splat((first >> 1) + (i >> 1)), i32x4(0, 1, 2, 3)), time);
    const p = y + ((<usize>i) << 2);
    emit(kind, p, x0, x1, a, b, end - i);
    if (end - i > 8) emit(kind, p + 32, y0, y1, a, b, end - i - 8);
  }
}

export function uniform_f32(y: usize, N: u32, seed: u32, stream: u32, t: u32, first: u32, lo: u32, hi: u32): void {
  fill(UNIFORM, y, N, seed, stream, t, first, 0, 0, lo, hi);
}

export function normal_f32(y: usize, N: u32, seed: u32, stream: u32, t: u32, first: u32, mean: f32, sigma: f32, lo: u32, hi: u32): void {
  fill(NORMAL, y, N, seed, stream, t, first, mean, sigma, lo, hi);
}

export function bernoulli_f32(y: usize, N: u32, seed: u32, stream: u32, t: u32, first: u32, p: f32, lo: u32, hi: u32): void {
  fill(BERNOULLI, y, N, seed, stream, t, first, p, 0, lo, hi);
}
