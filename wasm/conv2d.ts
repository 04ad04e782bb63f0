import { put1, put4 } from "./lib/accumulate";
import { activate } from "./lib/activation";
import { four } from "./lib/image";
import { multiply, portion } from "./lib/product";

// Convolutions as matrix products whose second factor is never laid out in memory: a panel of 8 pixels
// holds for every (channel, tap) the 8 numbers that the pixels meet there, gathered from the image on
// the fly, padding as zeros. The rows of w are the other factor, read in place.

/** Pixels and rows of a tile, as in the contract. */
const PIXELS: u32 = 32;
const SLAB: u32 = 120;
const CHUNK: u32 = 512;

/** Coordinates of the pixels that a panel has too few of; with any tap added they stay outside. */
const NOWHERE: i32 = -0x40000000;

/**
 * Panel (I, T, 8): what pixels n … n+7 of a grid `columns` wide meet in I planes (H,W) at T taps.
 * Pixel (i,j) stands at (i·step, j·step), a tap (y,x) in `taps` shifts that.
 */
function gather(
  panel: usize, image: usize, I: u32, H: u32, W: u32, taps: usize, T: u32,
  n: u32, pixels: u32, columns: u32, step: u32,
): void {
  for (let half: u32 = 0; half < 2; half++) {
    const at = panel + ((<usize>half) << 4);
    // Coordinates of four pixels, through the panel's own memory.
    for (let lane: u32 = 0; lane < 4; lane++) {
      const inside = n < pixels;
      store<i32>(at + ((<usize>lane) << 2), inside ? (n / columns) * step : NOWHERE);
      store<i32>(at + ((<usize>lane) << 2), inside ? (n % columns) * step : NOWHERE, 32);
      n++;
    }
    const ys = v128.load(at);
    const xs = v128.load(at, 32);
    for (let t: u32 = 0; t < T; t++) {
      const tap = taps + ((<usize>t) << 3);
      const y = i32x4.add(ys, v128.load32_splat(tap));
      const x = i32x4.add(xs, v128.load32_splat(tap, 4));
      const valid = v128.and(i32x4.lt_u(y, i32x4.splat(H)), i32x4.lt_u(x, i32x4.splat(W)));
      const offset = i32x4.add(i32x4.mul(y, i32x4.splat(W)), x);
      gather4(at + ((<usize>t) << 5), (<usize>T) << 5, image, I, (<usize>H * W) << 2, offset, i32x4.bitmask(valid));
    }
  }
}

/** Four numbers from each of I planes, at `offset` where `valid` says so and 0 elsewhere. */
function gather4(to: usize, step: usize, image: usize, I: u32, plane: usize, offset: v128, valid: i32): void {
  const first = i32x4.extract_lane(offset, 0);
  const apart = i32x4.sub(offset, i32x4.splat(first));
  let from = image + ((<usize>first) << 2);
  if (valid == 15 && !v128.any_true(v128.xor(apart, i32x4(0, 1, 2, 3)))) {
    for (let i: u32 = 0; i < I; i++) {
      v128.store(to, four(from, 1));
      to += step;
      from += plane;
    }
  } else if (valid == 15 && !v128.any_true(v128.xor(apart, i32x4(0, 2, 4, 6)))) {
    for (let i: u32 = 0; i < I; i++) {
      v128.store(to, four(from, 2));
      to += step;
      from += plane;
    }
  } else {
    lane(to, step, image, I, plane, first, valid & 1);
    lane(to + 4, step, image, I, plane, i32x4.extract_lane(offset, 1), valid & 2);
    lane(to + 8, step, image, I, plane, i32x4.extract_lane(offset, 2), valid & 4);
    lane(to + 12, step, image, I, plane, i32x4.extract_lane(offset, 3), valid & 8);
  }
}

