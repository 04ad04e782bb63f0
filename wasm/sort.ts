import { rowAt } from "./lib/row";

// Order within rows; a tile is a row. An element becomes one word of 64 bits: a key that orders as the
// numbers do, above its index. No two words are equal, so there is one right order, the stable one.

/** -0 as 0; ascending, or descending; NaN last. */
// @ts-ignore: decorator
@inline
function keyOf(bits: u32, descending: bool): u32 {
  if ((bits & 0x7fffffff) > 0x7f800000) return 0xffffffff;
  if (bits == 0x80000000) bits = 0;
  const key = bits & 0x80000000 ? ~bits : bits | 0x80000000;
  return descending ? ~key : key;
}

// @ts-ignore: decorator
@inline
function word(key: u32, i: u32): u64 {
  return ((<u64>key) << 32) | <u64>i;
}

/** Up to so many elements are sorted by insertion. */
const FEW: u32 = 32;

function insertionSort(w: usize, C: u32): void {
  const past = w + ((<usize>C) << 3);
  for (let p = w + 8; p < past; p += 8) {
    const v = load<u64>(p);
    let q = p;
    for (; q > w && load<u64>(q - 8) > v; q -= 8) store<u64>(q, load<u64>(q - 8));
    store<u64>(q, v);
  }
}

/** Sorts the words of C elements at `w` by their keys, a byte at a time; where they end up. */
function radixSort(w: usize, C: u32, counts: usize): usize {
  const past = w + ((<usize>C) << 3);
  memory.fill(counts, 0, 4096);
  for (let p = w; p < past; p += 8) {
    const key = load<u32>(p, 4);
    for (let d: u32 = 0; d < 4; d++) {
      const q = counts + ((<usize>((d << 8) | ((key >> (d << 3)) & 255))) << 2);
      store<u32>(q, load<u32>(q) + 1);
    }
  }
  let from = w;
  let to = past;
  for (let d: u32 = 0; d < 4; d++) {
    const shift = d << 3;
    const table = counts + ((<usize>d) << 10);
    // A byte that all keys share sorts nothing.
    if (load<u32>(table + ((<usize>((load<u32>(from, 4) >> shift) & 255)) << 2)) == C) continue;
    let at = to;
    for (let q = table; q < table + 1024; q += 4) {
      const n = load<u32>(q);
      store<u32>(q, <u32>at);
      at += (<usize>n) << 3;
    }
    const end = from + ((<usize>C) << 3);
    for (let p = from; p < end; p += 8) {
      const v = load<u64>(p);
      const q = table + (<usize>((v >> (32 + shift)) & 255) << 2);
      const o = load<u32>(q);
      store<u64>(o, v);
      store<u32>(q, o + 8);
    }
    const swap = from;
    from = to;
    to = swap;
  }
  return from;
}

/** Where the words of a row lie sorted, in scratch of two lists of words and 1024 counts. */
function sortRow(px: usize, C: u32, descending: bool, scratch: usize): usize {
  const w = scratch + 4096;
  for (let i: u32 = 0; i < C; i++) {
    store<u64>(w + ((<usize>i) << 3), word(keyOf(load<u32>(px + ((<usize>i) << 2)), descending), i));
  }
  if (C > FEW) return radixSort(w, C, scratch);
  insertionSort(w, C);
  return w;
}

export function sort_f32(
  y: usize, index: usize, x: usize, R: u32, C: u32, descending: u32, scratch: usize, lo: u32, hi: u32,
): void {
  for (let r = lo; r < hi; r++) {
    const px = rowAt(x, r, C);
    const past = rowAt(y, r + 1, C);
    let pi = rowAt(index, r, C);
    let w = sortRow(px, C, descending != 0, scratch);
    for (let p = rowAt(y, r, C); p < past; p += 4) {
      const i = load<u32>(w);
      store<u32>(pi, i);
      // The element itself: its key has lost the sign of 0.
      store<u32>(p, load<u32>(px + ((<usize>i) << 2)));
      pi += 4;
      w += 8;
    }
  }
}

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
