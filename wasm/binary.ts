import { put, put1, put4 } from "./lib/accumulate";

// y[i] = a[i mod A] op b[i mod B] for tiles [lo, hi) of 1024 elements. The flat range is walked in
// runs within which neither operand wraps around, so that the inner loop is plain streams. Where an
// operand wraps around all the time its vectors are put together instead.

const TILE: u32 = 1024;
/** Operands shorter than this have too short runs. */
const SHORT: u32 = 32;

const ADD: i32 = 0;
const SUB: i32 = 1;
const MUL: i32 = 2;
const DIV: i32 = 3;

// @ts-ignore: decorator
@inline
function op4(op: i32, a: v128, b: v128): v128 {
  if (op == ADD) return f32x4.add(a, b);
  if (op == SUB) return f32x4.sub(a, b);
  if (op == MUL) return f32x4.mul(a, b);
  return f32x4.div(a, b);
}

// @ts-ignore: decorator
@inline
function op1(op: i32, a: f32, b: f32): f32 {
  if (op == ADD) return a + b;
  if (op == SUB) return a - b;
  if (op == MUL) return a * b;
  return a / b;
}

/** Elements k … k + 3 of the n at p, over and over. */
// @ts-ignore: decorator
@inline
function cycle(p: usize, k: u32, n: u32): v128 {
  if (k + 4 <= n) return v128.load(p + ((<usize>k) << 2));
  let v = v128.load32_splat(p + ((<usize>k) << 2));
  k = k + 1 < n ? k + 1 : 0;
  v = v128.load32_lane(p + ((<usize>k) << 2), v, 1);
  k = k + 1 < n ? k + 1 : 0;
  v = v128.load32_lane(p + ((<usize>k) << 2), v, 2);
  k = k + 1 < n ? k + 1 : 0;
  return v128.load32_lane(p + ((<usize>k) << 2), v, 3);
}

// @ts-ignore: decorator
@inline
function runShort(op: i32, y: usize, a: usize, b: usize, A: u32, B: u32, beta: f32, from: u32, end: u32): void {
  let ia = from % A;
  let ib = from % B;
  let py = y + ((<usize>from) << 2);
  for (let i = from; i < end; i += 4) {
    const v = op4(op, cycle(a, ia, A), cycle(b, ib, B));
    if (end - i >= 4) put4(py, v, beta);
    else put(py, v, end - i, beta);
    py += 16;
    for (ia += 4; ia >= A; ia -= A);
    for (ib += 4; ib >= B; ib -= B);
  }
}

// @ts-ignore: decorator
@inline
function run(op: i32, y: usize, a: usize, b: usize, N: u32, A: u32, B: u32, beta: f32, lo: u32, hi: u32): void {
  let i = lo * TILE;
  const end = min(hi * TILE, N);
  if (i < end && ((A > 1 && A < SHORT) || (B > 1 && B < SHORT))) {
    runShort(op, y, a, b, A, B, beta, i, end);
    return;
  }
  while (i < end) {
    const ia = i % A;
    const ib = i % B;
    // A single number does not wrap: it is splatted.
    let n = end - i;
    if (A != 1) n = min(n, A - ia);
    if (B != 1) n = min(n, B - ib);
    let py = y + ((<usize>i) << 2);
    let pa = a + ((<usize>ia) << 2);
    let pb = b + ((<usize>ib) << 2);
    const stepA: usize = A == 1 ? 0 : 4;
    const stepB: usize = B == 1 ? 0 : 4;
    let k: u32 = 0;
    if (A != 1 && B != 1) {
      for (; k + 16 <= n; k += 16) {
        put4(py, op4(op, v128.load(pa), v128.load(pb)), beta);
        put4(py + 16, op4(op, v128.load(pa, 16), v128.load(pb, 16)), beta);
        put4(py + 32, op4(op, v128.load(pa, 32), v128.load(pb, 32)), beta);
        put4(py + 48, op4(op, v128.load(pa, 48), v128.load(pb, 48)), beta);
        py += 64;
        pa += 64;
        pb += 64;
      }
    }
    for (; k + 4 <= n; k += 4) {
      const va = A == 1 ? v128.load32_splat(pa) : v128.load(pa);
      const vb = B == 1 ? v128.load32_splat(pb) : v128.load(pb);
      put4(py, op4(op, va, vb), beta);
      py += 16;
      pa += stepA << 2;
      pb += stepB << 2;
    }
    for (; k < n; k++) {
      put1(py, op1(op, load<f32>(pa), load<f32>(pb)), beta);
      py += 4;
      pa += stepA;
      pb += stepB;
    }
    i += n;
  }
}

export function add_f32(y: usize, a: usize, b: usize, N: u32, A: u32, B: u32, beta: f32, lo: u32, hi: u32): void {
  run(ADD, y, a, b, N, A, B, beta, lo, hi);
}

export function sub_f32(y: usize, a: usize, b: usize, N: u32, A: u32, B: u32, beta: f32, lo: u32, hi: u32): void {
  run(SUB, y, a, b, N, A, B, beta, lo, hi);
}

export function mul_f32(y: usize, a: usize, b: usize, N: u32, A: u32, B: u32, beta: f32, lo: u32, hi: u32): void {
  run(MUL, y, a, b, N, A, B, beta, lo, hi);
}

export function div_f32(y: usize, a: usize, b: usize, N: u32, A: u32, B: u32, beta: f32, lo: u32, hi: u32): void {
  run(DIV, y, a, b, N, A, B, beta, lo, hi);
}
