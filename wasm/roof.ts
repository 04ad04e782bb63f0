// What this machine can do at best: the roofs that `tilegrad bench` holds kernels against. Not
// kernels: no contract in kernels/ names them (theirs are in bench/roof.ts).

/** Elements of one tile of the memory sweeps. */
const TILE: u32 = 4096;

// @ts-ignore: decorator
@inline
function fma(x: v128, a: v128, b: v128): v128 {
  if (RELAXED) return f32x4.relaxed_madd(x, a, b);
  return f32x4.add(f32x4.mul(x, a), b);
}

// 96 FLOP an iteration. The factors are arguments because hosts rebuild v128 constants at every use.
export function roof_flops_f32(
  y: usize,
  T: u32,
  iterations: u32,
  factor: f32,
  shift: f32,
  lo: u32,
  hi: u32,
): void {
  for (let tile = lo; tile < hi; tile++) {
    chains(y + ((<usize>tile) << 2), iterations, factor, shift);
  }
}

// Twelve chains: two units of each kind and six cycles from one link to the next, where fma is a
// multiplication and an addition. Ten wait for themselves: 55 instead of 66 GFLOP/s on Zen 4. A function
// of its own, because inside the loop over tiles V8 of Node 20 makes the chains a seventh slower.
function chains(y: usize, iterations: u32, factor: f32, shift: f32): void {
  const a = f32x4.splat(factor);
  const b = f32x4.splat(shift);
  // different starts, or the compiler would see that one chain is enough
  let x0 = f32x4.splat(factor);
  let x1 = f32x4.add(x0, b);
  let x2 = f32x4.add(x1, b);
  let x3 = f32x4.add(x2, b);
  let x4 = f32x4.add(x3, b);
  let x5 = f32x4.add(x4, b);
  let x6 = f32x4.add(x5, b);
  let x7 = f32x4.add(x6, b);
  let x8 = f32x4.add(x7, b);
  let x9 = f32x4.add(x8, b);
  let x10 = f32x4.add(x9, b);
  let x11 = f32x4.add(x10, b);
  for (let i: u32 = 0; i < iterations; i++) {
    x0 = fma(x0, a, b);
    x1 = fma(x1, a, b);
    x2 = fma(x2, a, b);
    x3 = fma(x3, a, b);
    x4 = fma(x4, a, b);
    x5 = fma(x5, a, b);
    x6 = fma(x6, a, b);
    x7 = fma(x7, a, b);
    x8 = fma(x8, a, b);
    x9 = fma(x9, a, b);
    x10 = fma(x10, a, b);
    x11 = fma(x11, a, b);
  }
  x0 = f32x4.add(x0, x1);
  x0 = f32x4.add(x0, x2);
  x0 = f32x4.add(x0, x3);
  x0 = f32x4.add(x0, x4);
  x0 = f32x4.add(x0, x5);
  x0 = f32x4.add(x0, x6);
  x0 = f32x4.add(x0, x7);
  x0 = f32x4.add(x0, x8);
  x0 = f32x4.add(x0, x9);
  x0 = f32x4.add(x0, x10);
  x0 = f32x4.add(x0, x11);
  store<f32>(y, f32x4.extract_lane(x0, 0));
}

/** y = x, whole tiles of 4096. */
export function roof_copy_f32(y: usize, x: usize, T: u32, lo: u32, hi: u32): void {
  const end = x + ((<usize>(hi * TILE)) << 2);
  let py = y + ((<usize>(lo * TILE)) << 2);
  for (let px = x + ((<usize>(lo * TILE)) << 2); px < end; px += 64) {
    v128.store(py, v128.load(px));
    v128.store(py, v128.load(px, 16), 16);
    v128.store(py, v128.load(px, 32), 32);
    v128.store(py, v128.load(px, 48), 48);
    py += 64;
  }
}

/** y = 1, whole tiles of 4096. */
export function roof_fill_f32(y: usize, T: u32, lo: u32, hi: u32): void {
  const one = f32x4.splat(1);
  const end = y + ((<usize>(hi * TILE)) << 2);
  for (let py = y + ((<usize>(lo * TILE)) << 2); py < end; py += 64) {
    v128.store(py, one);
    v128.store(py, one, 16);
    v128.store(py, one, 32);
    v128.store(py, one, 48);
  }
}

/** y[tile] = something of all 4096 elements of that tile of x. */
export function roof_read_f32(y: usize, x: usize, T: u32, lo: u32, hi: u32): void {
  for (let tile = lo; tile < hi; tile++) {
    let s0 = f32x4.splat(0);
    let s1 = s0;
    let s2 = s0;
    let s3 = s0;
    const end = x + ((<usize>((tile + 1) * TILE)) << 2);
    for (let px = x + ((<usize>(tile * TILE)) << 2); px < end; px += 64) {
      s0 = f32x4.add(s0, v128.load(px));
      s1 = f32x4.add(s1, v128.load(px, 16));
      s2 = f32x4.add(s2, v128.load(px, 32));
      s3 = f32x4.add(s3, v128.load(px, 48));
    }
    s0 = f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3));
    store<f32>(y + ((<usize>tile) << 2), f32x4.extract_lane(s0, 0));
  }
}
