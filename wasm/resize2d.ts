import { clear, put1, put4 } from "./lib/accumulate";
import { addRow } from "./lib/image";

// Resizing of images. Coordinates along a row are worked out once a call and lie in scratch: byte offsets
// of the two neighbours and the weight of the second.

/** Where pixel i of `to` stands among `size`: numerator and denominator of its coordinate. */
// @ts-ignore: decorator
@inline
function numerator(i: u32, to: u32, size: u32, aligned: u32): u32 {
  return aligned ? i * (size - 1) : max((2 * i + 1) * size, to) - to;
}
// @ts-ignore: decorator
@inline
function denominator(to: u32, aligned: u32): u32 {
  return aligned ? max<u32>(to, 2) - 1 : 2 * to;
}

/** Table (Q, 3) of the columns. */
function columns(table: usize, Q: u32, W: u32, aligned: u32): void {
  const d = denominator(Q, aligned);
  for (let q: u32 = 0; q < Q; q++) {
    const n = numerator(q, Q, W, aligned);
    store<u32>(table, (n / d) << 2);
    store<u32>(table, min(n / d + 1, W - 1) << 2, 4);
    store<f32>(table, <f32>(n % d) / <f32>d, 8);
    table += 12;
  }
}

export function resize_nearest2d_f32(
  y: usize, x: usize,
  B: u32, C: u32, P: u32, Q: u32, H: u32, W: u32,
  height: u32, width: u32, beta: f32,
  scratch: usize, lo: u32, hi: u32,
): void {
  for (let q: u32 = 0; q < Q; q++) store<u32>(scratch + ((<usize>q) << 2), ((q * W) / Q) << 2);
  for (let t = lo; t < hi; t++) {
    const row = x + ((<usize>((t / P) * H + ((t % P) * H) / P) * W) << 2);
    let to = y + ((<usize>t * Q) << 2);
    let at = scratch;
    const end = at + ((<usize>Q) << 2);
    for (; at + 16 <= end; at += 16) {
      let v = v128.load32_zero(row + <usize>load<u32>(at));
      v = v128.load32_lane(row + <usize>load<u32>(at, 4), v, 1);
      v = v128.load32_lane(row + <usize>load<u32>(at, 8), v, 2);
      put4(to, v128.load32_lane(row + <usize>load<u32>(at, 12), v, 3), beta);
      to += 16;
    }
    for (; at < end; at += 4) {
      put1(to, load<f32>(row + <usize>load<u32>(at)), beta);
      to += 4;
    }
  }
}

export function resize_bilinear2d_f32(
  y: usize, x: usize,
  B: u32, C: u32, P: u32, Q: u32, H: u32, W: u32,
  height: u32, width: u32, align_corners: u32, beta: f32,
  scratch: usize, lo: u32, hi: u32,
): void {
  const sums = scratch + 12 * <usize>Q;
  const line = (<usize>W) << 2;
  const d = denominator(P, align_corners);
  columns(scratch, Q, W, align_corners);
  for (let t = lo; t < hi; t++) {
    const n = numerator(t % P, P, H, align_corners);
    const h = n / d;
    const b = <f32>(n % d) / <f32>d;
    const image = x + <usize>(t / P) * H * line;
    addRow(sums, image + <usize>h * line, W, 1 - b, true);
    addRow(sums, image + <usize>min(h + 1, H - 1) * line, W, b, false);
    let to = y + ((<usize>t * Q) << 2);
    for (let at = scratch; at < sums; at += 12) {
      const s = load<f32>(at, 8);
      const v =
        (<f32>1 - s) * load<f32>(sums + <usize>load<u32>(at)) +
        s * load<f32>(sums + <usize>load<u32>(at, 4));
      put1(to, v, beta);
      to += 4;
    }
  }
}

// A tile of a gradient is a plane: a row of dy is folded into a row of sums, which is added where it
// belongs, from the first to the last.

export function resize_nearest2d_bwd_f32(
  dx: usize, dy: usize,
  B: u32, C: u32, H: u32, W: u32, P: u32, Q: u32,
  height: u32, width: u32, beta: f32,
  scratch: usize, lo: u32, hi: u32,
): void {
  const sums = scratch + 12 * <usize>Q;
  for (let q: u32 = 0; q < Q; q++) store<u32>(scratch + ((<usize>q) << 2), ((q * W) / Q) << 2);
  for (let t = lo; t < hi; t++) {
    const image = dx + ((<usize>t * H * W) << 2);
    clear(image, image + ((<usize>H * W) << 2), beta);
    let from = dy + ((<usize>t * P * Q) << 2);
    for (let p: u32 = 0; p < P; p++) {
      memory.fill(sums, 0, (<usize>W) << 2);
      for (let q: usize = 0; q < <usize>Q; q++) {
        const to = sums + <usize>load<u32>(scratch + (q << 2));
        store<f32>(to, load<f32>(to) + load<f32>(from));
        from += 4;
      }
      addRow(image + ((<usize>((p * H) / P) * W) << 2), sums, W, 1, false);
    }
  }
}

export function resize_bilinear2d_bwd_f32(
  dx: usize, dy: usize,
  B: u32, C: u32, H: u32, W: u32, P: u32, Q: u32,
  height: u32, width: u32, align_corners: u32, beta: f32,
  scratch: usize, lo: u32, hi: u32,
): void {
  const sums = scratch + 12 * <usize>Q;
  const line = (<usize>W) << 2;
  const d = denominator(P, align_corners);
  columns(scratch, Q, W, align_corners);
  for (let t = lo; t < hi; t++) {
    const image = dx + <usize>t * H * line;
    clear(image, image + ((<usize>H * W) << 2), beta);
    let from = dy + ((<usize>t * P * Q) << 2);
    for (let p: u32 = 0; p < P; p++) {
      memory.fill(sums, 0, line);
      for (let at = scratch; at < scratch + 12 * <usize>Q; at += 12) {
        const v = load<f32>(from);
        const s = load<f32>(at, 8);
        const first = sums + <usize>load<u32>(at);
        store<f32>(first, load<f32>(first) + (<f32>1 - s) * v);
        const second = sums + <usize>load<u32>(at, 4);
        store<f32>(second, load<f32>(second) + s * v);
        from += 4;
      }
      const n = numerator(p, P, H, align_corners);
      const b = <f32>(n % d) / <f32>d;
      addRow(image + <usize>(n / d) * line, sums, W, 1 - b, false);
      addRow(image + <usize>min(n / d + 1, H - 1) * line, sums, W, b, false);
    }
  }
}
