import { put, put4, take } from "./lib/accumulate";
import {
  cos4, exp4, gelu4, geluSlope4, log4, madd, relu4, sigmoid4, silu4, siluSlope4, sin4, softplus4, tanh4,
} from "./lib/math";

// y = f(x), and dx = dy · f'(·), over tiles [lo, hi) of 1024 elements.

const TILE: u32 = 1024;

const EXP: i32 = 0;
const LOG: i32 = 1;
const SIN: i32 = 2;
const COS: i32 = 3;
const SQRT: i32 = 4;
const SQUARE: i32 = 5;
const RECIPROCAL: i32 = 6;
const ABS: i32 = 7;
const SIGN: i32 = 8;
const TANH: i32 = 9;
const SIGMOID: i32 = 10;
const RELU: i32 = 11;
const SOFTPLUS: i32 = 12;
const GELU: i32 = 13;
const SILU: i32 = 14;
const TANH_BWD: i32 = 15;
const SIGMOID_BWD: i32 = 16;
const RELU_BWD: i32 = 17;
const GELU_BWD: i32 = 18;
const SILU_BWD: i32 = 19;

// @ts-ignore: decorator
@inline
function f(op: i32, x: v128): v128 {
  if (op == EXP) return exp4(x);
  if (op == LOG) return log4(x);
  if (op == SIN) return sin4(x);
  if (op == COS) return cos4(x);
  if (op == SQRT) return f32x4.sqrt(x);
  if (op == SQUARE) return f32x4.mul(x, x);
  if (op == RECIPROCAL) return f32x4.div(f32x4.splat(1), x);
  if (op == ABS) return f32x4.abs(x);
  if (op == SIGN) {
    // ±1 with the sign of x; x itself where it is 0 or NaN.
    const one = v128.or(f32x4.splat(1), v128.and(x, i32x4.splat(0x80000000)));
    const moved = v128.or(f32x4.lt(x, f32x4.splat(0)), f32x4.gt(x, f32x4.splat(0)));
    return v128.bitselect(one, x, moved);
  }
  if (op == TANH) return tanh4(x);
  if (op == SIGMOID) return sigmoid4(x);
  if (op == RELU) return relu4(x);
  if (op == SOFTPLUS) return softplus4(x);
  if (op == GELU) return gelu4(x);
  return silu4(x); // SILU
}

// dy times the derivative, from the output y (tanh, sigmoid, relu) or the input x (gelu, silu).
// @ts-ignore: decorator
@inline
function df(op: i32, dy: v128, v: v128): v128 {
  const one = f32x4.splat(1);
  if (op == TANH_BWD) return f32x4.mul(dy, f32x4.sub(one, f32x4.mul(v, v)));
  if (op == SIGMOID_BWD) return f32x4.mul(dy, f32x4.mul(v, f32x4.sub(one, v)));
  if (op == RELU_BWD) return v128.and(dy, f32x4.gt(v, f32x4.splat(0)));
  return f32x4.mul(dy, op == GELU_BWD ? geluSlope4(v) : siluSlope4(v));
}

/** A few operations, so that the loop around them counts: it does four vectors at a time. */
// @ts-ignore: decorator
@inline
function isCheap(op: i32): bool {
  return (op >= SQRT && op <= SIGN) || op == RELU || (op >= TANH_BWD && op <= RELU_BWD);
}

// @ts-ignore: decorator
@inline
function map(op: i32, y: usize, x: usize, N: u32, beta: f32, lo: u32, hi: u32): void {
  const end = min(hi * TILE, N);
  let i = lo * TILE;
  let p = (<usize>i) << 2;
  if (isCheap(op)) {
    for (; i + 16 <= end; i += 16) {
      const q = x + p;
      put4(y + p, f(op, v128.load(q)), beta);
      put4(y + p + 16, f(op, v128.load(q, 16)), beta);
      put4(y + p + 32, f(op, v128.load(q, 32)), beta);
      put4(y + p + 48, f(op, v128.load(q, 48)), beta);
      p += 64;
    }
  }
  for (; i + 4 <= end; i += 4) {
    put4(y + p, f(op, v128.load(x + p)), beta);
    p += 16;
  }
  if (i < end) put(y + p, f(op, take(x + p, end - i, 0)), end - i, beta);
}

// @ts-ignore: decorator
@inline
function mapBwd(op: i32, dx: usize, dy: usize, v: usize, N: u32, beta: f32, lo: u32, hi: u32): void {
  const end = min(hi * TILE, N);
  let i = lo * TILE;
  let p = (<usize>i) << 2;
  if (isCheap(op)) {
    for (; i + 16 <= end; i += 16) {
      const d = dy + p;
      const q = v + p;
      put4(dx + p, df(op, v128.load(d), v128.load(q)), beta);
      put4(dx + p + 16, df(op, v128.load(d, 16), v128.load(q, 16)), beta);
      put4(dx + p + 32, df(op, v128.load(d, 32), v128.load(q, 32)), beta);
      put4(dx + p + 48, df(op, v128.load(d, 48), v128.load(q, 48)), beta);
      p += 64;
    }
  }
  for (; i + 4 <= end; i += 4) {
    put4(dx + p, df(op, v128.load(dy + p), v128.load(v + p)), beta);
    p += 16;
  }
  if (i < end) put(dx + p, df(op, take(dy + p, end - i, 0), take(v + p, end - i, 0)), end - i, beta);
}

