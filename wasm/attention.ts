import { put1 } from "./lib/accumulate";
import {
  addBias, BLOCK, EXP2, exp2, FROM, firstKey, flash, greatest, LOG2E, least, mask, PAST, pastKey,
  product, ROW, transpose, visible,
} from "./lib/flash";
import { exp4, hsum, log4, madd } from "./lib/math";
import { rowDot, rowMax } from "./lib/row";

// Attention, its gradients, and attention over a cache. A tile of the forward is a block of 64 queries.

export function attention_f32(
  o: usize, lse: usize, q: usize, k: usize, v: usize, bias: usize,
  B: u32, H: u32, S: u32, D: u32, G: u32, T: u32, L: u32, present: u32,
  scale: f32, causal: u32, window: u32,
  scratch: usize, lo: u32, hi: u32,
): void {
  const blocks = (S + BLOCK - 1) / BLOCK;
  if (scale == 0) scale = <f32>1 / sqrt<f32>(<f32>max(D, 1));
  for (let t = lo; t < hi; t++) {
    const head = t / blocks;
    const i0 = (t % blocks) * BLOCK;
    const kv = (<usize>((head / H) * G + (head % H) / (H / G)) * T * D) << 2;
    visible(scratch + FROM, scratch + PAST, i0, S, T, causal, window);
    flash(scratch, o, lse, q, k + kv, v + kv, bias, head * S + i0, min(S - i0, BLOCK), D, T, L * S, scale);
  }
}

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
// P and dS of 64 keys; transposes of q and do.
const LSE: usize = 2 * ROW;
const DELTA: usize = 3 * ROW;
const P: usize = 4 * ROW;
const DS: usize = 68 * ROW;
const QT: usize = 132 * ROW;

/** Takes up queries [i0, i0 + n): q and rows point at the first. */
function enter(
  scratch: usize, q: usize, rows: usize, i0: u32, n: u32,
  S: u32, D: u32, T: u32, scale: f32, causal: u32, window: u32,
): void {
  const row = (<usize>D) << 2;
  visible(scratch + FROM, scratch + PAST, i0, S, T, causal, window);
  transpose(scratch + QT, q, row, n, D, scale * LOG2E);
  transpose(scratch + QT + ROW * D, rows, row + 8, n, D, 1);
  let at = scratch;
  let p = rows + row;
  for (let i: u32 = 0; i < BLOCK; i++) {
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
  first: u32, queries: u32, biasRows: u32, D: u32, T: u32,
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

/** (rows, D) whose rows are `stride` bytes apart -> (rows, wide/4); columns past D are 0. */
function widen(to: usize, wide: usize, x: usize, stride: usize, rows: u32, D: u32): void {
  const row = (<usize>D) << 2;
  for (let i: u32 = 0; i < rows; i++) {
    memory.copy(to, x, row);
    memory.fill(to + row, 0, wide - row);
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
  scale: f32, causal: u32, window: u32, betaQ: f32, betaK: f32, betaV: f32,
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
  if (scale == 0) scale = <f32>1 / sqrt<f32>(<f32>max(D, 1));
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
        enter(scratch, pq, pr, i0, n, S, D, T, scale, causal, window);
        widen(qw, wide, pq, row, n, D);
        widen(dow, wide, pr, row + 8, n, D);
        memory.fill(dqt, 0, ROW * D);
        const end = load<u32>(scratch + PAST, ROW - 4);
        let j = load<u32>(scratch + FROM);
        while (j < end) {
          const keys = min((j & ~(BLOCK - 1)) + BLOCK, end) - j;
          const pk = k + kv + <usize>j * row;
          const pb = bias ? bias + ((<usize>j) << 2) : 0;
          differentiate(scratch, pk, v + kv + <usize>j * row, j, keys, pb, first, n, L * S, D, T);
          // Where the block is cut by what is seen, only the queries that see one of these keys.
          const cut = j < load<u32>(scratch + FROM, ROW - 4) || j + keys > load<u32>(scratch + PAST);
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
            put1(to, load<f32>(p) * scale, betaQ);
            to += 4;
            p += ROW;
          }
        }
      }
    }
    narrow(dk + kv, dkw, wide, T, D, scale, betaK);
    narrow(dv + kv, dvw, wide, T, D, 1, betaV);
  }
}