function lane(to: usize, step: usize, image: usize, I: u32, plane: usize, offset: i32, valid: i32): void {
  if (valid) {
    let from = image + ((<usize>offset) << 2);
    for (let i: u32 = 0; i < I; i++) {
      store<f32>(to, load<f32>(from));
      to += step;
      from += plane;
    }
  } else {
    for (let i: u32 = 0; i < I; i++) {
      store<f32>(to, 0);
      to += step;
    }
  }
}

/** 8 sums -> `count` numbers of y: bias, activation, beta. */
function finish(y: usize, count: u32, sums: usize, bias: f32, act: u32, beta: f32): void {
  const add = f32x4.splat(bias);
  const lo = activate(act, f32x4.add(v128.load(sums), add));
  const hi = activate(act, f32x4.add(v128.load(sums, 16), add));
  if (count == 8) {
    put4(y, lo, beta);
    put4(y + 16, hi, beta);
    return;
  }
  v128.store(sums, lo);
  v128.store(sums, hi, 16);
  for (let j: u32 = 0; j < count; j++) {
    put1(y, load<f32>(sums), beta);
    sums += 4;
    y += 4;
  }
}

export function conv2d_f32(
  y: usize, x: usize, w: usize, bias: usize,
  B: u32, O: u32, P: u32, Q: u32, C: u32, H: u32, W: u32, I: u32, R: u32, S: u32, present: u32,
  stride: u32, pad: u32, dilation: u32, groups: u32, act: u32, beta: f32,
  scratch: usize, lo: u32, hi: u32,
): void {
  const M = O / groups;
  const N = P * Q;
  const T = R * S;
  const K = I * T;
  const blocks = (N + PIXELS - 1) / PIXELS;
  const slabs = (M + SLAB - 1) / SLAB;
  const row = (<usize>K) << 2;
  const taps = scratch + 256;
  const panels = (taps + ((<usize>T) << 3) + 15) & ~15;
  for (let r: u32 = 0; r < R; r++) {
    for (let s: u32 = 0; s < S; s++) {
      const tap = taps + ((<usize>(r * S + s)) << 3);
      store<i32>(tap, r * dilation - pad);
      store<i32>(tap, s * dilation - pad, 4);
    }
  }
  let gathered: u32 = -1;
  for (let t = lo; t < hi; t++) {
    const block = t / slabs;
    const part = block / blocks;
    const from = (block % blocks) * PIXELS;
    const to = min(from + PIXELS, N);
    const image = x + ((<usize>part * I * H * W) << 2);
    if (block != gathered) {
      for (let n = from; n < to; n += 8) {
        gather(panels + ((<usize>(n - from) * K) << 2), image, I, H, W, taps, T, n, N, Q, stride);
      }
      gathered = block;
    }
    const first = (t % slabs) * SLAB;
    const last = min(first + SLAB, M);
    const o = (part % groups) * M;
    for (let m = first; m < last; ) {
      const rows = portion(last - m);
      for (let n = from; n < to; n += 8) {
        multiply(scratch, 32, w + <usize>(o + m) * row, row, 4, panels + ((<usize>(n - from) * K) << 2), 32, K, rows, false);
        for (let i: u32 = 0; i < rows; i++) {
          const add = bias ? load<f32>(bias + ((<usize>(o + m + i)) << 2)) : 0;
          const at = y + ((<usize>(part * M + m + i) * N + n) << 2);
          finish(at, min(to - n, 8), scratch + ((<usize>i) << 5), add, act, beta);
        }
      }
      m += rows;
    }
  }
}

/** Rows (rows, O, T) of the transposed w: w[o][m+row] at the taps that `picks` lists. */
function packRows(to: usize, w: usize, rows: u32, O: u32, I: u32, RS: u32, picks: usize, T: u32): void {
  for (let m: u32 = 0; m < rows; m++) {
    let from = w + ((<usize>m * RS) << 2);
    for (let o: u32 = 0; o < O; o++) {
      for (let t: u32 = 0; t < T; t++) {
        store<f32>(to, load<f32>(from + ((<usize>load<u32>(picks + ((<usize>t) << 2))) << 2)));
        to += 4;
      }
      from += (<usize>I * RS) << 2;
    }
  }
}

