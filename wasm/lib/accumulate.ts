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
