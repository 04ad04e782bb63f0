import { put1 } from "./lib/accumulate";
import { cos4 } from "./lib/math";

// Cosine transform of rows: a table of cosines, factors and their products with a row, then a sum an element.

/** cos 2πj/4N for j < 4N, in whole vectors. */
function cosines(table: usize, N: u32): void {
  const step = f32x4.splat(<f32>1.5707964 / <f32>N);
  let j = f32x4(0, 1, 2, 3);
  for (let i: u32 = 0; i < N; i++) {
    v128.store(table, cos4(f32x4.mul(j, step)));
    j = f32x4.add(j, f32x4.splat(4));
    table += 16;
  }
}

export function dct_f32(
  y: usize, x: usize, R: u32, N: u32, kind: u32, ortho: u32, beta: f32, scratch: usize, lo: u32, hi: u32,
): void {
  const second = kind == 0;
  const table = scratch;
  const scaled = table + ((<usize>N) << 4);
  const period: u32 = 4 * N;
  cosines(table, N);
  const first: f32 = ortho ? sqrt<f32>(<f32>1 / <f32>N) : 1;
  const others: f32 = ortho ? sqrt<f32>(<f32>2 / <f32>N) : 1;
  for (let r = lo; r < hi; r++) {
    const o = ((<usize>r) * N) << 2;
    // III weighs what comes in, II what goes out.
    for (let n: u32 = 0; n < N; n++) {
      const at = (<usize>n) << 2;
      const f: f32 = second ? 1 : n == 0 ? first : others;
      store<f32>(scaled + at, f * load<f32>(x + o + at));
    }
    for (let k: u32 = 0; k < N; k++) {
      let turn: u32 = second ? k : 0;
      const by: u32 = second ? 2 * k : 2 * k + 1;
      let s: f32 = 0;
      for (let n: u32 = 0; n < N; n++) {
        s += load<f32>(scaled + ((<usize>n) << 2)) * load<f32>(table + ((<usize>turn) << 2));
        turn += by;
        if (turn >= period) turn -= period;
      }
      const f: f32 = !second ? 1 : k == 0 ? first : others;
      put1(y + o + ((<usize>k) << 2), f * s, beta);
    }
  }
}
