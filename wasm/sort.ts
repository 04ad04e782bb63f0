import { keyOf, word } from "./lib/order";
import { rowAt } from "./lib/row";

// Order within rows; a tile is a row. Words of key and index are sorted.

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
