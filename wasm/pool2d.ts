import { clear, put, put4 } from "./lib/accumulate";
import { addRow, four, lay, SLACK, spread } from "./lib/image";

// Pooling. A forward tile lays the rows of the image that it needs out in scratch, padding filled in, so
// that windows ask no questions: four neighbours at a time. A tile of a gradient is a plane, to which the
// windows are added in their order.

/** Rows of a result that a tile computes, as in the contract. */
const ROWS: u32 = 32;

const RAMP = memory.data<i32>([0, 1, 2, 3]);

/** Four windows' numbers at one tap, those past the `last` being anything. */
// @ts-ignore: decorator
@inline
function at4(from: usize, stride: u32, last: u32): v128 {
  return stride <= 2 ? four(from, stride) : spread(from, (<usize>stride) << 2, last);
}

// @ts-ignore: decorator
@inline
function store4(to: usize, v: v128, left: u32): void {
  if (left >= 4) v128.store(to, v);
  else put(to, v, left, 0);
}

export function max_pool2d_f32(
  y: usize, index: usize, x: usize,
  B: u32, C: u32, P: u32, Q: u32, H: u32, W: u32,
  kernel_h: u32, kernel_w: u32, stride: u32, pad: u32,
  scratch: usize, lo: u32, hi: u32,
): void {
  const blocks = (P + ROWS - 1) / ROWS;
  const pitch = (Q - 1) * stride + kernel_w + SLACK;
  for (let t = lo; t < hi; t++) {
    const plane = t / blocks;
    const first = (t % blocks) * ROWS;
    const rows = min(P - first, ROWS);
    const image = x + ((<usize>plane * H * W) << 2);
    lay(scratch, (rows - 1) * stride + kernel_h, pitch, image, H, W, 1, first * stride - pad, -pad, -Infinity);
    for (let p: u32 = 0; p < rows; p++) {
      const row = scratch + ((<usize>p * stride * pitch) << 2);
      const line = (<usize>(plane * P + first + p) * Q) << 2;
      largest(
        y + line, index + line, row, pitch, Q, W, kernel_h, kernel_w, stride, pad,
        (first + p) * stride - pad,
      );
    }
  }
}

/** One row of windows, whose pixels start at row `top` of the image. */
function largest(
  y: usize, index: usize, row: usize, pitch: u32, Q: u32, W: u32,
  kernel_h: u32, kernel_w: u32, stride: u32, pad: u32, top: i32,
): void {
  const steps = i32x4.mul(v128.load(RAMP), i32x4.splat(stride));
  for (let q: u32 = 0; q < Q; q += 4) {
    const left = i32x4.add(i32x4.splat(q * stride - pad), steps);
    let best = f32x4.splat(-Infinity);
    // Where nothing is above that, the first pixel inside.
    let where = i32x4.add(i32x4.splat(max(top, 0) * W), i32x4.max_s(left, i32x4.splat(0)));
    const line = row + ((<usize>q * stride) << 2);
    for (let r: u32 = 0; r < kernel_h; r++) {
      let from = line + ((<usize>r * pitch) << 2);
      let place = i32x4.add(i32x4.splat((top + r) * W), left);
      for (let s: u32 = 0; s < kernel_w; s++) {
        const v = at4(from, stride, Q - 1 - q);
        const above = v128.or(f32x4.gt(v, best), f32x4.ne(v, v));
        const wins = v128.and(above, f32x4.eq(best, best));
        best = v128.bitselect(v, best, wins);
        where = v128.bitselect(place, where, wins);
        place = i32x4.add(place, i32x4.splat(1));
        from += 4;
      }
    }
    store4(y, best, Q - q);
    store4(index, where, Q - q);
    y += 16;
    index += 16;
  }
}

export function max_pool2d_bwd_f32(
  dx: usize, dy: usize, index: usize,
  B: u32, C: u32, H: u32, W: u32, P: u32, Q: u32,
  height: u32, width: u32, kernel_h: u32, kernel_w: u32, stride: u32, pad: u32, beta: f32,
  lo: u32, hi: u32,
): void {
  const pixels = H * W;
  const windows = (<usize>P * Q) << 2;
  for (let t = lo; t < hi; t++) {
    const plane = dx + ((<usize>t * pixels) << 2);
    clear(plane, plane + ((<usize>pixels) << 2), beta);
    const end = <usize>(t + 1) * windows;
    for (let i = <usize>t * windows; i < end; i += 4) {
      const at = load<u32>(index + i);
      if (at >= pixels) continue;
      const to = plane + ((<usize>at) << 2);
      store<f32>(to, load<f32>(to) + load<f32>(dy + i));
    }
  }
}

