import { finish, NR } from "./gemm";
import { hsum, madd } from "./math";

// Products of few rows: each element of b is used so few times that reading it is all that counts, so b
// is read in place, once, in the order in which it lies in memory.

/** Columns whose sums wait in scratch. Narrower strips read b in shorter runs: 512 are a third slower. */
const STRIP: u32 = 4096;

/** sums (columns) += Σ a_r · b_r over 8 rows of b. */
function addRows8(sums: usize, a: usize, ak: usize, b: usize, bk: usize, columns: u32): void {
  const a0 = v128.load32_splat(a);
  const a1 = v128.load32_splat(a + ak);
  const a2 = v128.load32_splat(a + 2 * ak);
  const a3 = v128.load32_splat(a + 3 * ak);
  const a4 = v128.load32_splat(a + 4 * ak);
  const a5 = v128.load32_splat(a + 5 * ak);
  const a6 = v128.load32_splat(a + 6 * ak);
  const a7 = v128.load32_splat(a + 7 * ak);
  let j: u32 = 0;
  for (; j + 4 <= columns; j += 4) {
    // One pointer that walks down the rows: eight of them are spilled.
    let q = b;
    let s = madd(a0, v128.load(q), v128.load(sums));
    q += bk;
    let t = f32x4.mul(a1, v128.load(q));
    q += bk;
    s = madd(a2, v128.load(q), s);
    q += bk;
    t = madd(a3, v128.load(q), t);
    q += bk;
    s = madd(a4, v128.load(q), s);
    q += bk;
    t = madd(a5, v128.load(q), t);
    q += bk;
    s = madd(a6, v128.load(q), s);
    q += bk;
    t = madd(a7, v128.load(q), t);
    v128.store(sums, f32x4.add(s, t));
    sums += 16;
    b += 16;
  }
  // The last columns lane by lane, with the same operations.
  for (; j < columns; j++) {
    let q = b;
    let s = madd(a0, v128.load32_splat(q), v128.load32_splat(sums));
    q += bk;
    let t = f32x4.mul(a1, v128.load32_splat(q));
    q += bk;
    s = madd(a2, v128.load32_splat(q), s);
    q += bk;
    t = madd(a3, v128.load32_splat(q), t);
    q += bk;
    s = madd(a4, v128.load32_splat(q), s);
    q += bk;
    t = madd(a5, v128.load32_splat(q), t);
    q += bk;
    s = madd(a6, v128.load32_splat(q), s);
    q += bk;
    t = madd(a7, v128.load32_splat(q), t);
    store<f32>(sums, f32x4.extract_lane(f32x4.add(s, t), 0));
    sums += 4;
    b += 4;
  }
}

function addRow(sums: usize, a: usize, b: usize, columns: u32): void {
  const x = v128.load32_splat(a);
  let j: u32 = 0;
  for (; j + 4 <= columns; j += 4) {
    v128.store(sums, madd(x, v128.load(b), v128.load(sums)));
    sums += 16;
    b += 16;
  }
  for (; j < columns; j++) {
    store<f32>(sums, f32x4.extract_lane(madd(x, v128.load32_splat(b), v128.load32_splat(sums)), 0));
    sums += 4;
    b += 4;
  }
}

/** sums (M, columns), `bytes` a row, += few rows times K rows of b. */
export function addProducts(
  sums: usize, bytes: usize, a: usize, ar: usize, ak: usize, b: usize, bk: usize, M: u32, columns: u32, K: u32,
): void {
  let k: u32 = 0;
  for (; k + 8 <= K; k += 8) {
    for (let m: u32 = 0; m < M; m++) addRows8(sums + bytes * m, a + ar * m, ak, b, bk, columns);
    a += ak << 3;
    b += bk << 3;
  }
  for (; k < K; k++) {
    for (let m: u32 = 0; m < M; m++) addRow(sums + bytes * m, a + ar * m, b, columns);
    a += ak;
    b += bk;
  }
}

/** Few rows times columns [n0,n1) of a row-major b. */
export function sumOfRows(
  y: usize, ys: usize, a: usize, ar: usize, ak: usize, b: usize, bk: usize,
  M: u32, n0: u32, n1: u32, K: u32, scratch: usize,
): void {
  const bytes = <usize>STRIP << 2;
  for (let n = n0; n < n1; n += STRIP) {
    const columns = min(n1 - n, STRIP);
    memory.fill(scratch, 0, bytes * M);
    addProducts(scratch, bytes, a, ar, ak, b + (<usize>n << 2), bk, M, columns, K);
    finish(scratch, bytes, y + (<usize>n << 2), ys, M, columns, n, true, true);
  }
}

