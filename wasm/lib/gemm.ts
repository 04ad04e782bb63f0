import { activate } from "./activation";
import { relu4 } from "./math";
import { multiply, portion, SLIM, slim, TALL } from "./product";

// y = beta·y + act(alpha · a·b + bias) for one pair of matrices, in the manner of BLIS: tiles of a few
// rows × 8 columns, K in blocks of up to KC, b copied ("packed") into panels of 8 columns that fit in
// L1, a strip of NC columns of them in L2.
//
// a is read where it lies: a pointer per row costs what constant offsets into a packed panel cost, and
// packing it lost 5 to 40 % below 128 columns and gained nothing at 1000³. What must be packed is what
// goes from page to page along k: a wide transposed a or, when many rows use it, b.

// @ts-ignore: decorator
@inline
export const NR: u32 = 8;
/** Most of K that is summed before the sums go to y. 256 loses 4 %, 1024 gains 1 % for twice the scratch. */
const KC: u32 = 512;
/** Columns in a strip of packed b (128 KiB), and rows of a that are packed at a time. */
const NC: u32 = 64;
const MC: u32 = 480;
/** An operand with this many bytes or more from a k to the next is packed ... */
const PAGE: usize = 4096;
/** ... if more columns than this use a. With more rows than this b is packed in any case. */
const PACK_A: u32 = 16;
const PACK_B: u32 = 36;
/** Rows of a that are pages apart share their sets of L1: from this many columns on, packing gains 2–5 %. */
const PACK_A_ALIASED: u32 = 256;

// Scratch: a tile, a strip of b, a block of y, panels of a. kernels/matmul.ts knows its size.
/** A packed panel ends with a free cache line, or panels of 16 KiB would share the same sets of L1. */
const GAP: usize = 64;
const STRIP: usize = 256;
const ASIDE: usize = STRIP + <usize>NC * (<usize>KC * 4 + GAP / 8);
const ASIDE_ROWS: u32 = 32;
const PANELS_OF_A: usize = ASIDE + ((<usize>NC * ASIDE_ROWS) << 2);

// What happens to the sums.
let bias: usize = 0;
let biasStep: usize = 4;
let alpha: f32 = 1;
let act: u32 = 0;
let beta: f32 = 0;

/** Goes before every product. `step` is 4, or 0 for one bias for all columns. */
export function setEpilogue(b: usize, step: usize, scale: f32, activation: u32, old: f32): void {
  bias = b;
  biasStep = step;
  alpha = scale;
  act = activation;
  beta = old;
}

/** Two vectors a row, or one: what is the same for all of them is asked once. */
function finishVectors(
  tile: usize, ts: usize, y: usize, ys: usize, rows: u32, two: bool, pb: usize, relu: bool, old: f32,
): void {
  const va = f32x4.splat(alpha);
  const vo = f32x4.splat(old);
  let b0 = f32x4.splat(0);
  let b1 = b0;
  if (pb) {
    b0 = biasStep ? v128.load(pb) : v128.load32_splat(pb);
    b1 = biasStep && two ? v128.load(pb, 16) : b0;
  }
  for (let i: u32 = 0; i < rows; i++) {
    let v = f32x4.add(f32x4.mul(v128.load(tile), va), b0);
    if (relu) v = relu4(v);
    if (old != 0) v = f32x4.add(f32x4.mul(vo, v128.load(y)), v);
    v128.store(y, v);
    if (two) {
      v = f32x4.add(f32x4.mul(v128.load(tile, 16), va), b1);
      if (relu) v = relu4(v);
      if (old != 0) v = f32x4.add(f32x4.mul(vo, v128.load(y, 16)), v);
      v128.store(y, v, 16);
    }
    tile += ts;
    y += ys;
  }
}

/**
 * rows × columns of sums -> y, `ts` and `ys` bytes a row. The first block of K brings in beta, later
 * ones the sums so far, the last one bias and activation. `n` is the column, for the bias.
 */
export function finish(
  tile: usize, ts: usize, y: usize, ys: usize, rows: u32, columns: u32, n: u32, first: bool, last: bool,
): void {
  const pb = last && bias ? bias + biasStep * n : 0;
  const f: u32 = last ? act : 0;
  // what a later block of K brings is activated with the sums before it
  if ((columns == NR || columns == 4) && (first ? f <= 1 : f == 0 && !pb)) {
    finishVectors(tile, ts, y, ys, rows, columns == NR, pb, f == 1, first ? beta : 1);
    return;
  }
  for (let i: u32 = 0; i < rows; i++) {
    let t = tile;
    let q = y;
    let p = pb;
    let j: u32 = 0;
    for (; j + 4 <= columns; j += 4) {
      let v = f32x4.mul(v128.load(t), f32x4.splat(alpha));
      if (!first) v = f32x4.add(v, v128.load(q));
      if (p) v = f32x4.add(v, biasStep ? v128.load(p) : v128.load32_splat(p));
      if (last && act) v = activate(act, v);
      if (first && beta != 0) v = f32x4.add(f32x4.mul(f32x4.splat(beta), v128.load(q)), v);
      v128.store(q, v);
      t += 16;
      q += 16;
      if (p) p += biasStep << 2;
    }
    for (; j < columns; j++) {
      let v = load<f32>(t) * alpha;
      if (!first) v += load<f32>(q);
      if (p) v += load<f32>(p);
      if (last && act) v = f32x4.extract_lane(activate(act, f32x4.splat(v)), 0);
      if (first && beta != 0) v += beta * load<f32>(q);
      store<f32>(q, v);
      t += 4;
      q += 4;
      if (p) p += biasStep;
    }
    tile += ts;
    y += ys;
  }
}

