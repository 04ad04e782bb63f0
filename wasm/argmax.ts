import { take } from "./lib/accumulate";
import { ROWS, rowAt } from "./lib/row";

// The first of the largest of each row, or of the smallest: signed integers that order as the numbers do,
// the best and its place in each of four lanes.

const ZERO = memory.data<f32>([0]);
const MOST = memory.data<i32>([0x7fffffff]);

/** −0 as 0, NaN above all others. */
// @ts-ignore: decorator
@inline
function keys(v: v128, smallest: bool): v128 {
  const most = v128.load32_splat(MOST);
  if (smallest) v = f32x4.neg(v);
  const b = f32x4.add(v, v128.load32_splat(ZERO));
  const key = v128.xor(b, v128.and(i32x4.shr_s(b, 31), most));
  return v128.bitselect(key, most, f32x4.eq(v, v));
}

function first(p: usize, C: u32, smallest: bool): u32 {
  let best = i32x4.splat(0x80000000);
  let at = i32x4.splat(0);
  let here = i32x4(0, 1, 2, 3);
  const four = i32x4.splat(4);
  let i: u32 = 0;
  for (; i < C; i += 4) {
    let key: v128;
    if (i + 4 <= C) key = keys(v128.load(p), smallest);
    else key = keys(take(p, C - i, smallest ? Infinity : -Infinity), smallest);
    const better = i32x4.gt_s(key, best);
    best = v128.bitselect(key, best, better);
    at = v128.bitselect(here, at, better);
    here = i32x4.add(here, four);
    p += 16;
  }
  let key = i32x4.extract_lane(best, 0);
  let place = i32x4.extract_lane(at, 0);
  for (let lane = 1; lane < 4; lane++) {
    best = i8x16.shuffle(best, best, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3);
    at = i8x16.shuffle(at, at, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3);
    const k = i32x4.extract_lane(best, 0);
    const a = i32x4.extract_lane(at, 0);
    if (k > key || (k == key && a < place)) {
      key = k;
      place = a;
    }
  }
  return place;
}

// @ts-ignore: decorator
@inline
function rows(index: usize, x: usize, R: u32, C: u32, lo: u32, hi: u32, smallest: bool): void {
  const end = min(hi * ROWS, R);
  for (let r = lo * ROWS; r < end; r++) {
    store<u32>(index + ((<usize>r) << 2), first(rowAt(x, r, C), C, smallest));
  }
}

export function argmax_f32(index: usize, x: usize, R: u32, C: u32, lo: u32, hi: u32): void {
  rows(index, x, R, C, lo, hi, false);
}

export function argmin_f32(index: usize, x: usize, R: u32, C: u32, lo: u32, hi: u32): void {
  rows(index, x, R, C, lo, hi, true);
}
