import { madd } from "./math";

/** Four neighbours, or with stride 2 every other number: nothing past the last one wanted is read. */
// @ts-ignore: decorator
@inline
export function four(from: usize, stride: u32): v128 {
  const v = v128.load(from);
  if (stride == 1) return v;
  return i8x16.shuffle(v, v128.load(from, 12), 0, 1, 2, 3, 8, 9, 10, 11, 20, 21, 22, 23, 28, 29, 30, 31);
}

/** Numbers past the end of a row that are read along with it. */
export const SLACK: u32 = 8;

/**
 * Number (i,j) of (rows,pitch) is that of the image (H,W) at ((y0+i)/step, (x0+j)/step), or `empty` where
 * that is a fraction or outside.
 */
export function lay(
  to: usize, rows: u32, pitch: u32, image: usize, H: u32, W: u32, step: u32, y0: i32, x0: i32, empty: f32,
): void {
  const first: u32 = x0 > 0 ? <u32>(x0 - 1) / step + 1 : 0;
  const reach = <i32>pitch + x0;
  const end: u32 = reach > 0 ? min(W, <u32>(reach - 1) / step + 1) : 0;
  const count: u32 = end > first ? end - first : 0;
  const before: u32 = count ? first * step - x0 : 0;
  for (let i: u32 = 0; i < rows; i++) {
    const y = y0 + <i32>i;
    const h = <u32>y / step;
    const from = image + ((<usize>(h * W + first)) << 2);
    const next = to + ((<usize>pitch) << 2);
    if (y < 0 || h * step != <u32>y || h >= H) fill(to, next, empty);
    else if (step == 1) {
      const begin = to + ((<usize>before) << 2);
      fill(to, begin, empty);
      fill(copy(begin, from, count), next, empty);
    } else {
      fill(to, next, empty);
      for (let j: u32 = 0; j < count; j++) {
        store<f32>(to + ((<usize>(before + j * step)) << 2), load<f32>(from + ((<usize>j) << 2)));
      }
    }
    to = next;
  }
}

// @ts-ignore: decorator
@inline
function fill(from: usize, to: usize, v: f32): void {
  for (; from + 16 <= to; from += 16) v128.store(from, f32x4.splat(v));
  for (; from < to; from += 4) store<f32>(from, v);
}

/** Returns the end of what was written. */
// @ts-ignore: decorator
@inline
function copy(to: usize, from: usize, count: u32): usize {
  const end = to + ((<usize>count) << 2);
  for (; to + 16 <= end; to += 16) {
    v128.store(to, v128.load(from));
    from += 16;
  }
  for (; to < end; to += 4) {
    store<f32>(to, load<f32>(from));
    from += 4;
  }
  return end;
}

/** Four numbers `step` bytes apart; those past the `last` repeat it. */
export function spread(at: usize, step: usize, last: u32): v128 {
  let v = v128.load32_splat(at);
  v = v128.load32_lane(at + step * min(last, 1), v, 1);
  v = v128.load32_lane(at + step * min(last, 2), v, 2);
  return v128.load32_lane(at + step * min(last, 3), v, 3);
}

/** sums (n) = a · row where `first`, or += it. */
export function addRow(sums: usize, row: usize, n: u32, a: f32, first: boolean): void {
  const factor = f32x4.splat(a);
  const end = row + ((<usize>n) << 2);
  for (; row + 16 <= end; row += 16) {
    const v = v128.load(row);
    v128.store(sums, first ? f32x4.mul(factor, v) : madd(factor, v, v128.load(sums)));
    sums += 16;
  }
  for (; row < end; row += 4) {
    store<f32>(sums, first ? a * load<f32>(row) : load<f32>(sums) + a * load<f32>(row));
    sums += 4;
  }
}
