import { put1, put4 } from "./lib/accumulate";
import { four, lay, SLACK, spread } from "./lib/image";
import { hsum } from "./lib/math";
import { madd } from "./lib/math";

// Depthwise convolutions. A tile lays the rows of the image that it needs out in scratch, with their
// padding (and for the transposed one with stride−1 zeros between neighbours), so that the sums over
// taps ask no more questions; these run along a row, four pixels at a time.

/** Rows of a result that a tile computes, as in the contract. */
const ROWS: u32 = 32;

/** The first `left` <= 4 numbers of v. */
// @ts-ignore: decorator
@inline
function put(y: usize, v: v128, left: u32, beta: f32, spill: usize): void {
  if (left >= 4) {
    put4(y, v, beta);
    return;
  }
  v128.store(spill, v);
  for (let j: u32 = 0; j < left; j++) {
    put1(y + ((<usize>j) << 2), load<f32>(spill + ((<usize>j) << 2)), beta);
  }
}

/**
 * y (rows,Q) = bias + the taps w (R,S), `turn` bytes apart (−4: from the last to the first), over the
 * rows laid out in `room`.
 */
function correlate(
  y: usize, rows: u32, Q: u32, room: usize, pitch: u32, w: usize, R: u32, S: u32, turn: isize,
  stride: u32, dilation: u32, bias: f32, beta: f32, spill: usize,
): void {
  const tap = turn < 0 ? w + ((<usize>(R * S - 1)) << 2) : w;
  const row = (<usize>pitch) << 2;
  const below = (<usize>Q) << 2;
  const is3x3 = R == 3 && S == 3 && stride == 1 && dilation == 1;
  // Whole vectors of pairs of rows by the fast way where there is one; what is left one by one.
  const whole = is3x3 ? Q & ~3 : 0;
  const paired = is3x3 ? rows & ~1 : 0;
  if (whole) pairs3x3(y, below, paired, whole, room, row, tap, turn, bias, beta);
  for (let p: u32 = 0; p < rows; p++) {
    const q = p < paired ? whole : 0;
    if (q < Q) sums(y, q, Q, room, row, tap, R, S, turn, stride, dilation, bias, beta, spill);
    y += below;
    room += <usize>stride * row;
  }
}

/** Pixels q … Q−1 of one row, for any kernel. */
function sums(
  y: usize, q: u32, Q: u32, room: usize, row: usize, tap: usize, R: u32, S: u32, turn: isize,
  stride: u32, dilation: u32, bias: f32, beta: f32, spill: usize,
): void {
  if (stride == 1) q = eights(1, y, q, Q, room, row, tap, R, S, turn, dilation, bias, beta);
  else if (stride == 2) q = eights(2, y, q, Q, room, row, tap, R, S, turn, dilation, bias, beta);
  for (; q < Q; q += 4) {
    let s = f32x4.splat(bias);
    let t = tap;
    const last = Q - 1 - q;
    for (let r: u32 = 0; r < R; r++) {
      let at = room + <usize>(r * dilation) * row + ((<usize>q * stride) << 2);
      for (let k: u32 = 0; k < S; k++) {
        s = madd(v128.load32_splat(t), stride <= 2 ? four(at, stride) : spread(at, (<usize>stride) << 2, last), s);
        at += (<usize>dilation) << 2;
        t += turn;
      }
    }
    put(y + ((<usize>q) << 2), s, Q - q, beta, spill);
  }
}

/** Eight pixels at a time share the taps and the loop around them. Returns the first pixel left. */
// @ts-ignore: decorator
@inline
function eights(
  stride: u32, y: usize, q: u32, Q: u32, room: usize, row: usize, tap: usize, R: u32, S: u32, turn: isize,
  dilation: u32, bias: f32, beta: f32,
): u32 {
  const next = (<usize>dilation) << 2;
  for (; q + 8 <= Q; q += 8) {
    let s0 = f32x4.splat(bias);
    let s1 = s0;
    let t = tap;
    let from = room + ((<usize>q * stride) << 2);
    for (let r: u32 = 0; r < R; r++) {
      let at = from;
      for (let k: u32 = 0; k < S; k++) {
        const w = v128.load32_splat(t);
        s0 = madd(w, four(at, stride), s0);
        s1 = madd(w, four(at + ((<usize>stride) << 4), stride), s1);
        at += next;
        t += turn;
      }
      from += <usize>dilation * row;
    }
    put4(y + ((<usize>q) << 2), s0, beta);
    put4(y + ((<usize>q) << 2) + 16, s1, beta);
  }
  return q;
}

