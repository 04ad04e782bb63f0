import { exp4, log4 } from "./lib/math";
import { normal4, threefry4, x0, x1 } from "./lib/random";
import { rowAt } from "./lib/row";

// Stochastic pulse trains and the update they make. A train is one word a line: bit k says that the
// line fires in slot k. Row i and column j meet popcount(d_i & x_j) times.

const ROWS: u32 = 4;

function absMax(p: usize, n: u32): f32 {
  let m: f32 = 0;
  for (let i: u32 = 0; i < n; i++) {
    m = max(m, abs(load<f32>(p)));
    p += 4;
  }
  return m;
}

export function pulse_scales_f32(
  scales: usize, x: usize, d: usize, S: u32, I: u32, O: u32,
  lr: f32, granularity: f32, bl: u32, um: u32, ublm: u32, lo: u32, hi: u32,
): void {
  for (let s = lo; s < hi; s++) {
    const xm = absMax(rowAt(x, s, I), I);
    const dm = absMax(rowAt(d, s, O), O);
    const p = scales + ((<usize>s) << 4);
    const k = (lr * xm * dm) / granularity;
    if (!(k > 0)) {
      // Silence: no slots, no draws.
      v128.store(p, f32x4.splat(0));
      continue;
    }
    const most = <f32>bl;
    const slots = ublm ? min(ceil<f32>(k), most) : most;
    let a = sqrt<f32>(lr / (granularity * slots));
    let b = a;
    if (um) {
      const dv = k > most ? (dm * most) / k : dm;
      a *= sqrt<f32>(xm / dv);
      b *= sqrt<f32>(dv / xm);
    }
    store<f32>(p, b);
    store<f32>(p, a, 4);
    store<f32>(p, slots, 8);
    store<f32>(p, k, 12);
  }
}

export function pulse_trains_u32(
  words: usize, v: usize, scales: usize, S: u32, L: u32,
  side: u32, seed: u32, stream: u32, t: u32, lo: u32, hi: u32,
): void {
  for (let s = lo; s < hi; s++) {
    const pv = rowAt(v, s, L);
    const pw = rowAt(words, s, L);
    const ps = scales + ((<usize>s) << 4);
    const scale = f32x4.splat(load<f32>(ps + ((<usize>side) << 2)));
    const slots = <u32>load<f32>(ps, 8);
    const mask = i32x4.splat(slots >= 32 ? 0xffffffff : (1 << slots) - 1);
    const time = i32x4.splat((t * S + s) * 12);
    for (let i: u32 = 0; i < L; i += 4) {
      const left = L - i;
      const at = (<usize>i) << 2;
      let value = f32x4.splat(0);
      if (left >= 4) value = v128.load(pv + at);
      else {
        value = f32x4.replace_lane(value, 0, load<f32>(pv + at));
        if (left > 1) value = f32x4.replace_lane(value, 1, load<f32>(pv + at, 4));
        if (left > 2) value = f32x4.replace_lane(value, 2, load<f32>(pv + at, 8));
      }
      const p = f32x4.pmin(f32x4.splat(1), f32x4.mul(scale, f32x4.abs(value)));
      const q = i32x4.trunc_sat_f32x4_u(f32x4.mul(p, f32x4.splat(16777216)));
      // 32 Bernoulli bits at once: from the lowest digit of p up, a 1 ors in a random word, a 0 ands.
      let word = i32x4.splat(0);
      if (slots > 0 && v128.any_true(q)) {
        const line = i32x4.add(i32x4.splat(i), i32x4(0, 1, 2, 3));
        for (let k: u32 = 0; k < 24; k += 2) {
          threefry4(seed, stream, line, i32x4.add(time, i32x4.splat(k >> 1)));
          const b0 = i32x4.ne(v128.and(i32x4.shr_u(q, k), i32x4.splat(1)), i32x4.splat(0));
          word = v128.bitselect(v128.or(word, x0), v128.and(word, x0), b0);
          const b1 = i32x4.ne(v128.and(i32x4.shr_u(q, k + 1), i32x4.splat(1)), i32x4.splat(0));
          word = v128.bitselect(v128.or(word, x1), v128.and(word, x1), b1);
        }
        // p = 1 has no digit below the point.
        word = v128.or(word, i32x4.ge_u(q, i32x4.splat(16777216)));
        word = v128.and(word, mask);
      }
      if (left >= 4) v128.store(pw + at, word);
      else {
        store<u32>(pw + at, i32x4.extract_lane(word, 0));
        if (left > 1) store<u32>(pw + at, i32x4.extract_lane(word, 1), 4);
        if (left > 2) store<u32>(pw + at, i32x4.extract_lane(word, 2), 8);
      }
    }
  }
}

