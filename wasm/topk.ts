import { keyOf, word } from "./lib/order";
import { rowAt } from "./lib/row";

// The first of each row, kept in a heap of words of key and index; a tile is a row.

/** Puts v at the root of a heap of n words, the largest on top. */
function sift(heap: usize, n: u32, root: u32, v: u64): void {
  let i = root;
  for (;;) {
    let child: u32 = 2 * i + 1;
    if (child >= n) break;
    let p = heap + ((<usize>child) << 3);
    if (child + 1 < n && load<u64>(p, 8) > load<u64>(p)) {
      child++;
      p += 8;
    }
    if (load<u64>(p) <= v) break;
    store<u64>(heap + ((<usize>i) << 3), load<u64>(p));
    i = child;
  }
  store<u64>(heap + ((<usize>i) << 3), v);
}

/** NaN first, then the largest: small words are good ones. */
// @ts-ignore: decorator
@inline
function rank(px: usize, i: u32): u64 {
  return word(~keyOf(load<u32>(px + ((<usize>i) << 2)), false), i);
}

export function topk_f32(
  values: usize, index: usize, x: usize,
  R: u32, K: u32, C: u32, k: u32, scratch: usize, lo: u32, hi: u32,
): void {
  if (K == 0) return;
  for (let r = lo; r < hi; r++) {
    const px = rowAt(x, r, C);
    for (let i: u32 = 0; i < K; i++) store<u64>(scratch + ((<usize>i) << 3), rank(px, i));
    for (let i = K / 2; i-- > 0; ) sift(scratch, K, i, load<u64>(scratch + ((<usize>i) << 3)));
    // The root is the worst of the best; most vectors hold nothing above it.
    let worst = load<u64>(scratch);
    let least = v128.load32_splat(px + ((<usize>(<u32>worst)) << 2));
    for (let i = K; i < C; ) {
      if (i + 8 <= C) {
        const p = px + ((<usize>i) << 2);
        const low = v128.and(f32x4.le(v128.load(p), least), f32x4.le(v128.load(p, 16), least));
        if (i32x4.all_true(low)) {
          i += 8;
          continue;
        }
      }
      for (const stop = min(i + 8, C); i < stop; i++) {
        const v = rank(px, i);
        if (v >= worst) continue;
        sift(scratch, K, 0, v);
        worst = load<u64>(scratch);
      }
      least = v128.load32_splat(px + ((<usize>(<u32>worst)) << 2));
    }
    // The worst of the heap goes to its end, until it is in order.
    for (let n = K - 1; n > 0; n--) {
      const p = scratch + ((<usize>n) << 3);
      const last = load<u64>(p);
      store<u64>(p, load<u64>(scratch));
      sift(scratch, n, 0, last);
    }
    for (let j: u32 = 0; j < K; j++) {
      const i = load<u32>(scratch + ((<usize>j) << 3));
      store<u32>(rowAt(index, r, K) + ((<usize>j) << 2), i);
      store<u32>(rowAt(values, r, K) + ((<usize>j) << 2), load<u32>(px + ((<usize>i) << 2)));
    }
  }
}