/** `rows` (even) × `whole` (a multiple of 4) pixels of a 3×3 kernel: a row of the image serves two rows. */
function pairs3x3(
  y: usize, below: usize, rows: u32, whole: u32, room: usize, row: usize, tap: usize, turn: isize, bias: f32, beta: f32,
): void {
  const w0 = v128.load32_splat(tap);
  const w1 = v128.load32_splat(tap + turn);
  const w2 = v128.load32_splat(tap + 2 * turn);
  const w3 = v128.load32_splat(tap + 3 * turn);
  const w4 = v128.load32_splat(tap + 4 * turn);
  const w5 = v128.load32_splat(tap + 5 * turn);
  const w6 = v128.load32_splat(tap + 6 * turn);
  const w7 = v128.load32_splat(tap + 7 * turn);
  const w8 = v128.load32_splat(tap + 8 * turn);
  for (let p: u32 = 0; p < rows; p += 2) {
    const end = y + ((<usize>whole) << 2);
    let r0 = room;
    for (let to = y; to < end; to += 16) {
      const r1 = r0 + row;
      const r2 = r1 + row;
      const r3 = r2 + row;
      let a = madd(w0, v128.load(r0), f32x4.splat(bias));
      a = madd(w1, v128.load(r0, 4), a);
      a = madd(w2, v128.load(r0, 8), a);
      let v = v128.load(r1);
      let b = madd(w0, v, f32x4.splat(bias));
      a = madd(w3, v, a);
      v = v128.load(r1, 4);
      b = madd(w1, v, b);
      a = madd(w4, v, a);
      v = v128.load(r1, 8);
      b = madd(w2, v, b);
      a = madd(w5, v, a);
      v = v128.load(r2);
      b = madd(w3, v, b);
      a = madd(w6, v, a);
      v = v128.load(r2, 4);
      b = madd(w4, v, b);
      a = madd(w7, v, a);
      v = v128.load(r2, 8);
      b = madd(w5, v, b);
      a = madd(w8, v, a);
      put4(to, a, beta);
      b = madd(w6, v128.load(r3), b);
      b = madd(w7, v128.load(r3, 4), b);
      b = madd(w8, v128.load(r3, 8), b);
      put4(to + below, b, beta);
      r0 += 16;
    }
    y += 2 * below;
    room += 2 * row;
  }
}

export function depthwise_conv2d_f32(
  y: usize, x: usize, w: usize, bias: usize,
  B: u32, C: u32, P: u32, Q: u32, H: u32, W: u32, R: u32, S: u32, present: u32,
  stride: u32, pad: u32, dilation: u32, beta: f32,
  scratch: usize, lo: u32, hi: u32,
): void {
  const blocks = (P + ROWS - 1) / ROWS;
  const pitch = (Q - 1) * stride + (S - 1) * dilation + 1 + SLACK;
  const room = scratch + 16;
  for (let t = lo; t < hi; t++) {
    const plane = t / blocks;
    const c = plane % C;
    const p = (t % blocks) * ROWS;
    const rows = min(P - p, ROWS);
    const image = x + ((<usize>plane * H * W) << 2);
    lay(room, (rows - 1) * stride + (R - 1) * dilation + 1, pitch, image, H, W, 1, p * stride - pad, -pad, 0);
    correlate(
      y + ((<usize>(plane * P + p) * Q) << 2), rows, Q, room, pitch, w + ((<usize>c * R * S) << 2), R, S, 4,
      stride, dilation, bias ? load<f32>(bias + ((<usize>c) << 2)) : 0, beta, scratch,
    );
  }
}