export function scale_f32(y: usize, x: usize, N: u32, by: f32, shift: f32, beta: f32, lo: u32, hi: u32): void {
  const end = min(hi * TILE, N);
  const a = f32x4.splat(by);
  const b = f32x4.splat(shift);
  let i = lo * TILE;
  let p = (<usize>i) << 2;
  for (; i + 16 <= end; i += 16) {
    const q = x + p;
    put4(y + p, madd(a, v128.load(q), b), beta);
    put4(y + p + 16, madd(a, v128.load(q, 16), b), beta);
    put4(y + p + 32, madd(a, v128.load(q, 32), b), beta);
    put4(y + p + 48, madd(a, v128.load(q, 48), b), beta);
    p += 64;
  }
  for (; i + 4 <= end; i += 4) {
    put4(y + p, madd(a, v128.load(x + p), b), beta);
    p += 16;
  }
  if (i < end) put(y + p, madd(a, take(x + p, end - i, 0), b), end - i, beta);
}

export function exp_f32(y: usize, x: usize, N: u32, beta: f32, lo: u32, hi: u32): void {
  map(EXP, y, x, N, beta, lo, hi);
}

export function log_f32(y: usize, x: usize, N: u32, beta: f32, lo: u32, hi: u32): void {
  map(LOG, y, x, N, beta, lo, hi);
}

export function sin_f32(y: usize, x: usize, N: u32, beta: f32, lo: u32, hi: u32): void {
  map(SIN, y, x, N, beta, lo, hi);
}

export function cos_f32(y: usize, x: usize, N: u32, beta: f32, lo: u32, hi: u32): void {
  map(COS, y, x, N, beta, lo, hi);
}

export function sqrt_f32(y: usize, x: usize, N: u32, beta: f32, lo: u32, hi: u32): void {
  map(SQRT, y, x, N, beta, lo, hi);
}

export function square_f32(y: usize, x: usize, N: u32, beta: f32, lo: u32, hi: u32): void {
  map(SQUARE, y, x, N, beta, lo, hi);
}

export function reciprocal_f32(y: usize, x: usize, N: u32, beta: f32, lo: u32, hi: u32): void {
  map(RECIPROCAL, y, x, N, beta, lo, hi);
}

export function abs_f32(y: usize, x: usize, N: u32, beta: f32, lo: u32, hi: u32): void {
  map(ABS, y, x, N, beta, lo, hi);
}

export function sign_f32(y: usize, x: usize, N: u32, beta: f32, lo: u32, hi: u32): void {
  map(SIGN, y, x, N, beta, lo, hi);
}

export function tanh_f32(y: usize, x: usize, N: u32, beta: f32, lo: u32, hi: u32): void {
  map(TANH, y, x, N, beta, lo, hi);
}

export function sigmoid_f32(y: usize, x: usize, N: u32, beta: f32, lo: u32, hi: u32): void {
  map(SIGMOID, y, x, N, beta, lo, hi);
}

export function relu_f32(y: usize, x: usize, N: u32, beta: f32, lo: u32, hi: u32): void {
  map(RELU, y, x, N, beta, lo, hi);
}

export function softplus_f32(y: usize, x: usize, N: u32, beta: f32, lo: u32, hi: u32): void {
  map(SOFTPLUS, y, x, N, beta, lo, hi);
}

export function gelu_f32(y: usize, x: usize, N: u32, beta: f32, lo: u32, hi: u32): void {
  map(GELU, y, x, N, beta, lo, hi);
}

export function silu_f32(y: usize, x: usize, N: u32, beta: f32, lo: u32, hi: u32): void {
  map(SILU, y, x, N, beta, lo, hi);
}

export function tanh_bwd_f32(dx: usize, dy: usize, y: usize, N: u32, beta: f32, lo: u32, hi: u32): void {
  mapBwd(TANH_BWD, dx, dy, y, N, beta, lo, hi);
}

export function sigmoid_bwd_f32(dx: usize, dy: usize, y: usize, N: u32, beta: f32, lo: u32, hi: u32): void {
  mapBwd(SIGMOID_BWD, dx, dy, y, N, beta, lo, hi);
}

export function relu_bwd_f32(dx: usize, dy: usize, y: usize, N: u32, beta: f32, lo: u32, hi: u32): void {
  mapBwd(RELU_BWD, dx, dy, y, N, beta, lo, hi);
}

export function gelu_bwd_f32(dx: usize, dy: usize, x: usize, N: u32, beta: f32, lo: u32, hi: u32): void {
  mapBwd(GELU_BWD, dx, dy, x, N, beta, lo, hi);
}

export function silu_bwd_f32(dx: usize, dy: usize, x: usize, N: u32, beta: f32, lo: u32, hi: u32): void {
  mapBwd(SILU_BWD, dx, dy, x, N, beta, lo, hi);
}