/** Σ p_i q_i; four sums, or the latency of one would be slower than memory. (rowDot costs 3 to 10 % more here.) */
function dot(p: usize, q: usize, K: u32): f32 {
  let s0 = f32x4.splat(0);
  let s1 = s0;
  let s2 = s0;
  let s3 = s0;
  let i: u32 = 0;
  for (; i + 16 <= K; i += 16) {
    s0 = madd(v128.load(p), v128.load(q), s0);
    s1 = madd(v128.load(p, 16), v128.load(q, 16), s1);
    s2 = madd(v128.load(p, 32), v128.load(q, 32), s2);
    s3 = madd(v128.load(p, 48), v128.load(q, 48), s3);
    p += 64;
    q += 64;
  }
  for (; i + 4 <= K; i += 4) {
    s0 = madd(v128.load(p), v128.load(q), s0);
    p += 16;
    q += 16;
  }
  let s = hsum(f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3)));
  for (; i < K; i++) {
    s += load<f32>(p) * load<f32>(q);
    p += 4;
    q += 4;
  }
  return s;
}

/** Few rows times columns [n0,n1) of a transposed b; the rows of a, too, lie whole. */
export function dotsOfRows(
  y: usize, ys: usize, a: usize, b: usize, M: u32, n0: u32, n1: u32, K: u32, scratch: usize,
): void {
  const bytes = <usize>STRIP << 2;
  const row = <usize>K << 2;
  for (let n = n0; n < n1; n += STRIP) {
    const columns = min(n1 - n, STRIP);
    for (let j: u32 = 0; j < columns; j++) {
      const pb = b + row * (n + j);
      const to = scratch + (<usize>j << 2);
      for (let m: u32 = 0; m < M; m++) store<f32>(to + bytes * m, dot(a + row * m, pb, K));
    }
    finish(scratch, bytes, y + (<usize>n << 2), ys, M, columns, n, true, true);
  }
}

/** Few rows times columns [n0,n1) of a packed b, a single stream; further rows find a panel in L2. */
export function sumOfPanels(
  y: usize, ys: usize, a: usize, panels: usize, M: u32, n0: u32, n1: u32, K: u32, scratch: usize,
): void {
  const row = <usize>K << 2;
  for (let n = n0; n < n1; n += NR) {
    for (let m: u32 = 0; m < M; m++) sumOfPanel(scratch + (m << 5), a + row * m, panels + row * n, K);
    finish(scratch, 32, y + (<usize>n << 2), ys, M, min(n1 - n, NR), n, true, true);
  }
}

/** 8 sums; 4 of K at a time, each into sums of its own, or latency would be slower than memory. */
function sumOfPanel(to: usize, a: usize, panel: usize, K: u32): void {
  let s0 = f32x4.splat(0);
  let s1 = s0;
  let s2 = s0;
  let s3 = s0;
  let s4 = s0;
  let s5 = s0;
  let s6 = s0;
  let s7 = s0;
  let k: u32 = 0;
  for (; k + 4 <= K; k += 4) {
    const a0 = v128.load32_splat(a);
    s0 = madd(a0, v128.load(panel), s0);
    s1 = madd(a0, v128.load(panel, 16), s1);
    const a1 = v128.load32_splat(a, 4);
    s2 = madd(a1, v128.load(panel, 32), s2);
    s3 = madd(a1, v128.load(panel, 48), s3);
    const a2 = v128.load32_splat(a, 8);
    s4 = madd(a2, v128.load(panel, 64), s4);
    s5 = madd(a2, v128.load(panel, 80), s5);
    const a3 = v128.load32_splat(a, 12);
    s6 = madd(a3, v128.load(panel, 96), s6);
    s7 = madd(a3, v128.load(panel, 112), s7);
    a += 16;
    panel += 128;
  }
  for (; k < K; k++) {
    const a0 = v128.load32_splat(a);
    s0 = madd(a0, v128.load(panel), s0);
    s1 = madd(a0, v128.load(panel, 16), s1);
    a += 4;
    panel += 32;
  }
  v128.store(to, f32x4.add(f32x4.add(s0, s2), f32x4.add(s4, s6)));
  v128.store(to, f32x4.add(f32x4.add(s1, s3), f32x4.add(s5, s7)), 16);
}
