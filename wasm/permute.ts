import { put1, put4 } from "./lib/accumulate";
import { ROWS, rowAt } from "./lib/row";

// y (A,B,C,D) = x read with the strides SA … SD of its axes, in elements. A tile is ROWS rows of y.

export function permute_f32(
  y: usize, x: usize,
  A: u32, B: u32, C: u32, D: u32, SA: u32, SB: u32, SC: u32, SD: u32, perm: u32, beta: f32,
  lo: u32, hi: u32,
): void {
  const end = min(hi * ROWS, A * B * C);
  let r = lo * ROWS;
  if (r >= end) return;
  let c = r % C;
  let b = (r / C) % B;
  let a = r / C / B;
  const s = (<usize>SD) << 2;
  for (; r < end; r++) {
    let p = x + ((<usize>(a * SA + b * SB + c * SC)) << 2);
    let o = rowAt(y, r, D);
    let d: u32 = 0;
    if (SD == 1) {
      for (; d + 4 <= D; d += 4) {
        put4(o, v128.load(p), beta);
        p += 16;
        o += 16;
      }
    } else {
      for (; d + 4 <= D; d += 4) {
        let v = v128.load32_zero(p);
        v = v128.load32_lane(p + s, v, 1);
        v = v128.load32_lane(p + 2 * s, v, 2);
        put4(o, v128.load32_lane(p + 3 * s, v, 3), beta);
        p += 4 * s;
        o += 16;
      }
    }
    for (; d < D; d++) {
      put1(o, load<f32>(p), beta);
      p += s;
      o += 4;
    }
    if (++c == C) {
      c = 0;
      if (++b == B) {
        b = 0;
        a++;
      }
    }
  }
}
