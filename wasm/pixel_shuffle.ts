import { put1, put4 } from "./lib/accumulate";
import { four } from "./lib/image";

// Pixels of f² channels side by side, and apart again. A tile is a row of the deep side in all f² channels,
// which are f rows of the wide one: one stretch of memory there.

export function pixel_shuffle_f32(
  y: usize, x: usize,
  B: u32, C: u32, P: u32, Q: u32, D: u32, H: u32, W: u32, factor: u32, beta: f32,
  lo: u32, hi: u32,
): void {
  const plane = (<usize>H * W) << 2;
  for (let t = lo; t < hi; t++) {
    let to = y + ((<usize>t * factor * Q) << 2);
    let from = x + ((<usize>((t / H) * factor * factor * H + (t % H)) * W) << 2);
    for (let r: u32 = 0; r < factor; r++) {
      if (factor == 2) zip(to, from, from + plane, W, beta);
      else
        for (let s: u32 = 0; s < factor; s++)
          spreadRow(to + ((<usize>s) << 2), from + <usize>s * plane, W, factor, beta);
      to += (<usize>Q) << 2;
      from += <usize>factor * plane;
    }
  }
}

/** The numbers of two rows in turn. */
function zip(to: usize, a: usize, b: usize, W: u32, beta: f32): void {
  let w: u32 = 0;
  for (; w + 4 <= W; w += 4) {
    const u = v128.load(a);
    const v = v128.load(b);
    put4(to, i8x16.shuffle(u, v, 0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23), beta);
    put4(to + 16, i8x16.shuffle(u, v, 8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31), beta);
    a += 16;
    b += 16;
    to += 32;
  }
  for (; w < W; w++) {
    put1(to, load<f32>(a), beta);
    put1(to + 4, load<f32>(b), beta);
    a += 4;
    b += 4;
    to += 8;
  }
}

function spreadRow(to: usize, from: usize, W: u32, factor: u32, beta: f32): void {
  const step = (<usize>factor) << 2;
  for (const end = from + ((<usize>W) << 2); from < end; from += 4) {
    put1(to, load<f32>(from), beta);
    to += step;
  }
}

export function pixel_unshuffle_f32(
  y: usize, x: usize,
  B: u32, D: u32, P: u32, Q: u32, C: u32, H: u32, W: u32, factor: u32, beta: f32,
  lo: u32, hi: u32,
): void {
  const plane = (<usize>P * Q) << 2;
  for (let t = lo; t < hi; t++) {
    let from = x + ((<usize>t * factor * W) << 2);
    let to = y + ((<usize>((t / P) * factor * factor * P + (t % P)) * Q) << 2);
    for (let r: u32 = 0; r < factor; r++) {
      for (let s: u32 = 0; s < factor; s++) {
        gatherRow(to, from + ((<usize>s) << 2), Q, factor, beta);
        to += plane;
      }
      from += (<usize>W) << 2;
    }
  }
}

function gatherRow(to: usize, from: usize, Q: u32, factor: u32, beta: f32): void {
  const step = (<usize>factor) << 2;
  let q: u32 = 0;
  if (factor <= 2) {
    for (; q + 4 <= Q; q += 4) {
      put4(to, four(from, factor), beta);
      from += step << 2;
      to += 16;
    }
  }
  for (; q < Q; q++) {
    put1(to, load<f32>(from), beta);
    from += step;
    to += 4;
  }
}