export function attention_bwd_bias_f32(
  dbias: usize, rows: usize, q: usize, k: usize, v: usize, bias: usize,
  L: u32, S: u32, T: u32, B: u32, H: u32, E: u32, D: u32, G: u32,
  scale: f32, causal: u32, window: u32, beta: f32,
  scratch: usize, lo: u32, hi: u32,
): void {
  const blocks = (S + BLOCK - 1) / BLOCK;
  const row = (<usize>D) << 2;
  const sum = scratch + QT + 2 * ROW * D;
  if (scale == 0) scale = <f32>1 / sqrt<f32>(<f32>max(D, 1));
  for (let t = lo; t < hi; t++) {
    const i0 = (t % blocks) * BLOCK;
    const n = min(S - i0, BLOCK);
    const at = (<usize>(t / blocks) * S + i0) * T << 2;
    visible(scratch + FROM, scratch + PAST, i0, S, T, causal, window);
    const from = load<u32>(scratch + FROM);
    const past = load<u32>(scratch + PAST, ROW - 4);
    for (let j: u32 = 0; j < T; j += BLOCK) {
      const keys = min(T - j, BLOCK);
      memory.fill(sum, 0, ROW * BLOCK);
      for (let head = t / blocks; head < B * H && j < past && j + keys > from; head += L) {
        const first = head * S + i0;
        const kv = (<usize>((head / H) * G + (head % H) / (H / G)) * T + j) * row;
        enter(scratch, q + <usize>first * row, rows + <usize>first * (row + 8), i0, n, S, D, T, scale, causal, window);
        differentiate(scratch, k + kv, v + kv, j, keys, bias + ((<usize>j) << 2), first, n, L * S, D, T);
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

// Decoding streams K and V once: a tile is one head of k. With several queries a head, they are the lanes of
// flash. With few, lanes run along D, and each query takes its turn on CHUNK keys while they are near.
const CHUNK: u32 = 256;

/** The four sums over lanes. */
// @ts-ignore: decorator
@inline
function sums(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = f32x4.add(i8x16.shuffle(a, b, 0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23), i8x16.shuffle(a, b, 8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31));
  const cd = f32x4.add(i8x16.shuffle(c, d, 0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23), i8x16.shuffle(c, d, 8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31));
  return f32x4.add(i8x16.shuffle(ab, cd, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23), i8x16.shuffle(ab, cd, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31));
}

/** s (n) = scale·q·k_j + bias_j over rows j of k, -Inf up to the next multiple of four. */
function dots(s: usize, q: usize, k: usize, n: u32, D: u32, scale: f32, bias: usize): void {
  const row = (<usize>D) << 2;
  const whole = row & ~15;
  for (let j: u32 = 0; j < n; j += 4) {
    const left = n - j;
    let k0 = k;
    let k1 = k0 + (left > 1 ? row : 0);
    let k2 = k1 + (left > 2 ? row : 0);
    let k3 = k2 + (left > 3 ? row : 0);
    k = k3 + row;
    let c0 = f32x4.splat(0);
    let c1 = f32x4.splat(0);
    let c2 = f32x4.splat(0);
    let c3 = f32x4.splat(0);
    let p = q;
    const end = q + whole;
    for (; p < end; p += 16) {
      const v = v128.load(p);
      c0 = madd(v, v128.load(k0), c0);
      c1 = madd(v, v128.load(k1), c1);
      c2 = madd(v, v128.load(k2), c2);
      c3 = madd(v, v128.load(k3), c3);
      k0 += 16;
      k1 += 16;
      k2 += 16;
      k3 += 16;
    }
    let c = sums(c0, c1, c2, c3);
    for (; p < q + row; p += 4) {
      let v = v128.load32_splat(k0);
      v = v128.load32_lane(k1, v, 1);
      v = v128.load32_lane(k2, v, 2);
      v = v128.load32_lane(k3, v, 3);
      c = f32x4.add(c, f32x4.mul(v, v128.load32_splat(p)));
      k0 += 4;
      k1 += 4;
      k2 += 4;
      k3 += 4;
    }
    v128.store(s + ((<usize>j) << 2), f32x4.mul(c, f32x4.splat(scale)));
  }
  if (bias) {
    for (let j: usize = 0; j < (<usize>n) << 2; j += 4) store<f32>(s + j, load<f32>(s + j) + load<f32>(bias + j));
  }
  for (; n & 3; n++) store<f32>(s + ((<usize>n) << 2), -Infinity);
}

/** o (D) = down·o + Σ_j e_j·v_j over n rows of v. */
function weigh(o: usize, e: usize, v: usize, n: u32, D: u32, down: f32): void {
  const row = (<usize>D) << 2;
  const past = e + ((<usize>n) << 2);
  const vd = f32x4.splat(down);
  let d: u32 = 0;
  for (; d + 16 <= D; d += 16) {
    let a0 = f32x4.mul(vd, v128.load(o));
    let a1 = f32x4.mul(vd, v128.load(o, 16));
    let a2 = f32x4.mul(vd, v128.load(o, 32));
    let a3 = f32x4.mul(vd, v128.load(o, 48));
    let q = v;
    for (let p = e; p < past; p += 4) {
      const w = v128.load32_splat(p);
      a0 = madd(w, v128.load(q), a0);
      a1 = madd(w, v128.load(q, 16), a1);
      a2 = madd(w, v128.load(q, 32), a2);
      a3 = madd(w, v128.load(q, 48), a3);
      q += row;
    }
    v128.store(o, a0);
    v128.store(o, a1, 16);
    v128.store(o, a2, 32);
    v128.store(o, a3, 48);
    o += 64;
    v += 64;
  }
  for (; d < D; d++) {
    let a = down * load<f32>(o);
    let q = v;
    for (let p = e; p < past; p += 4) {
      a += load<f32>(p) * load<f32>(q);
      q += row;
    }
    store<f32>(o, a);
    o += 4;
    v += 4;
  }
}

/** Takes n keys into one row of o, whose maximum and sum so far are m and l. */
function stream(
  s: usize, m: usize, l: usize, o: usize, q: usize, k: usize, v: usize, bias: usize, n: u32, D: u32, scale: f32,
): void {
  dots(s, q, k, n, D, scale, bias);
  const padded = (n + 3) & ~3;
  const old = load<f32>(m);
  const top = max(old, rowMax(s, padded));
  // Nothing but -Inf so far: -Inf − 0, not -Inf − -Inf.
  const from = f32x4.splat(top == -Infinity ? 0 : top);
  let sum = f32x4.splat(0);
  for (let p = s; p < s + ((<usize>padded) << 2); p += 16) {
    const e = exp4(f32x4.sub(v128.load(p), from));
    v128.store(p, e);
    sum = f32x4.add(sum, e);
  }
  const down = f32x4.extract_lane(exp4(f32x4.sub(f32x4.splat(old), from)), 0);
  store<f32>(m, top);
  store<f32>(l, load<f32>(l) * down + hsum(sum));
  weigh(o, s, v, n, D, down);
}

/** Queries of a group from which lanes of queries pay, although some of eight stay empty. */
const LANES: u32 = 6;

export function attention_decode_f32(
  o: usize, lse: usize, q: usize, k: usize, v: usize, bias: usize, length: usize,
  B: u32, H: u32, S: u32, D: u32, G: u32, T: u32, L: u32, present: u32,
  scale: f32, window: u32,
  scratch: usize, lo: u32, hi: u32,
): void {
  const row = (<usize>D) << 2;
  // The queries of one head of k lie together.
  const queries = (H / G) * S;
  if (scale == 0) scale = <f32>1 / sqrt<f32>(<f32>max(D, 1));
  for (let t = lo; t < hi; t++) {
    const valid = <u32>min<i32>(max<i32>(load<i32>(length + ((<usize>(t / G)) << 2)), 0), <i32>T);
    const pk = k + <usize>t * T * row;
    const pv = v + <usize>t * T * row;
    for (let r: u32 = 0; r < queries; r += BLOCK) {
      const n = min(queries - r, BLOCK);
      const first = t * queries + r;
      for (let i: u32 = 0; i < BLOCK; i++) {
        const at = scratch + ((<usize>i) << 2);
        const query = (r + min(i, n - 1)) % S;
        store<u32>(at + FROM, firstKey(query, S, valid, window));
        store<u32>(at + PAST, pastKey(query, S, valid, 1, window));
      }
      if (n >= LANES) {
        flash(scratch, o, lse, q, pk, pv, bias, first, n, D, T, L * S, scale);
        continue;
      }
      memory.fill(o + <usize>first * row, 0, <usize>n * row);
      for (let i: usize = 0; i < <usize>n << 2; i += 4) {
        store<f32>(scratch + i + 2 * ROW, -Infinity);
        store<f32>(scratch + i + 3 * ROW, 0);
      }
      const end = greatest(scratch + PAST, n);
      for (let j = least(scratch + FROM, n); j < end; j += CHUNK) {
        for (let i: u32 = 0; i < n; i++) {
          const at = scratch + ((<usize>i) << 2);
          const ja = max(j, load<u32>(at + FROM));
          const jb = min(j + CHUNK, load<u32>(at + PAST));
          if (ja >= jb) continue;
          const pq = (<usize>(first + i)) * row;
          const kv = <usize>ja * row;
          const pb = bias ? bias + ((<usize>((first + i) % (L * S)) * T + ja) << 2) : 0;
          stream(scratch + 4 * ROW, at + 2 * ROW, at + 3 * ROW, o + pq, q + pq, pk + kv, pv + kv, pb, jb - ja, D, scale);
        }
      }
      for (let i: u32 = 0; i < n; i++) {
        const at = scratch + ((<usize>i) << 2);
        const sum = load<f32>(at + 3 * ROW);
        const norm = sum == 0 ? <f32>0 : <f32>1 / sum;
        const end = o + (<usize>(first + i) + 1) * row;
        for (let p = end - row; p < end; p += 4) store<f32>(p, load<f32>(p) * norm);
        const ln = f32x4.extract_lane(log4(f32x4.splat(sum)), 0);
        store<f32>(lse + ((<usize>(first + i)) << 2), load<f32>(at + 2 * ROW) + ln);
      }
    }
  }
}
