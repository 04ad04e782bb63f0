import { log4, madd, tanh4 } from "./math";
import { multiply, portion } from "./product";

// Flash attention, transposed: lanes are queries. Up to 64 queries of one head walk over blocks of 64 keys.
// S = K·Qᵀ comes out as rows of keys over lanes of queries, so that maxima and sums are lane by lane
// and S is at once the right operand of Oᵀ += Vᵀ·P. K and V are read in place. Everything with lanes of
// queries has rows of 64 floats. Scores are in units of ln 2: exp is 2^x.

export const BLOCK: u32 = 64;
/** Bytes of 64 lanes. */
export const ROW: usize = 256;
/** Where scratch holds the first key that each lane sees, and the first after its last. */
export const FROM: usize = 0;
export const PAST: usize = ROW;
const LN2: f32 = 0.6931471805599453;
export const LOG2E: f32 = 1.4426950408889634;

/**
 * 2^x = 2^n·2^f, |f| <= 1/2, relative error < 2e-7. Adding 1.5·2^23 + 127 to x leaves n + 127 in the low
 * bits. From memory, since the engine builds a literal anew at every use.
 */
export const EXP2 = memory.data<f32>([
  12583039, 0.001326472731307149, 0.009671512991189957, 0.05550733581185341, 0.24022242426872253,
  0.6931470036506653, 1, -126,
]);

/** 2^x for x < 127, 0 below -126, NaN for NaN; the constants of EXP2 in order. */
// @ts-ignore: decorator
@inline
export function exp2(x: v128, round: v128, c5: v128, c4: v128, c3: v128, c2: v128, c1: v128, one: v128, low: v128): v128 {
  const t = f32x4.add(x, round);
  const f = f32x4.sub(x, f32x4.sub(t, round));
  let p = madd(c5, f, c4);
  p = madd(p, f, c3);
  p = madd(p, f, c2);
  p = madd(p, f, c1);
  p = madd(p, f, one);
  return v128.andnot(f32x4.mul(p, i32x4.shl(t, 23)), f32x4.lt(x, low));
}

/**
 * C (rows × 8·panels) = or += A (rows × n) · B (n × 8·panels). Strides in bytes: cs and bs from row to row of
 * C and B, across from row to row of A, along from column to column.
 */
export function product(
  c: usize, cs: usize, rows: u32, panels: u32,
  a: usize, across: usize, along: usize, b: usize, bs: usize, n: u32, add: bool,
): void {
  for (let p: u32 = 0; p < panels; p++) {
    for (let i: u32 = 0; i < rows; ) {
      const some = portion(rows - i);
      multiply(c + cs * i, cs, a + across * i, across, along, b, bs, n, some, add);
      i += some;
    }
    c += 32;
    b += 32;
  }
}

/** n lanes and those that fill up the last panel of 8. No others are read. */
// @ts-ignore: decorator
@inline
export function inPanels(n: u32): u32 {
  return (n + 7) & ~7;
}

/** (rows, D) at x, rows `stride` bytes apart, times `factor` -> (D, 64); lanes past rows are 0. */
export function transpose(to: usize, x: usize, stride: usize, rows: u32, D: u32, factor: f32): void {
  const lanes = inPanels(rows);
  for (let i: u32 = 0; i < lanes; i++) {
    let q = to + ((<usize>i) << 2);
    const end = q + <usize>D * ROW;
    let p = x;
    if (i < rows) {
      for (; q < end; q += ROW) {
        store<f32>(q, load<f32>(p) * factor);
        p += 4;
      }
    } else for (; q < end; q += ROW) store<f32>(q, 0);
    x += stride;
  }
}

/** The first key that query i sees. */
// @ts-ignore: decorator
@inline
export function firstKey(i: u32, S: u32, T: u32, window: u32): u32 {
  return window ? max<i32>(<i32>(i + T - S + 1) - <i32>min(window, S + T), 0) : 0;
}

/** The first key after the last that query i sees. */
// @ts-ignore: decorator
@inline
export function pastKey(i: u32, S: u32, T: u32, causal: u32, window: u32): u32 {
  const at = <i32>(i + T - S);
  const past = causal ? at + 1 : window ? at + <i32>min(window, S + T) : <i32>T;
  return min<i32>(max<i32>(past, 0), <i32>T);
}