/** Four lanes, `lane` bytes apart, over k, `step` bytes apart -> 16 bytes of each `ts` at `to`. */
function packQuad(to: usize, ts: usize, from: usize, lane: usize, step: usize, depth: u32): void {
  if (lane == 4) {
    for (let k: u32 = 0; k < depth; k++) {
      v128.store(to, v128.load(from));
      to += ts;
      from += step;
    }
    return;
  }
  const r2 = lane << 1;
  const r3 = r2 + lane;
  let k: u32 = 0;
  for (; k + 4 <= depth; k += 4) {
    const v0 = v128.load(from);
    const v1 = v128.load(from + lane);
    const v2 = v128.load(from + r2);
    const v3 = v128.load(from + r3);
    const t0 = i32x4.shuffle(v0, v1, 0, 4, 1, 5);
    const t1 = i32x4.shuffle(v2, v3, 0, 4, 1, 5);
    const t2 = i32x4.shuffle(v0, v1, 2, 6, 3, 7);
    const t3 = i32x4.shuffle(v2, v3, 2, 6, 3, 7);
    v128.store(to, i64x2.shuffle(t0, t1, 0, 2));
    v128.store(to + ts, i64x2.shuffle(t0, t1, 1, 3));
    to += ts << 1;
    v128.store(to, i64x2.shuffle(t2, t3, 0, 2));
    v128.store(to + ts, i64x2.shuffle(t2, t3, 1, 3));
    to += ts << 1;
    from += 16;
  }
  for (; k < depth; k++) {
    store<f32>(to, load<f32>(from));
    store<f32>(to, load<f32>(from + lane), 4);
    store<f32>(to, load<f32>(from + r2), 8);
    store<f32>(to, load<f32>(from + r3), 12);
    to += ts;
    from += 4;
  }
}

/** Packs `lanes` of at most `width` rows or columns as (depth, width); what is missing becomes 0. */
function packPanel(
  to: usize, width: u32, from: usize, lane: usize, step: usize, lanes: u32, depth: u32,
): void {
  const ts = <usize>width << 2;
  let j: u32 = 0;
  for (; j + 4 <= lanes; j += 4) packQuad(to + (j << 2), ts, from + lane * j, lane, step, depth);
  for (; j < width; j++) {
    let q = to + (j << 2);
    let p = from + lane * j;
    if (j < lanes) {
      for (let k: u32 = 0; k < depth; k++) {
        store<f32>(q, load<f32>(p));
        q += ts;
        p += step;
      }
    } else {
      for (let k: u32 = 0; k < depth; k++) {
        store<f32>(q, 0);
        q += ts;
      }
    }
  }
}

/** Any number of lanes as panels, `ps` bytes apart. Lanes that are neighbours are read in whole rows. */
export function packPanels(
  to: usize, ps: usize, width: u32, from: usize, lane: usize, step: usize, lanes: u32, depth: u32,
): void {
  const ts = <usize>width << 2;
  let j: u32 = 0;
  if (lane == 4) {
    j = lanes - (lanes % width);
    for (let k: u32 = 0; k < depth; k++) {
      let p = from + step * k;
      let q = to + ts * k;
      for (const end = p + (<usize>j << 2); p != end; p += ts) {
        v128.store(q, v128.load(p));
        if (width == NR) {
          v128.store(q, v128.load(p, 16), 16);
        } else {
          // TALL of them
          store<f32>(q, load<f32>(p, 16), 16);
          if (RELAXED) store<f32>(q, load<f32>(p, 20), 20);
        }
        q += ps;
      }
    }
  }
  for (; j < lanes; j += width) {
    packPanel(to + ps * (j / width), width, from + lane * j, lane, step, min(lanes - j, width), depth);
  }
}

/**
 * Rows [m0,m1) × columns [n0,n1) of y. Bytes from a row to the next: `ys` in y, `ar` in a; from a
 * column of b to the next `bn`; from a k to the next `ak`, `bk`. A `packed` b is (panels, K, 8) already.
 * How K is cut depends on K alone: the bits of y do not depend on the range.
 */