// A row h of y meets the taps r for which h + pad − r·dilation is a multiple of the stride; rows of one
// phase, h = phase + i·stride, meet the same ones, and meet them at consecutive rows of x.
export function conv_transpose2d_f32(
  y: usize, x: usize, w: usize, bias: usize,
  B: u32, C: u32, H: u32, W: u32, O: u32, P: u32, Q: u32, I: u32, R: u32, S: u32, present: u32,
  stride: u32, pad: u32, dilation: u32, groups: u32, output_pad_h: u32, output_pad_w: u32, act: u32, beta: f32,
  scratch: usize, lo: u32, hi: u32,
): void {
  const D = O / groups;
  const phasesH = min(stride, H);
  const phasesW = min(stride, W);
  const phases = phasesH * phasesW;
  const blocks = (((H + stride - 1) / stride) * ((W + stride - 1) / stride) + PIXELS - 1) / PIXELS;
  const slabs = (I + SLAB - 1) / SLAB;
  const taps = scratch + 256;
  const picks = taps + ((<usize>R * S) << 3);
  const packed = (picks + ((<usize>R * S) << 2) + 15) & ~15;
  const panels = packed + ((<usize>min(SLAB, I) * D * R * S) << 2);
  let ready: u32 = -1;
  let T: u32 = 0;
  // Tiles that share their rows of w follow each other.
  for (let t = lo; t < hi; t++) {
    const block = t % blocks;
    const b = (t / blocks) % B;
    const shared = t / (blocks * B);
    const first = (shared % slabs) * SLAB;
    const last = min(first + SLAB, I);
    const top = (shared / slabs) % phases / phasesW;
    const left = (shared / slabs) % phases % phasesW;
    const g = shared / (slabs * phases);
    if (shared != ready) {
      T = pickTaps(taps, picks, R, S, stride, dilation, top + pad, left + pad);
      packRows(packed, w + (((<usize>g * D * I + first) * R * S) << 2), last - first, D, I, R * S, picks, T);
      ready = shared;
    }
    const width = (W - left + stride - 1) / stride;
    const N = (H - top + stride - 1) / stride * width;
    const from = block * PIXELS;
    const to = min(from + PIXELS, N);
    const K = D * T;
    const row = (<usize>K) << 2;
    const image = x + ((<usize>(b * groups + g) * D * P * Q) << 2);
    for (let n = from; n < to; n += 8) {
      gather(panels + <usize>(n - from) * row, image, D, P, Q, taps, T, n, N, width, 1);
    }
    for (let m = first; m < last; ) {
      const rows = portion(last - m);
      for (let n = from; n < to; n += 8) {
        multiply(scratch, 32, packed + <usize>(m - first) * row, row, 4, panels + <usize>(n - from) * row, 32, K, rows, false);
        for (let i: u32 = 0; i < rows; i++) {
          const c = g * I + m + i;
          const add = bias ? load<f32>(bias + ((<usize>c) << 2)) : 0;
          const plane = y + ((<usize>(b * C + c) * H * W) << 2);
          const sums = scratch + ((<usize>i) << 5);
          if (stride == 1) finish(plane + ((<usize>n) << 2), min(to - n, 8), sums, add, act, beta);
          else scatter(plane, W, top, left, stride, width, n, min(to - n, 8), sums, add, act, beta);
        }
      }
      m += rows;
    }
  }
}

/** The taps that a phase meets: their shifts in x, and their places in w. Returns how many. */
function pickTaps(taps: usize, picks: usize, R: u32, S: u32, stride: i32, dilation: u32, h: u32, w: u32): u32 {
  let T: u32 = 0;
  for (let r: u32 = 0; r < R; r++) {
    const y: i32 = h - r * dilation;
    if (y % stride != 0) continue;
    for (let s: u32 = 0; s < S; s++) {
      const x: i32 = w - s * dilation;
      if (x % stride != 0) continue;
      store<i32>(taps + ((<usize>T) << 3), y / stride);
      store<i32>(taps + ((<usize>T) << 3), x / stride, 4);
      store<u32>(picks + ((<usize>T) << 2), r * S + s);
      T++;
    }
  }
  return T;
}

