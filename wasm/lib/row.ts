import { take } from "./accumulate";
import { expBelow4, hmax, hsum, log4, madd } from "./math";

// Row helpers: every tile of a row kernel is ROWS rows, whole. Sums run in four vectors, so that the
// latency of one addition does not bound them.

export const ROWS: u32 = 8;

// @ts-ignore: decorator
@inline
export function rowAt(x: usize, r: u32, C: u32): usize {
  return x + ((<usize>r * C) << 2);
}

/** Largest of C numbers; a NaN may get lost, so the caller's sum over the row must carry it. */
export function rowMax(p: usize, C: u32): f32 {
  let v0 = f32x4.splat(-Infinity);
  let v1 = v0;
  let v2 = v0;
  let v3 = v0;
  let i: u32 = 0;
  for (; i + 16 <= C; i += 16) {
    v0 = f32x4.pmax(v0, v128.load(p));
    v1 = f32x4.pmax(v1, v128.load(p, 16));
    v2 = f32x4.pmax(v2, v128.load(p, 32));
    v3 = f32x4.pmax(v3, v128.load(p, 48));
    p += 64;
  }
  for (; i + 4 <= C; i += 4) {
    v0 = f32x4.pmax(v0, v128.load(p));
    p += 16;
  }
  if (i < C) v1 = f32x4.pmax(v1, take(p, C - i, -Infinity));
  return hmax(f32x4.pmax(f32x4.pmax(v0, v1), f32x4.pmax(v2, v3)));
}

// @ts-ignore: decorator
@inline
function total(s0: v128, s1: v128, s2: v128, s3: v128): f32 {
  return hsum(f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3)));
}

/** Σ p_i q_i over C. */
export function rowDot(p: usize, q: usize, C: u32): f32 {
  let s0 = f32x4.splat(0);
  let s1 = s0;
  let s2 = s0;
  let s3 = s0;
  let i: u32 = 0;
  for (; i + 16 <= C; i += 16) {
    s0 = madd(v128.load(p), v128.load(q), s0);
    s1 = madd(v128.load(p, 16), v128.load(q, 16), s1);
    s2 = madd(v128.load(p, 32), v128.load(q, 32), s2);
    s3 = madd(v128.load(p, 48), v128.load(q, 48), s3);
    p += 64;
    q += 64;
  }
  for (; i + 4 <= C; i += 4) {
    s0 = madd(v128.load(p), v128.load(q), s0);
    p += 16;
    q += 16;
  }
  if (i < C) s1 = madd(take(p, C - i, 0), take(q, C - i, 0), s1);
  return total(s0, s1, s2, s3);
}

// @ts-ignore: decorator
@inline
function centred(squares: bool, v: v128, m: v128, s: v128): v128 {
  const d = f32x4.sub(v, m);
  return squares ? madd(d, d, s) : f32x4.add(s, v);
}

// @ts-ignore: decorator
@inline
function moment(squares: bool, p: usize, m: f32, C: u32): f32 {
  const vm = f32x4.splat(m);
  let s0 = f32x4.splat(0);
  let s1 = s0;
  let s2 = s0;
  let s3 = s0;
  let i: u32 = 0;
  for (; i + 16 <= C; i += 16) {
    s0 = centred(squares, v128.load(p), vm, s0);
    s1 = centred(squares, v128.load(p, 16), vm, s1);
    s2 = centred(squares, v128.load(p, 32), vm, s2);
    s3 = centred(squares, v128.load(p, 48), vm, s3);
    p += 64;
  }
  for (; i + 4 <= C; i += 4) {
    s0 = centred(squares, v128.load(p), vm, s0);
    p += 16;
  }
  if (i < C) s1 = centred(squares, take(p, C - i, m), vm, s1);
  return total(s0, s1, s2, s3);
}

/** Σ p_i over C. */
export function rowSum(p: usize, C: u32): f32 {
  return moment(false, p, 0, C);
}

/** Σ (p_i − m)² over C. */
export function rowSquares(p: usize, m: f32, C: u32): f32 {
  return moment(true, p, m, C);
}

