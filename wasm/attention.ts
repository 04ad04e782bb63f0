import { BLOCK, FROM, firstKey, flash, greatest, least, PAST, pastKey, ROW, scaleOf, visible } from "./lib/flash";
import { exp4, hsum, log4, madd, tanh4 } from "./lib/math";
import { rowMax } from "./lib/row";

// Attention, and attention over a cache. A tile is a block of 64 queries.

export function attention_f32(
  o: usize, lse: usize, q: usize, k: usize, v: usize, bias: usize,
  B: u32, H: u32, S: u32, D: u32, G: u32, T: u32, L: u32, present: u32,
  scale: f32, causal: u32, window: u32, softcap: f32,
  scratch: usize, lo: u32, hi: u32,
): void {
  const blocks = (S + BLOCK - 1) / BLOCK;
  for (let t = lo; t < hi; t++) {
    const head = t / blocks;
    const i0 = (t % blocks) * BLOCK;
    const kv = (<usize>((head / H) * G + (head % H) / (H / G)) * T * D) << 2;
    const n = min(S - i0, BLOCK);
    // all heads of one block see the same
    if (t == lo || blocks > 1) visible(scratch + FROM, scratch + PAST, i0, n, S, T, causal, window);
    flash(scratch, o, lse, q, k + kv, v + kv, bias, head * S + i0, n, D, T, L * S, scale, softcap);
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

/** s (n) = scale·q·k_j, capped at softcap unless that is 0, + bias_j over rows j of k, -Inf up to the next multiple of four. */
function dots(s: usize, q: usize, k: usize, n: u32, D: u32, scale: f32, softcap: f32, bias: usize): void {
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
  if (softcap > 0) {
    const most = f32x4.splat(softcap);
    const end = s + ((<usize>n) << 2);
    for (let p = s; p < end; p += 16) v128.store(p, f32x4.mul(tanh4(f32x4.div(v128.load(p), most)), most));
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
  s: usize, m: usize, l: usize, o: usize, q: usize, k: usize, v: usize, bias: usize, n: u32, D: u32, scale: f32, softcap: f32,
): void {
  dots(s, q, k, n, D, scale, softcap, bias);
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
  scale: f32, window: u32, softcap: f32,
  scratch: usize, lo: u32, hi: u32,
): void {
  const row = (<usize>D) << 2;
  // The queries of one head of k lie together.
  const queries = (H / G) * S;
  scale = scaleOf(scale, D);
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
        flash(scratch, o, lse, q, pk, pv, bias, first, n, D, T, L * S, scale, softcap);
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
          stream(scratch + 4 * ROW, at + 2 * ROW, at + 3 * ROW, o + pq, q + pq, pk + kv, pv + kv, pb, jb - ja, D, scale, softcap);
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