/** Which keys [from, past) each of n queries from i0 sees; lanes past the last query see what it sees. */
export function visible(
  from: usize, past: usize, i0: u32, n: u32, S: u32, T: u32, causal: u32, window: u32,
): void {
  const lanes = inPanels(n);
  for (let k: u32 = 0; k < lanes; k++) {
    const i = min(i0 + k, S - 1);
    store<u32>(from, firstKey(i, S, T, window));
    store<u32>(past, pastKey(i, S, T, causal, window));
    from += 4;
    past += 4;
  }
}

/** 1/√D where it is 0. */
// @ts-ignore: decorator
@inline
export function scaleOf(scale: f32, D: u32): f32 {
  return scale == 0 ? <f32>1 / sqrt<f32>(<f32>max(D, 1)) : scale;
}

/**
 * What q·k is multiplied by to give scores in units of ln 2, or, where they are capped, what tanh takes;
 * and what its result is multiplied by.
 */
// @ts-ignore: decorator
@inline
export function scoreFactor(scale: f32, D: u32, softcap: f32): f32 {
  return softcap > 0 ? scaleOf(scale, D) / softcap : scaleOf(scale, D) * LOG2E;
}

/** s (n, 64) = most·tanh s, 8 lanes; `slope`, unless 0, gets the derivatives 1 − tanh² s, laid out alike. */
export function softcap8(s: usize, n: u32, most: f32, slope: usize): void {
  const factor = f32x4.splat(most);
  const one = f32x4.splat(1);
  const end = s + <usize>n * ROW;
  for (; s < end; s += ROW) {
    for (let half: usize = 0; half < 32; half += 16) {
      const t = tanh4(v128.load(s + half));
      v128.store(s + half, f32x4.mul(t, factor));
      if (slope) v128.store(slope + half, f32x4.sub(one, f32x4.mul(t, t)));
    }
    if (slope) slope += ROW;
  }
}

/** -Inf where key j0 + row is not among [from, past) of its lane; 4 lanes. */
export function mask(s: usize, n: u32, j0: u32, from: usize, past: usize): void {
  const lo = v128.load(from);
  const hi = v128.load(past);
  const none = f32x4.splat(-Infinity);
  for (let j: u32 = 0; j < n; j++) {
    const at = i32x4.splat(j0 + j);
    const seen = v128.and(i32x4.ge_s(at, lo), i32x4.lt_s(at, hi));
    v128.store(s, v128.bitselect(v128.load(s), none, seen));
    s += ROW;
  }
}

/** s (n, 64) += log2 e · bias; bias (rows, T) points at key 0 of the s, and comes round after its last row. */
export function addBias(s: usize, n: u32, bias: usize, first: u32, lanes: u32, rows: u32, T: u32): void {
  for (let i: u32 = 0; i < lanes; i++) {
    let p = bias + ((<usize>((first + i) % rows) * T) << 2);
    let q = s + ((<usize>i) << 2);
    for (let j: u32 = 0; j < n; j++) {
      store<f32>(q, load<f32>(q) + LOG2E * load<f32>(p));
      p += 4;
      q += ROW;
    }
  }
}

/**
 * Scores of n keys -> 2^(s − m), 4 lanes, with the running maximum m and sum l; o (D, 64) so far is
 * brought down to a maximum that moved. pmax passes over NaN, the sum does not.
 */
function softmax(s: usize, n: u32, m: usize, l: usize, o: usize, D: u32): void {
  const old = v128.load(m);
  let top = old;
  let p = s;
  for (let j: u32 = 0; j < n; j++) {
    top = f32x4.pmax(top, v128.load(p));
    p += ROW;
  }
  const round = v128.load32_splat(EXP2);
  const c5 = v128.load32_splat(EXP2, 4);
  const c4 = v128.load32_splat(EXP2, 8);
  const c3 = v128.load32_splat(EXP2, 12);
  const c2 = v128.load32_splat(EXP2, 16);
  const c1 = v128.load32_splat(EXP2, 20);
  const one = v128.load32_splat(EXP2, 24);
  const low = v128.load32_splat(EXP2, 28);
  // Lanes that have seen nothing yet: -Inf − 0, not -Inf − -Inf.
  const from = v128.and(top, f32x4.gt(top, f32x4.splat(-Infinity)));
  let sum = f32x4.splat(0);
  p = s;
  for (let j: u32 = 0; j < n; j++) {
    const e = exp2(f32x4.sub(v128.load(p), from), round, c5, c4, c3, c2, c1, one, low);
    v128.store(p, e);
    sum = f32x4.add(sum, e);
    p += ROW;
  }
  const moved = f32x4.ne(top, old);
  if (v128.any_true(moved)) {
    const down = exp2(f32x4.sub(old, from), round, c5, c4, c3, c2, c1, one, low);
    v128.store(m, top);
    v128.store(l, f32x4.add(f32x4.mul(v128.load(l), down), sum));
    for (let d: u32 = 0; d < D; d++) {
      v128.store(o, f32x4.mul(v128.load(o), down));
      o += ROW;
    }
  } else v128.store(l, f32x4.add(v128.load(l), sum));
}

