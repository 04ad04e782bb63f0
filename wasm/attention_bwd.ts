import { put1 } from "./lib/accumulate";
import {
  addBias, BLOCK, EXP2, exp2, FROM, greatest, inPanels, LOG2E, least, mask, PAST, product, ROW, scaleOf,
  scoreFactor, softcap8, transpose, visible,
} from "./lib/flash";
import { rowDot } from "./lib/row";

// Gradients of attention.

export function attention_bwd_rows_f32(
  rows: usize, o: usize, lse: usize, dout: usize, dlse: usize,
  B: u32, H: u32, S: u32, E: u32, D: u32, present: u32, lo: u32, hi: u32,
): void {
  const end = min(hi * BLOCK, B * H * S);
  const row = (<usize>D) << 2;
  for (let i = lo * BLOCK; i < end; i++) {
    const to = rows + ((<usize>i * E) << 2);
    let delta: f32 = 0;
    if (dout) {
      const p = dout + <usize>i * row;
      memory.copy(to, p, row);
      delta = rowDot(p, o + <usize>i * row, D);
    } else memory.fill(to, 0, row);
    if (dlse) delta -= load<f32>(dlse + ((<usize>i) << 2));
    store<f32>(to + row, load<f32>(lse + ((<usize>i) << 2)));
    store<f32>(to + row, delta, 4);
  }
}

// The backward kernels' scratch, in rows of lanes: what a query sees, its lse (units of ln 2) and delta;
// P and dS of 64 keys; the derivatives of capped scores; transposes of q and do.
const LSE: usize = 2 * ROW;
const DELTA: usize = 3 * ROW;
const P: usize = 4 * ROW;
const DS: usize = 68 * ROW;
const SLOPE: usize = 132 * ROW;
const QT: usize = 196 * ROW;

/** Takes up queries [i0, i0 + n): q and rows point at the first. */
function enter(
  scratch: usize, q: usize, rows: usize, i0: u32, n: u32,
  S: u32, D: u32, T: u32, scale: f32, causal: u32, window: u32, softcap: f32,
): void {
  const row = (<usize>D) << 2;
  visible(scratch + FROM, scratch + PAST, i0, n, S, T, causal, window);
  transpose(scratch + QT, q, row, n, D, scoreFactor(scale, D, softcap));
  transpose(scratch + QT + ROW * D, rows, row + 8, n, D, 1);
  let at = scratch;
  let p = rows + row;
  const lanes = inPanels(n);
  for (let i: u32 = 0; i < lanes; i++) {
    const lse: f32 = i < n ? load<f32>(p) : 0;
    // A row that saw nothing: 2^(s − Inf) is 0.
    store<f32>(at + LSE, lse == -Infinity ? Infinity : lse * LOG2E);
    store<f32>(at + DELTA, i < n ? load<f32>(p, 4) : 0);
    at += 4;
    p += row + 8;
  }
}

/**
 * Of keys [j, j + n), the first that one of eight lanes sees, counted from j, and the first after the last;
 * `at` is the panel's offset.
 */
// @ts-ignore: decorator
@inline
function panelFrom(scratch: usize, at: usize, j: u32, n: u32): u32 {
  return min(max(least(scratch + FROM + at, 8), j) - j, n);
}

// @ts-ignore: decorator
@inline
function panelPast(scratch: usize, at: usize, j: u32, n: u32): u32 {
  return min(max(greatest(scratch + PAST + at, 8), j) - j, n);
}

/** P and dS of keys [j, j + n) for the queries taken up; k, v and bias point at key j. */
function differentiate(
  scratch: usize, k: usize, v: usize, j: u32, n: u32, bias: usize,
  first: u32, queries: u32, biasRows: u32, D: u32, T: u32, softcap: f32,
): void {
  const row = (<usize>D) << 2;
  const round = v128.load32_splat(EXP2);
  const c5 = v128.load32_splat(EXP2, 4);
  const c4 = v128.load32_splat(EXP2, 8);
  const c3 = v128.load32_splat(EXP2, 12);
  const c2 = v128.load32_splat(EXP2, 16);
  const c1 = v128.load32_splat(EXP2, 20);
  const one = v128.load32_splat(EXP2, 24);
  const low = v128.load32_splat(EXP2, 28);
  for (let i: u32 = 0; i < queries; i += 8) {
    const at = (<usize>i) << 2;
    const from = panelFrom(scratch, at, j, n);
    const past = max(panelPast(scratch, at, j, n), from);
    const keys = past - from;
    const p = scratch + at + P + <usize>from * ROW;
    const ds = scratch + at + DS + <usize>from * ROW;
    product(p, ROW, keys, 1, k + <usize>from * row, row, 4, scratch + QT + at, ROW, D, false);
    product(ds, ROW, keys, 1, v + <usize>from * row, row, 4, scratch + QT + ROW * D + at, ROW, D, false);
    if (softcap > 0) softcap8(p, keys, softcap * LOG2E, p - P + SLOPE);
    if (bias) addBias(p, keys, bias + ((<usize>from) << 2), first + i, min(queries - i, 8), biasRows, T);
    const partial = j + from < greatest(scratch + FROM + at, 8) || j + past > least(scratch + PAST + at, 8);
    for (let half: usize = 0; half < 32; half += 16) {
      const lane = scratch + at + half;
      if (partial) mask(p + half, keys, j + from, lane + FROM, lane + PAST);
      const lse = v128.load(lane + LSE);
      const delta = v128.load(lane + DELTA);
      const zero = f32x4.splat(0);
      let s = lane;
      for (let c: u32 = 0; c < n; c++) {
        if (c >= from && c < past) {
          const e = exp2(f32x4.sub(v128.load(s + P), lse), round, c5, c4, c3, c2, c1, one, low);
          v128.store(s + P, e);
          v128.store(s + DS, f32x4.mul(e, f32x4.sub(v128.load(s + DS), delta)));
        } else {
          v128.store(s + P, zero);
          v128.store(s + DS, zero);
        }
        s += ROW;
      }
    }
  }
}