// @ts-ignore: decorator
@inline
function popcount(v: v128): v128 {
  return i32x4.extadd_pairwise_i16x8_u(i16x8.extadd_pairwise_i8x16_u(i8x16.popcnt(v)));
}

/** p[i] for each lane of i. */
// @ts-ignore: decorator
@inline
function pick4(p: usize, i: v128): v128 {
  let v = v128.load32_zero(p + ((<usize>i32x4.extract_lane(i, 0)) << 2));
  v = v128.load32_lane(p + ((<usize>i32x4.extract_lane(i, 1)) << 2), v, 1);
  v = v128.load32_lane(p + ((<usize>i32x4.extract_lane(i, 2)) << 2), v, 2);
  return v128.load32_lane(p + ((<usize>i32x4.extract_lane(i, 3)) << 2), v, 3);
}

/** Size of one pulse at v, without noise. `s` and `k` are the step and slope of the pulse's direction. */
// @ts-ignore: decorator
@inline
function pulseSize(
  model: u32, up: v128, v: v128, s: v128, k: v128, M: v128, m: v128,
  gUp: f32, gDown: f32, aUp: f32, aDown: f32, a: f32, b: f32, nodes: usize, K: u32,
): v128 {
  if (model == 0) return f32x4.add(s, f32x4.mul(k, v));
  const zero = f32x4.splat(0);
  const one = f32x4.splat(1);
  if (model == 4) {
    const last = K - 1;
    const part = f32x4.pmin(one, f32x4.pmax(zero, f32x4.div(f32x4.sub(v, m), f32x4.sub(M, m))));
    const x = f32x4.mul(f32x4.splat(<f32>last), part);
    const i = i32x4.min_u(i32x4.trunc_sat_f32x4_u(x), i32x4.splat(last));
    const j = i32x4.min_u(i32x4.add(i, i32x4.splat(1)), i32x4.splat(last));
    const row = v128.andnot(i32x4.splat(K), up);
    const from = pick4(nodes, i32x4.add(row, i));
    const rise = f32x4.sub(pick4(nodes, i32x4.add(row, j)), from);
    return f32x4.mul(s, f32x4.add(from, f32x4.mul(f32x4.sub(x, f32x4.convert_i32x4_u(i)), rise)));
  }
  const g = v128.bitselect(f32x4.splat(gUp), f32x4.splat(gDown), up);
  if (model == 1) {
    const u = f32x4.div(v128.bitselect(f32x4.sub(M, v), f32x4.sub(v, m), up), f32x4.sub(M, m));
    const p = exp4(f32x4.mul(g, log4(f32x4.pmax(zero, u))));
    return f32x4.mul(s, p);
  }
  if (model == 2) {
    const z = f32x4.add(f32x4.div(f32x4.mul(f32x4.splat(2 * a), v), f32x4.sub(M, m)), f32x4.splat(b));
    const A = v128.bitselect(f32x4.splat(aUp), f32x4.splat(aDown), up);
    const e = exp4(f32x4.mul(v128.bitselect(g, f32x4.neg(g), up), z));
    return f32x4.mul(s, f32x4.pmax(zero, f32x4.sub(one, f32x4.mul(A, e))));
  }
  const u = f32x4.pmax(zero, f32x4.sub(one, f32x4.div(v, v128.bitselect(M, m, up))));
  return f32x4.mul(s, f32x4.div(f32x4.sub(exp4(f32x4.mul(g, u)), one), f32x4.sub(exp4(g), one)));
}