/** Σ e^(p_i − m) over C, m >= p_i; the terms are stored in whole vectors at `terms`. */
// @ts-ignore: decorator
@inline
export function rowExp(terms: usize, p: usize, m: f32, C: u32): f32 {
  const vm = f32x4.splat(m);
  let s = f32x4.splat(0);
  let i: u32 = 0;
  for (; i + 8 <= C; i += 8) {
    const e = expBelow4(f32x4.sub(v128.load(p), vm));
    const f = expBelow4(f32x4.sub(v128.load(p, 16), vm));
    s = f32x4.add(s, f32x4.add(e, f));
    v128.store(terms, e);
    v128.store(terms, f, 16);
    terms += 32;
    p += 32;
  }
  for (; i + 4 <= C; i += 4) {
    const e = expBelow4(f32x4.sub(v128.load(p), vm));
    s = f32x4.add(s, e);
    v128.store(terms, e);
    terms += 16;
    p += 16;
  }
  if (i < C) {
    // e^-Inf = 0: the lanes past the end add nothing.
    const e = expBelow4(f32x4.sub(take(p, C - i, -Infinity), vm));
    s = f32x4.add(s, e);
    v128.store(terms, e);
  }
  return hsum(s);
}

/** Numbers whose maximum is found before their exponentials are: they stay in the first cache. */
const LSE_BLOCK: u32 = 2048;

/** Σ e^(k p_i − m) of the row that `rowTop` saw last. */
let above: f32 = 0;

/** m, the largest k p_i over C, in one pass over memory; leaves Σ e^(k p_i − m) in `above`. */
function rowTop(p: usize, k: f32, C: u32): f32 {
  let m: f32 = -Infinity;
  let s: f32 = 0;
  for (let at: u32 = 0; at < C; at += LSE_BLOCK) {
    const n = min(LSE_BLOCK, C - at);
    const q = p + ((<usize>at) << 2);
    const b = k * rowMax(q, n);
    if (b > m) {
      if (at) s *= f32x4.extract_lane(expBelow4(f32x4.splat(m - b)), 0);
      m = b;
    }
    s += scaledExp(q, k, m == -Infinity ? 0 : m, n);
  }
  above = s;
  return m;
}

/** ln Σ e^(k p_i) over C, k > 0: -Inf if every p_i is, NaN if one is NaN or +Inf. */
export function rowLse(p: usize, k: f32, C: u32): f32 {
  const m = rowTop(p, k, C);
  return m + f32x4.extract_lane(log4(f32x4.splat(above)), 0);
}

/** `rowLse` of four rows of C from p on, for the price of one logarithm. */
export function rowsLse4(p: usize, k: f32, C: u32): v128 {
  const row = (<usize>C) << 2;
  let m = f32x4.splat(rowTop(p, k, C));
  let s = f32x4.splat(above);
  m = f32x4.replace_lane(m, 1, rowTop(p + row, k, C));
  s = f32x4.replace_lane(s, 1, above);
  m = f32x4.replace_lane(m, 2, rowTop(p + 2 * row, k, C));
  s = f32x4.replace_lane(s, 2, above);
  m = f32x4.replace_lane(m, 3, rowTop(p + 3 * row, k, C));
  s = f32x4.replace_lane(s, 3, above);
  return f32x4.add(m, log4(s));
}

/** Σ e^(k p_i − m) over C. */
// @ts-ignore: decorator
@inline
function scaledExp(p: usize, k: f32, m: f32, C: u32): f32 {
  const vk = f32x4.splat(k);
  const vm = f32x4.splat(m);
  let s = f32x4.splat(0);
  let t = s;
  let i: u32 = 0;
  for (; i + 8 <= C; i += 8) {
    s = f32x4.add(s, expBelow4(f32x4.sub(f32x4.mul(v128.load(p), vk), vm)));
    t = f32x4.add(t, expBelow4(f32x4.sub(f32x4.mul(v128.load(p, 16), vk), vm)));
    p += 32;
  }
  for (; i + 4 <= C; i += 4) {
    s = f32x4.add(s, expBelow4(f32x4.sub(f32x4.mul(v128.load(p), vk), vm)));
    p += 16;
  }
  if (i < C) t = f32x4.add(t, expBelow4(f32x4.sub(f32x4.mul(take(p, C - i, -Infinity), vk), vm)));
  return hsum(f32x4.add(s, t));
}