/** dS of keys [j, j + n) by capped scores -> by what the cap was put on; what nobody sees stays 0. */
function chain(scratch: usize, j: u32, n: u32, queries: u32): void {
  for (let i: u32 = 0; i < queries; i += 8) {
    const at = (<usize>i) << 2;
    const past = panelPast(scratch, at, j, n);
    for (let c = panelFrom(scratch, at, j, n); c < past; c++) {
      const p = scratch + at + <usize>c * ROW;
      v128.store(p + DS, f32x4.mul(v128.load(p + DS), v128.load(p + SLOPE)));
      v128.store(p + DS, f32x4.mul(v128.load(p + DS, 16), v128.load(p + SLOPE, 16)), 16);
    }
  }
}

/** (rows, D) whose rows are `stride` bytes apart -> (rows, wide/4); columns past D are 0. */
function widen(to: usize, wide: usize, x: usize, stride: usize, rows: u32, D: u32): void {
  const row = (<usize>D) << 2;
  for (let i: u32 = 0; i < rows; i++) {
    // rows are short, and a call of memory.copy is not
    let p: usize = 0;
    for (; p + 16 <= row; p += 16) v128.store(to + p, v128.load(x + p));
    for (; p < row; p += 4) store<f32>(to + p, load<f32>(x + p));
    for (; p < wide; p += 4) store<f32>(to + p, 0);
    to += wide;
    x += stride;
  }
}

/** y (rows, D) = beta·y + factor·x (rows, wide/4). */
function narrow(y: usize, x: usize, wide: usize, rows: u32, D: u32, factor: f32, beta: f32): void {
  for (let i: u32 = 0; i < rows; i++) {
    const end = x + ((<usize>D) << 2);
    for (let p = x; p < end; p += 4) {
      put1(y, load<f32>(p) * factor, beta);
      y += 4;
    }
    x += wide;
  }
}