// @ts-ignore: decorator
@inline
export function least(p: usize, n: u32): u32 {
  let v = load<u32>(p);
  for (let i: usize = 4; i < (<usize>n) << 2; i += 4) v = min(v, load<u32>(p + i));
  return v;
}

// @ts-ignore: decorator
@inline
export function greatest(p: usize, n: u32): u32 {
  let v = load<u32>(p);
  for (let i: usize = 4; i < (<usize>n) << 2; i += 4) v = max(v, load<u32>(p + i));
  return v;
}

/**
 * Rows [first, first + n) of o and lse, n <= 64, all of one head of k and v (T, D); the keys that each sees
 * stand at the start of scratch. bias (rows, T) comes round after its last row. Scores are capped at
 * softcap, unless it is 0.
 */
export function flash(
  scratch: usize, o: usize, lse: usize, q: usize, k: usize, v: usize, bias: usize,
  first: u32, n: u32, D: u32, T: u32, biasRows: u32, scale: f32, softcap: f32,
): void {
  const row = (<usize>D) << 2;
  const from = scratch + FROM;
  const past = scratch + PAST;
  const m = scratch + 2 * ROW;
  const l = scratch + 3 * ROW;
  const s = scratch + 4 * ROW;
  const qt = scratch + 68 * ROW;
  const ot = qt + ROW * D;
  const lanes = (<usize>inPanels(n)) << 2;
  transpose(qt, q + <usize>first * row, row, n, D, scoreFactor(scale, D, softcap));
  for (let i: usize = 0; i < lanes; i += 16) {
    v128.store(m + i, f32x4.splat(-Infinity));
    v128.store(l + i, f32x4.splat(0));
  }
  memory.fill(ot, 0, ROW * D);
  const end = greatest(past, n);
  for (let j0 = least(from, n) & ~(BLOCK - 1); j0 < end; j0 += BLOCK) {
    for (let at: usize = 0; at < lanes; at += 32) {
      const ja = max(j0, least(from + at, 8));
      const jb = min(j0 + BLOCK, greatest(past + at, 8));
      if (ja >= jb) continue;
      const keys = jb - ja;
      const kv = <usize>ja * row;
      product(s + at, ROW, keys, 1, k + kv, row, 4, qt + at, ROW, D, false);
      if (softcap > 0) softcap8(s + at, keys, softcap * LOG2E, 0);
      if (bias) addBias(s + at, keys, bias + ((<usize>ja) << 2), first + <u32>(at >> 2), min(n - <u32>(at >> 2), 8), biasRows, T);
      if (ja < greatest(from + at, 8) || jb > least(past + at, 8)) {
        mask(s + at, keys, ja, from + at, past + at);
        mask(s + at + 16, keys, ja, from + at + 16, past + at + 16);
      }
      softmax(s + at, keys, m + at, l + at, ot + at, D);
      softmax(s + at + 16, keys, m + at + 16, l + at + 16, ot + at + 16, D);
      product(ot + at, ROW, D, 1, v + kv, 4, row, s + at, ROW, keys, true);
    }
  }
  for (let p: usize = 0; p < lanes; p += 16) {
    const vl = v128.load(l + p);
    const ln = f32x4.add(f32x4.mul(v128.load(m + p), f32x4.splat(LN2)), log4(vl));
    v128.store(m + p, ln);
    v128.store(l + p, v128.andnot(f32x4.div(f32x4.splat(1), vl), f32x4.eq(vl, f32x4.splat(0))));
  }
  memory.copy(lse + ((<usize>first) << 2), m, (<usize>n) << 2);
  let to = o + <usize>first * row;
  for (let i: usize = 0; i < <usize>n; i++) {
    const norm = load<f32>(l + (i << 2));
    let p = ot + (i << 2);
    for (let d: u32 = 0; d < D; d++) {
      store<f32>(to, load<f32>(p) * norm);
      to += 4;
      p += ROW;
    }
  }
}