export function pulse_update_f32(
  w: usize, xw: usize, dw: usize, x: usize, d: usize, dev: usize, nodes: usize,
  O: u32, I: u32, S: u32, K: u32, present: u32,
  model: u32, additive: u32, sigma: f32, sigmaAdd: f32, sigmaSlope: f32, gUp: f32, gDown: f32, aUp: f32, aDown: f32, a: f32, b: f32,
  seed: u32, stream: u32, t: u32, lo: u32, hi: u32,
): void {
  const end = min(hi * ROWS, O);
  const plane = (<usize>O * I) << 2;
  const zero = f32x4.splat(0);
  const one = f32x4.splat(1);
  for (let o = lo * ROWS; o < end; o++) {
    for (let i: u32 = 0; i < I; i += 4) {
      const whole = i + 4 <= I;
      const lanes: u32 = whole ? 1 : I - i;
      for (let l: u32 = 0; l < lanes; l++) {
        const e = o * I + i + l;
        const at = (<usize>e) << 2;
        const q = dev + at;
        const su = read(whole, q);
        const sd = read(whole, q + plane);
        const ku = read(whole, q + 2 * plane);
        const kd = read(whole, q + 3 * plane);
        const M = read(whole, q + 4 * plane);
        const m = read(whole, q + 5 * plane);
        const r = read(whole, q + 6 * plane);
        // The device moves v = w + r between its bounds.
        let v = f32x4.add(read(whole, w + at), r);
        let touched = false;
        for (let s: u32 = 0; s < S; s++) {
          const word = load<u32>(rowAt(dw, s, O) + ((<usize>o) << 2));
          if (word == 0) continue;
          const px = rowAt(xw, s, I) + ((<usize>(i + l)) << 2);
          const n = popcount(v128.and(read(whole, px), i32x4.splat(word)));
          if (!v128.any_true(n)) continue;
          touched = true;
          const error = load<f32>(rowAt(d, s, O) + ((<usize>o) << 2));
          const sign = f32x4.mul(read(whole, rowAt(x, s, I) + ((<usize>(i + l)) << 2)), f32x4.splat(error));
          const up = f32x4.lt(sign, zero);
          const step = v128.bitselect(su, sd, up);
          const slope = v128.bitselect(ku, f32x4.neg(kd), up);
          for (let k: u32 = 0; k < 32; k++) {
            const fires = i32x4.gt_s(n, i32x4.splat(k));
            if (!v128.any_true(fires)) break;
            let size = pulseSize(model, up, v, step, slope, M, m, gUp, gDown, aUp, aDown, a, b, nodes, K);
            if (sigma > 0) {
              const element = i32x4.add(i32x4.splat(e), i32x4(0, 1, 2, 3));
              threefry4(seed, stream, element, i32x4.splat((t * S + s) * 32 + k));
              normal4(x0, x1);
              const noise = f32x4.mul(f32x4.splat(sigma), x0);
              if (sigmaAdd + sigmaSlope > 0) {
                const part = f32x4.mul(f32x4.splat(sigmaSlope), f32x4.abs(v));
                const spread = f32x4.add(f32x4.add(f32x4.abs(size), f32x4.splat(sigmaAdd)), part);
                size = f32x4.add(size, f32x4.mul(spread, noise));
              } else {
                size = additive
                  ? f32x4.add(size, f32x4.mul(step, noise))
                  : f32x4.mul(size, f32x4.add(one, noise));
              }
            }
            size = v128.bitselect(size, f32x4.neg(size), up);
            const next = f32x4.pmin(M, f32x4.pmax(m, f32x4.add(v, size)));
            v = v128.bitselect(next, v, fires);
          }
        }
        if (!touched) continue;
        v = f32x4.sub(v, r);
        if (whole) v128.store(w + at, v);
        else store<f32>(w + at, f32x4.extract_lane(v, 0));
      }
    }
  }
}

// @ts-ignore: decorator
@inline
function read(whole: bool, p: usize): v128 {
  return whole ? v128.load(p) : v128.load32_splat(p);
}