export function attention_bwd_f32(
  dq: usize, dk: usize, dv: usize, rows: usize, q: usize, k: usize, v: usize, bias: usize,
  B: u32, H: u32, S: u32, D: u32, G: u32, T: u32, E: u32, L: u32, present: u32,
  scale: f32, causal: u32, window: u32, softcap: f32, betaQ: f32, betaK: f32, betaV: f32,
  scratch: usize, lo: u32, hi: u32,
): void {
  const group = H / G;
  const row = (<usize>D) << 2;
  const wide = ((<usize>D + 7) & ~7) << 2;
  const dqt = scratch + QT + 2 * ROW * D;
  const qw = dqt + ROW * D;
  const dow = qw + wide * BLOCK;
  const dkw = dow + wide * BLOCK;
  const dvw = dkw + wide * T;
  const factor = scaleOf(scale, D);
  for (let t = lo; t < hi; t++) {
    const kv = <usize>t * T * row;
    memory.fill(dkw, 0, 2 * wide * T);
    for (let h: u32 = 0; h < group; h++) {
      const head = t * group + h;
      for (let i0: u32 = 0; i0 < S; i0 += BLOCK) {
        const n = min(S - i0, BLOCK);
        const first = head * S + i0;
        const pq = q + <usize>first * row;
        const pr = rows + <usize>first * (row + 8);
        enter(scratch, pq, pr, i0, n, S, D, T, scale, causal, window, softcap);
        widen(qw, wide, pq, row, n, D);
        widen(dow, wide, pr, row + 8, n, D);
        memory.fill(dqt, 0, ROW * D);
        const last = scratch + ((<usize>n - 1) << 2);
        const end = load<u32>(last + PAST);
        let j = load<u32>(scratch + FROM);
        while (j < end) {
          const keys = min((j & ~(BLOCK - 1)) + BLOCK, end) - j;
          const pk = k + kv + <usize>j * row;
          const pb = bias ? bias + ((<usize>j) << 2) : 0;
          differentiate(scratch, pk, v + kv + <usize>j * row, j, keys, pb, first, n, L * S, D, T, softcap);
          if (softcap > 0) chain(scratch, j, keys, n);
          // Where the block is cut by what is seen, only the queries that see one of these keys.
          const cut = j < load<u32>(last + FROM) || j + keys > load<u32>(scratch + PAST);
          const step: u32 = cut ? 16 : BLOCK;
          for (let c: u32 = 0; c < keys; c += step) {
            const some = min(step, keys - c);
            let from: usize = 0;
            let past = (<usize>n) << 2;
            while (from < past && load<u32>(scratch + PAST + from) <= j + c) from += 4;
            while (from < past && load<u32>(scratch + FROM + past - 4) >= j + c + some) past -= 4;
            const to = <usize>(j + c) * wide;
            const p = scratch + <usize>c * ROW + from;
            const b = (from >> 2) * wide;
            const queries = <u32>((past - from) >> 2);
            product(dvw + to, wide, some, <u32>(wide >> 5), p + P, ROW, 4, dow + b, wide, queries, true);
            product(dkw + to, wide, some, <u32>(wide >> 5), p + DS, ROW, 4, qw + b, wide, queries, true);
          }
          for (let i: u32 = 0; i < n; i += 8) {
            const at = (<usize>i) << 2;
            const from = panelFrom(scratch, at, j, keys);
            const past = max(panelPast(scratch, at, j, keys), from);
            const ds = scratch + DS + at + <usize>from * ROW;
            product(dqt + at, ROW, D, 1, pk + <usize>from * row, 4, row, ds, ROW, past - from, true);
          }
          j += keys;
        }
        let to = dq + <usize>first * row;
        for (let i: usize = 0; i < <usize>n; i++) {
          let p = dqt + (i << 2);
          for (let d: u32 = 0; d < D; d++) {
            put1(to, load<f32>(p) * factor, betaQ);
            to += 4;
            p += ROW;
          }
        }
      }
    }
    narrow(dk + kv, dkw, wide, T, D, factor, betaK);
    narrow(dv + kv, dvw, wide, T, D, 1, betaV);
  }
}

export function attention_bwd_bias_f32(
  dbias: usize, rows: usize, q: usize, k: usize, v: usize, bias: usize,
  L: u32, S: u32, T: u32, B: u32, H: u32, E: u32, D: u32, G: u32,
  scale: f32, causal: u32, window: u32, softcap: f32, beta: f32,
  scratch: usize, lo: u32, hi: u32,
): void {
  const blocks = (S + BLOCK - 1) / BLOCK;
  const row = (<usize>D) << 2;
  const sum = scratch + QT + 2 * ROW * D;
  for (let t = lo; t < hi; t++) {
    const i0 = (t % blocks) * BLOCK;
    const n = min(S - i0, BLOCK);
    const at = (<usize>(t / blocks) * S + i0) * T << 2;
    visible(scratch + FROM, scratch + PAST, i0, n, S, T, causal, window);
    const from = load<u32>(scratch + FROM);
    const past = load<u32>(scratch + PAST + ((<usize>n - 1) << 2));
    for (let j: u32 = 0; j < T; j += BLOCK) {
      const keys = min(T - j, BLOCK);
      memory.fill(sum, 0, ROW * BLOCK);
      for (let head = t / blocks; head < B * H && j < past && j + keys > from; head += L) {
        const first = head * S + i0;
        const kv = (<usize>((head / H) * G + (head % H) / (H / G)) * T + j) * row;
        enter(scratch, q + <usize>first * row, rows + <usize>first * (row + 8), i0, n, S, D, T, scale, causal, window, softcap);
        differentiate(scratch, k + kv, v + kv, j, keys, bias + ((<usize>j) << 2), first, n, L * S, D, T, softcap);
        const end = ROW * keys;
        for (let p: usize = 0; p < end; p += 16) {
          v128.store(sum + p, f32x4.add(v128.load(sum + p), v128.load(scratch + DS + p)));
        }
      }
      for (let i: u32 = 0; i < n; i++) {
        let to = dbias + at + ((<usize>i * T + j) << 2);
        let p = sum + ((<usize>i) << 2);
        for (let c: u32 = 0; c < keys; c++) {
          put1(to, load<f32>(p), beta);
          to += 4;
          p += ROW;
        }
      }
    }
  }
}
