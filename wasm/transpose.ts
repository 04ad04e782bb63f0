import { put1, put4 } from "./lib/accumulate";
import { store4x4 } from "./lib/transpose";

// y (B,N,M) = x (B,M,N) with its last two axes swapped. A tile is 16 rows of y, a cache line of columns
// of x. Blocks of 16×16 go through scratch, so that every line of x and of y is touched once: with a
// power of two as the row length, the lines of a block fall into one set of the cache.

const SIDE: u32 = 16;
const LINE: usize = 64;

export function transpose_f32(
  y: usize, x: usize, B: u32, N: u32, M: u32, beta: f32, scratch: usize, lo: u32, hi: u32,
): void {
  const bands = (N + SIDE - 1) / SIDE;
  const sx = (<usize>N) << 2;
  const sy = (<usize>M) << 2;
  for (let t = lo; t < hi; t++) {
    const from = (t % bands) * SIDE;
    const to = min(from + SIDE, N);
    const start = (<usize>(t / bands) * M * N) << 2;
    const px = x + start + ((<usize>from) << 2);
    const py = y + start + (<usize>from) * sy;
    let m: u32 = 0;
    if (to - from == SIDE) {
      for (; m + SIDE <= M; m += SIDE) {
        let p = px + (<usize>m) * sx;
        for (let q = scratch; q < scratch + LINE; q += 16) {
          const p1 = p + sx;
          const p2 = p1 + sx;
          const p3 = p2 + sx;
          store4x4(q, LINE, v128.load(p), v128.load(p1), v128.load(p2), v128.load(p3));
          store4x4(q + 4 * LINE, LINE, v128.load(p, 16), v128.load(p1, 16), v128.load(p2, 16), v128.load(p3, 16));
          store4x4(q + 8 * LINE, LINE, v128.load(p, 32), v128.load(p1, 32), v128.load(p2, 32), v128.load(p3, 32));
          store4x4(q + 12 * LINE, LINE, v128.load(p, 48), v128.load(p1, 48), v128.load(p2, 48), v128.load(p3, 48));
          p = p3 + sx;
        }
        let o = py + ((<usize>m) << 2);
        for (let q = scratch; q < scratch + <usize>SIDE * LINE; q += LINE) {
          put4(o, v128.load(q), beta);
          put4(o + 16, v128.load(q, 16), beta);
          put4(o + 32, v128.load(q, 32), beta);
          put4(o + 48, v128.load(q, 48), beta);
          o += sy;
        }
      }
    }
    // The edges, element by element: they are copies.
    for (let n: u32 = 0; n < to - from; n++) {
      let p = px + (<usize>m) * sx + ((<usize>n) << 2);
      let o = py + (<usize>n) * sy + ((<usize>m) << 2);
      for (let i = m; i < M; i++) {
        put1(o, load<f32>(p), beta);
        p += sx;
        o += 4;
      }
    }
  }
}
