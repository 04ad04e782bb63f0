import { hsum } from "./math";

// Row helpers: every tile of a row kernel is ROWS rows, whole.

export const ROWS: u32 = 8;

// @ts-ignore: decorator
@inline
export function rowAt(x: usize, r: u32, C: u32): usize {
  return x + ((<usize>r * C) << 2);
}

/** Largest of C numbers; NaN if any is. */
export function rowMax(p: usize, C: u32): f32 {
  let v = f32x4.splat(-Infinity);
  let i: u32 = 0;
  for (; i + 4 <= C; i += 4) {
    v = f32x4.max(v, v128.load(p));
    p += 16;
  }
  for (; i < C; i++) {
    v = f32x4.max(v, v128.load32_splat(p));
    p += 4;
  }
  const a = f32x4.max(v, i8x16.shuffle(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
  return f32x4.extract_lane(f32x4.max(a, i8x16.shuffle(a, a, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11)), 0);
}

/** Σ p_i q_i over C. */
export function rowDot(p: usize, q: usize, C: u32): f32 {
  let s = f32x4.splat(0);
  let i: u32 = 0;
  for (; i + 4 <= C; i += 4) {
    s = f32x4.add(s, f32x4.mul(v128.load(p), v128.load(q)));
    p += 16;
    q += 16;
  }
  let t: f32 = 0;
  for (; i < C; i++) {
    t += load<f32>(p) * load<f32>(q);
    p += 4;
    q += 4;
  }
  return hsum(s) + t;
}

/** Σ p_i over C. */
export function rowSum(p: usize, C: u32): f32 {
  let s = f32x4.splat(0);
  let i: u32 = 0;
  for (; i + 4 <= C; i += 4) {
    s = f32x4.add(s, v128.load(p));
    p += 16;
  }
  let t: f32 = 0;
  for (; i < C; i++) {
    t += load<f32>(p);
    p += 4;
  }
  return hsum(s) + t;
}
