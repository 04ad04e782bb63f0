import { put1, put4 } from "./lib/accumulate";
import { ROWS, rowAt } from "./lib/row";

// Running sums of rows, four at a time: sums within a vector in f32, what came before them in f64, so that
// the error does not grow along the row.

// @ts-ignore: decorator
@inline
function shifted(v: v128): v128 {
  return i8x16.shuffle(v, f32x4.splat(0), 16, 17, 18, 19, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11);
}

// @ts-ignore: decorator
@inline
function reversed(v: v128): v128 {
  return i8x16.shuffle(v, v, 12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
}

/** n elements at p, one at a time, `step` bytes apart; the sum that is left. */
function few(y: usize, x: usize, n: u32, step: isize, exclusive: bool, beta: f32, before: f64): f64 {
  for (; n > 0; n--) {
    const sum = before + <f64>load<f32>(x);
    put1(y, <f32>(exclusive ? before : sum), beta);
    before = sum;
    x += step;
    y += step;
  }
  return before;
}

export function cumsum_f32(
  y: usize, x: usize, R: u32, C: u32, exclusive: u32, reverse: u32, beta: f32, lo: u32, hi: u32,
): void {
  const end = min(hi * ROWS, R);
  const whole = C & ~3;
  for (let r = lo * ROWS; r < end; r++) {
    let px = rowAt(x, r, C);
    let py = rowAt(y, r, C);
    const last = (<usize>C << 2) - 4;
    const step: isize = reverse ? -16 : 16;
    let before: f64 = 0;
    if (reverse) {
      before = few(py + last, px + last, C - whole, -4, exclusive != 0, beta, before);
      px += (<usize>whole << 2) - 16;
      py += (<usize>whole << 2) - 16;
    }
    for (let i: u32 = 0; i < whole; i += 4) {
      let v = v128.load(px);
      if (reverse) v = reversed(v);
      v = f32x4.add(v, shifted(v));
      v = f32x4.add(v, shifted(shifted(v)));
      const total = <f64>f32x4.extract_lane(v, 3);
      if (exclusive) v = shifted(v);
      const b = f64x2.splat(before);
      const low = f32x4.demote_f64x2_zero(f64x2.add(f64x2.promote_low_f32x4(v), b));
      const high = f32x4.demote_f64x2_zero(
        f64x2.add(f64x2.promote_low_f32x4(i64x2.shuffle(v, v, 1, 0)), b),
      );
      let s = i64x2.shuffle(low, high, 0, 2);
      if (reverse) s = reversed(s);
      put4(py, s, beta);
      before += total;
      px += step;
      py += step;
    }
    if (!reverse) few(py, px, C - whole, 4, exclusive != 0, beta, before);
  }
}