/** `finish` for pixels n … n+count−1 of a phase, a run of one row at a time. */
function scatter(
  plane: usize, W: u32, top: u32, left: u32, stride: u32, width: u32, n: u32, count: u32,
  sums: usize, bias: f32, act: u32, beta: f32,
): void {
  const add = f32x4.splat(bias);
  v128.store(sums, activate(act, f32x4.add(v128.load(sums), add)));
  v128.store(sums, activate(act, f32x4.add(v128.load(sums, 16), add)), 16);
  for (let j: u32 = 0; j < count; j++) {
    const h = top + ((n + j) / width) * stride;
    const at = h * W + left + ((n + j) % width) * stride;
    put1(plane + ((<usize>at) << 2), load<f32>(sums + ((<usize>j) << 2)), beta);
  }
}

/**
 * Panel (pixels, 8): for pixels [k, k+count) of dy and columns [n, n+8) of w, as (channel, tap), the
 * number of the image that the two bring together. A column is a walk along rows of the image; four
 * are walked at once and transposed. `room` is 96 bytes.
 */
function gatherColumns(
  panel: usize, image: usize, H: u32, W: u32, Q: u32, R: u32, S: u32, N: u32,
  stride: u32, pad: u32, dilation: u32, n: u32, k: u32, count: u32, room: usize,
): void {
  // What a row outside of the image is read from.
  memory.fill(room, 0, 32);
  const table = room + 32;
  for (let half: u32 = 0; half < 2; half++) {
    // Pixels [qa, qb) of a row meet the image in all four columns.
    let qa: u32 = 0;
    let qb = Q;
    for (let lane: u32 = 0; lane < 4; lane++) {
      const column = n + half * 4 + lane;
      const y = ((column / S) % R) * dilation - pad;
      const x = (column % S) * dilation - pad;
      const at = table + ((<usize>lane) << 2);
      store<u32>(at, ((column / (R * S)) * H + y) * W + x);
      store<u32>(at, column < N ? y : NOWHERE, 16);
      store<u32>(at, x, 32);
      if (<i32>x < 0) qa = max(qa, (stride - 1 - x) / stride);
      qb = min(qb, max(<i32>(W + stride - 1 - x), 0) / stride);
    }
    const start = v128.load(table);
    const ys = v128.load(table, 16);
    const xs = v128.load(table, 32);
    let to = panel + ((<usize>half) << 4);
    let p = k / Q;
    let q = k % Q;
    for (let left = count; left > 0; ) {
      const end = min(q + left, Q);
      left -= end - q;
      const inside = i32x4.lt_u(i32x4.add(ys, i32x4.splat(p * stride)), i32x4.splat(H));
      const row = i32x4.add(start, i32x4.splat(p * stride * W));
      for (; q < min(qa, end); q++) {
        meet(to, image, row, xs, inside, q * stride, W);
        to += 32;
      }
      if (stride <= 2 && q + 4 <= min(qb, end)) {
        const at = i32x4.shl(i32x4.add(row, i32x4.splat(q * stride)), 2);
        const bits = i32x4.bitmask(inside);
        let p0 = bits & 1 ? image + i32x4.extract_lane(at, 0) : room;
        let p1 = bits & 2 ? image + i32x4.extract_lane(at, 1) : room;
        let p2 = bits & 4 ? image + i32x4.extract_lane(at, 2) : room;
        let p3 = bits & 8 ? image + i32x4.extract_lane(at, 3) : room;
        const ahead: usize = (<usize>stride) << 4;
        const d0 = bits & 1 ? ahead : 0;
        const d1 = bits & 2 ? ahead : 0;
        const d2 = bits & 4 ? ahead : 0;
        const d3 = bits & 8 ? ahead : 0;
        for (const stop = min(qb, end); q + 4 <= stop; q += 4) {
          const v0 = four(p0, stride);
          const v1 = four(p1, stride);
          const v2 = four(p2, stride);
          const v3 = four(p3, stride);
          const a = i8x16.shuffle(v0, v1, 0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
          const b = i8x16.shuffle(v2, v3, 0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
          const c = i8x16.shuffle(v0, v1, 8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
          const d = i8x16.shuffle(v2, v3, 8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
          v128.store(to, i8x16.shuffle(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23));
          v128.store(to, i8x16.shuffle(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31), 32);
          v128.store(to, i8x16.shuffle(c, d, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23), 64);
          v128.store(to, i8x16.shuffle(c, d, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31), 96);
          to += 128;
          p0 += d0;
          p1 += d1;
          p2 += d2;
          p3 += d3;
        }
      }
      for (; q < end; q++) {
        meet(to, image, row, xs, inside, q * stride, W);
        to += 32;
      }
      q = 0;
      p++;
    }
  }
}

/** One pixel of four columns, zeros where it meets the padding. */
function meet(to: usize, image: usize, row: v128, xs: v128, inside: v128, x: u32, W: u32): void {
  const at = i32x4.shl(i32x4.add(row, i32x4.splat(x)), 2);
  const bits = i32x4.bitmask(v128.and(inside, i32x4.lt_u(i32x4.add(xs, i32x4.splat(x)), i32x4.splat(W))));
  store<f32>(to, bits & 1 ? load<f32>(image + i32x4.extract_lane(at, 0)) : 0);
  store<f32>(to, bits & 2 ? load<f32>(image + i32x4.extract_lane(at, 1)) : 0, 4);
  store<f32>(to, bits & 4 ? load<f32>(image + i32x4.extract_lane(at, 2)) : 0, 8);
  store<f32>(to, bits & 8 ? load<f32>(image + i32x4.extract_lane(at, 3)) : 0, 12);
}

export function conv2d_bwd_w_f32(
  dw: usize, x: usize, dy: usize,
  O: u32, I: u32, R: u32, S: u32, B: u32, C: u32, H: u32, W: u32, P: u32, Q: u32,
  stride: u32, pad: u32, dilation: u32, groups: u32, kernel_h: u32, kernel_w: u32, beta: f32,
  scratch: usize, lo: u32, hi: u32,
): void {
  const M = O / groups;
  const N = I * R * S;
  const K = P * Q;
  const row = (<usize>K) << 2;
  const panels = (N + 7) / 8;
  const room = scratch + ((<usize>M) << 5);
  const panel = room + 96;
  for (let t = lo; t < hi; t++) {
    const g = t / panels;
    const n = (t % panels) * 8;
    memory.fill(scratch, 0, (<usize>M) << 5);
    for (let b: u32 = 0; b < B; b++) {
      const image = x + ((<usize>(b * groups + g) * I * H * W) << 2);
      const a = dy + <usize>(b * groups + g) * M * row;
      for (let k: u32 = 0; k < K; k += CHUNK) {
        const count = min(K - k, CHUNK);
        gatherColumns(panel, image, H, W, Q, R, S, N, stride, pad, dilation, n, k, count, room);
        for (let m: u32 = 0; m < M; ) {
          const rows = portion(M - m);
          multiply(scratch + ((<usize>m) << 5), 32, a + <usize>m * row + ((<usize>k) << 2), row, 4, panel, 32, count, rows, true);
          m += rows;
        }
      }
    }
    for (let m: u32 = 0; m < M; m++) {
      finish(dw + ((<usize>(g * M + m) * N + n) << 2), min(N - n, 8), scratch + ((<usize>m) << 5), 0, 0, beta);
    }
  }
}
