// Stores that honour beta: `beta == 0` never reads the destination (it may hold NaN).

// @ts-ignore: decorator
@inline
export function put4(p: usize, v: v128, beta: f32): void {
  if (beta != 0) v = f32x4.add(f32x4.mul(f32x4.splat(beta), v128.load(p)), v);
  v128.store(p, v);
}

// @ts-ignore: decorator
@inline
export function put1(p: usize, v: f32, beta: f32): void {
  if (beta != 0) v = beta * load<f32>(p) + v;
  store<f32>(p, v);
}

/** What a sum starts from: beta times what is there. */
export function clear(first: usize, past: usize, beta: f32): void {
  if (beta == 0) memory.fill(first, 0, past - first);
  else if (beta != 1) for (let p = first; p < past; p += 4) store<f32>(p, beta * load<f32>(p));
}

// The last one to three elements of a run, in the lower lanes of a vector: they go through the same
// vector code as the others, so that an element's bits do not depend on where it lies.

/** Loads n in 1 … 3 elements; the lanes above hold `pad`. */
export function take(p: usize, n: u32, pad: f32): v128 {
  let v = v128.load32_lane(p, f32x4.splat(pad), 0);
  if (n > 1) v = v128.load32_lane(p, v, 1, 4);
  if (n > 2) v = v128.load32_lane(p, v, 2, 8);
  return v;
}

/** Stores the lowest n in 1 … 3 lanes. */
export function put(p: usize, v: v128, n: u32, beta: f32): void {
  if (beta != 0) v = f32x4.add(f32x4.mul(f32x4.splat(beta), take(p, n, 0)), v);
  v128.store32_lane(p, v, 0);
  if (n > 1) v128.store32_lane(p, v, 1, 4);
  if (n > 2) v128.store32_lane(p, v, 2, 8);
}