/** Pixels of window n that are inside. */
// @ts-ignore: decorator
@inline
function inside(n: u32, taps: u32, stride: u32, pad: u32, size: u32): u32 {
  const from: i32 = n * stride - pad;
  return min<i32>(from + taps, size) - max(from, 0);
}

export function avg_pool2d_f32(
  y: usize, x: usize,
  B: u32, C: u32, P: u32, Q: u32, H: u32, W: u32,
  kernel_h: u32, kernel_w: u32, stride: u32, pad: u32, count_include_pad: u32, beta: f32,
  scratch: usize, lo: u32, hi: u32,
): void {
  const blocks = (P + ROWS - 1) / ROWS;
  const pitch = (Q - 1) * stride + kernel_w + SLACK;
  for (let t = lo; t < hi; t++) {
    const plane = t / blocks;
    const first = (t % blocks) * ROWS;
    const rows = min(P - first, ROWS);
    const image = x + ((<usize>plane * H * W) << 2);
    lay(scratch, (rows - 1) * stride + kernel_h, pitch, image, H, W, 1, first * stride - pad, -pad, 0);
    for (let p = first; p < first + rows; p++) {
      const row = scratch + ((<usize>(p - first) * stride * pitch) << 2);
      const lines = count_include_pad ? kernel_h : inside(p, kernel_h, stride, pad, H);
      means(
        y + ((<usize>(plane * P + p) * Q) << 2), row, pitch, Q, W, kernel_h, kernel_w, stride, pad, lines,
        count_include_pad, beta,
      );
    }
  }
}

/** One row of windows, `lines` of whose rows count. */
function means(
  y: usize, row: usize, pitch: u32, Q: u32, W: u32,
  kernel_h: u32, kernel_w: u32, stride: u32, pad: u32, lines: u32, count_include_pad: u32, beta: f32,
): void {
  const steps = i32x4.mul(v128.load(RAMP), i32x4.splat(stride));
  for (let q: u32 = 0; q < Q; q += 4) {
    let columns = i32x4.splat(kernel_w);
    if (!count_include_pad) {
      const left = i32x4.add(i32x4.splat(q * stride - pad), steps);
      const right = i32x4.min_s(i32x4.add(left, columns), i32x4.splat(W));
      columns = i32x4.sub(right, i32x4.max_s(left, i32x4.splat(0)));
    }
    let sum = f32x4.splat(0);
    const line = row + ((<usize>q * stride) << 2);
    for (let r: u32 = 0; r < kernel_h; r++) {
      let from = line + ((<usize>r * pitch) << 2);
      for (let s: u32 = 0; s < kernel_w; s++) {
        sum = f32x4.add(sum, at4(from, stride, Q - 1 - q));
        from += 4;
      }
    }
    const mean = f32x4.div(sum, f32x4.convert_i32x4_s(i32x4.mul(columns, i32x4.splat(lines))));
    if (Q - q >= 4) put4(y, mean, beta);
    else put(y, mean, Q - q, beta);
    y += 16;
  }
}

export function avg_pool2d_bwd_f32(
  dx: usize, dy: usize,
  B: u32, C: u32, H: u32, W: u32, P: u32, Q: u32,
  height: u32, width: u32, kernel_h: u32, kernel_w: u32, stride: u32, pad: u32, count_include_pad: u32, beta: f32,
  scratch: usize, lo: u32, hi: u32,
): void {
  const line = (<usize>W) << 2;
  for (let t = lo; t < hi; t++) {
    const plane = dx + <usize>t * H * line;
    clear(plane, plane + <usize>H * line, beta);
    let from = dy + ((<usize>t * P * Q) << 2);
    for (let p: u32 = 0; p < P; p++) {
      // What each row of these windows gets.
      memory.fill(scratch, 0, line);
      const lines = inside(p, kernel_h, stride, pad, H);
      for (let q: u32 = 0; q < Q; q++) {
        const columns = inside(q, kernel_w, stride, pad, W);
        const share =
          load<f32>(from) / <f32>(count_include_pad ? kernel_h * kernel_w : lines * columns);
        let to = scratch + ((<usize>max<i32>(q * stride - pad, 0)) << 2);
        for (const end = to + ((<usize>columns) << 2); to < end; to += 4)
          store<f32>(to, load<f32>(to) + share);
        from += 4;
      }
      const top = <usize>max<i32>(p * stride - pad, 0);
      for (let h = top; h < top + lines; h++) addRow(plane + h * line, scratch, W, 1, false);
    }
  }
}