function blocked(
  y: usize, ys: usize, a: usize, ar: usize, ak: usize, b: usize, bn: usize, bk: usize, packed: bool,
  m0: u32, m1: u32, n0: u32, n1: u32, K: u32, scratch: usize,
): void {
  // Blocks of nearly the same size.
  const least = max((K + KC - 1) / KC, 1);
  const kc = max(((K + least - 1) / least + 3) & ~3, 1);
  const blocks = max((K + kc - 1) / kc, 1);
  const packA = ak >= PAGE ? n1 - n0 > PACK_A : ar % PAGE == 0 && n1 - n0 >= PACK_A_ALIASED;
  const inPlace = !packed && bn == 4 && bk < PAGE && m1 - m0 <= PACK_B;
  const most = packA ? MC : m1 - m0;
  for (let m = m0; m < m1; m += most) {
    const rows = min(m1 - m, most);
    for (let block: u32 = 0; block < blocks; block++) {
      const k = block * kc;
      const depth = min(kc, K - k);
      const first = block == 0;
      const last = block == blocks - 1;
      // Sums are what y holds, or is to hold more of: tiles of 8 columns need no `finish`.
      const raw = alpha == 1 && !(last && (bias || act)) && (!first || beta == 0 || beta == 1);
      const add = !first || beta == 1;
      // Where rows of a are, their strides, and from a panel to the next.
      let pa = a + ar * m + ak * k;
      let par = ar;
      let pak = ak;
      let pas: usize = 0;
      if (packA) {
        const from = pa;
        pa = scratch + PANELS_OF_A;
        par = 4;
        pak = TALL << 2;
        pas = pak * depth + GAP;
        packPanels(pa, pas, TALL, from, ar, ak, rows, depth);
      }
      for (let n = n0; n < n1; n += NC) {
        const columns = min(n1 - n, NC);
        // Where panels of b are, from a k to the next, and from a panel to the next.
        let pb = b + bn * n + bk * k;
        let pbk: usize = 32;
        let pbs: usize = 32;
        if (packed) {
          pb = b + ((<usize>n * K + <usize>k * NR) << 2);
          pbs = <usize>K << 5;
        } else if (inPlace && columns % NR == 0) {
          pbk = bk;
        } else {
          const from = pb;
          pb = scratch + STRIP;
          pbs = (<usize>depth << 5) + GAP;
          packPanels(pb, pbs, NR, from, bn, bk, columns, depth);
        }
        if (columns <= 4 && !packed && !packA) {
          let q = y + ys * m + (<usize>n << 2);
          const direct = raw && columns == 4;
          for (let i: u32 = 0; i < rows; i += SLIM) {
            const height = min(rows - i, SLIM);
            if (direct) slim(q, ys, pa + ar * i, par, pak, pb, pbk, depth, height, add);
            else {
              slim(scratch, 32, pa + ar * i, par, pak, pb, pbk, depth, height, false);
              finish(scratch, 32, q, ys, height, columns, n, first, last);
            }
            q += ys * SLIM;
          }
          continue;
        }
        for (let i: u32 = 0; i < rows; ) {
          const height = packA ? min(rows - i, TALL) : portion(rows - i);
          const qa = packA ? pa + pas * (i / TALL) : pa + ar * i;
          let qb = pb;
          let q = y + ys * (m + i) + (<usize>n << 2);
          for (let j: u32 = 0; j < columns; j += NR) {
            const width = min(columns - j, NR);
            if (raw && width == NR) {
              multiply(q, ys, qa, par, pak, qb, pbk, depth, height, add);
            } else {
              multiply(scratch, 32, qa, par, pak, qb, pbk, depth, height, false);
              finish(scratch, 32, q, ys, height, width, n + j, first, last);
            }
            qb += pbs;
            q += 32;
          }
          i += height;
        }
      }
    }
  }
}

/** The same for any epilogue. */
export function gemm(
  y: usize, ys: usize, a: usize, ar: usize, ak: usize, b: usize, bn: usize, bk: usize, packed: bool,
  m0: u32, m1: u32, n0: u32, n1: u32, K: u32, scratch: usize,
): void {
  if (act == 0 || beta == 0 || K <= KC) {
    blocked(y, ys, a, ar, ak, b, bn, bk, packed, m0, m1, n0, n1, K, scratch);
    return;
  }
  // y is needed for sums that are not activated yet: what beta wants of it is put aside.
  const aside = scratch + ASIDE;
  const scale = beta;
  beta = 0;
  for (let m = m0; m < m1; m += ASIDE_ROWS) {
    const rows = min(m1 - m, ASIDE_ROWS);
    for (let n = n0; n < n1; n += NC) {
      const columns = min(n1 - n, NC);
      const at = y + ys * m + (<usize>n << 2);
      for (let i: u32 = 0; i < rows; i++) {
        memory.copy(aside + ((<usize>i * NC) << 2), at + ys * i, <usize>columns << 2);
      }
      blocked(y, ys, a, ar, ak, b, bn, bk, packed, m, m + rows, n, n + columns, K, scratch);
      for (let i: u32 = 0; i < rows; i++) {
        for (let j: u32 = 0; j < columns; j++) {
          const p = at + ys * i + (<usize>j << 2);
          store<f32>(p, load<f32>(p) + scale * load<f32>(aside + ((<usize>i * NC + j) << 2)));
        }
      }
    }
  }
  beta = scale;
}