export function depthwise_conv_transpose2d_f32(
  y: usize, x: usize, w: usize,
  B: u32, C: u32, H: u32, W: u32, P: u32, Q: u32, R: u32, S: u32,
  stride: u32, pad: u32, dilation: u32, output_pad_h: u32, output_pad_w: u32, beta: f32,
  scratch: usize, lo: u32, hi: u32,
): void {
  const blocks = (H + ROWS - 1) / ROWS;
  const pitch = W + (S - 1) * dilation + SLACK;
  const room = scratch + 16;
  for (let t = lo; t < hi; t++) {
    const plane = t / blocks;
    const h = (t % blocks) * ROWS;
    const rows = min(H - h, ROWS);
    const image = x + ((<usize>plane * P * Q) << 2);
    lay(
      room, rows + (R - 1) * dilation, pitch, image, P, Q, stride,
      h + pad - (R - 1) * dilation, pad - (S - 1) * dilation, 0,
    );
    correlate(
      y + ((<usize>(plane * H + h) * W) << 2), rows, W, room, pitch, w + ((<usize>(plane % C) * R * S) << 2), R, S, -4,
      1, dilation, 0, beta, scratch,
    );
  }
}

/** sums (4 lanes) of one tap += dy (rows,Q) · what it meets; three taps at a time share dy. */
function correlateRows(
  sums: usize, dy: usize, rows: u32, Q: u32, room: usize, row: usize, stride: u32, second: usize, third: usize,
): void {
  let s0 = v128.load(sums);
  let s1 = f32x4.splat(0);
  let s2 = f32x4.splat(0);
  if (second) s1 = v128.load(sums, 16);
  if (third) s2 = v128.load(sums, 32);
  const ahead: usize = (<usize>stride) << 2;
  for (let p: u32 = 0; p < rows; p++) {
    let at = room;
    let q: u32 = 0;
    if (stride <= 2) {
      for (; q + 4 <= Q; q += 4) {
        const d = v128.load(dy);
        s0 = madd(d, four(at, stride), s0);
        s1 = madd(d, four(at + second, stride), s1);
        s2 = madd(d, four(at + third, stride), s2);
        dy += 16;
        at += ahead << 2;
      }
    }
    for (; q < Q; q++) {
      const d = v128.load32_zero(dy);
      s0 = madd(d, v128.load32_zero(at), s0);
      s1 = madd(d, v128.load32_zero(at + second), s1);
      s2 = madd(d, v128.load32_zero(at + third), s2);
      dy += 4;
      at += ahead;
    }
    room += <usize>stride * row;
  }
  v128.store(sums, s0);
  if (second) v128.store(sums, s1, 16);
  if (third) v128.store(sums, s2, 32);
}

export function depthwise_conv2d_bwd_w_f32(
  dw: usize, x: usize, dy: usize,
  C: u32, R: u32, S: u32, B: u32, H: u32, W: u32, P: u32, Q: u32,
  stride: u32, pad: u32, dilation: u32, kernel_h: u32, kernel_w: u32, beta: f32,
  scratch: usize, lo: u32, hi: u32,
): void {
  const pitch = (Q - 1) * stride + (S - 1) * dilation + 1 + SLACK;
  const row = (<usize>pitch) << 2;
  const room = scratch + ((<usize>R * S) << 4);
  const apart: usize = (<usize>dilation) << 2;
  for (let c = lo; c < hi; c++) {
    memory.fill(scratch, 0, room - scratch);
    for (let b: u32 = 0; b < B; b++) {
      const plane = b * C + c;
      const image = x + ((<usize>plane * H * W) << 2);
      for (let p: u32 = 0; p < P; p += ROWS) {
        const rows = min(P - p, ROWS);
        lay(room, (rows - 1) * stride + (R - 1) * dilation + 1, pitch, image, H, W, 1, p * stride - pad, -pad, 0);
        const d = dy + ((<usize>(plane * P + p) * Q) << 2);
        for (let r: u32 = 0; r < R; r++) {
          for (let s: u32 = 0; s < S; s += 3) {
            const sums = scratch + ((<usize>(r * S + s)) << 4);
            const at = room + <usize>(r * dilation) * row + <usize>s * apart;
            correlateRows(sums, d, rows, Q, at, row, stride, s + 1 < S ? apart : 0, s + 2 < S ? 2 * apart : 0);
          }
        }
      }
    }
    for (let k: u32 = 0; k < R * S; k++) {
      put1(dw + ((<usize>(c * R * S + k)) << 2), hsum(v128.load(scratch + ((<usize>k) << 4))), beta);
    }
  }
}
