import { exp4, log4 } from "./math";

// Response functions q₊, q₋ of a resistive element over w in [−τ, τ], by model:
//   0 ideal 1 · 1 linear 1 ∓ w/τ · 2 power (1 ∓ w/τ)^g · 3 exponential (e^{g(1 ∓ w/τ)} − 1)/(e^g − 1)
// Up and down are scaled by 1 + c and 1 − c: c > 0 moves the symmetric point up.

// @ts-ignore: decorator
@inline
function power(u: v128, g: f32): v128 {
  if (g == 1) return u;
  if (g == 2) return f32x4.mul(u, u);
  if (g == 0.5) return f32x4.sqrt(u);
  return exp4(f32x4.mul(f32x4.splat(g), log4(u)));
}

/** w + Δ·q₊(w) where Δ >= 0, w + Δ·q₋(w) elsewhere, then clipped to ±τ. `norm` is 1/(e^g − 1). */
// @ts-ignore: decorator
@inline
export function moved(model: u32, w: v128, dw: v128, tau: f32, g: f32, c: f32, norm: f32): v128 {
  const up = f32x4.ge(dw, f32x4.splat(0));
  const one = f32x4.splat(1);
  let q = one;
  if (model != 0) {
    const v = f32x4.mul(w, f32x4.splat(1 / tau));
    q = f32x4.pmax(f32x4.splat(0), v128.bitselect(f32x4.sub(one, v), f32x4.add(one, v), up));
    if (model == 2) q = power(q, g);
    if (model == 3) q = f32x4.mul(f32x4.sub(exp4(f32x4.mul(f32x4.splat(g), q)), one), f32x4.splat(norm));
  }
  q = f32x4.mul(q, v128.bitselect(f32x4.splat(1 + c), f32x4.splat(1 - c), up));
  const y = f32x4.add(w, f32x4.mul(dw, q));
  return f32x4.pmin(f32x4.splat(tau), f32x4.pmax(f32x4.splat(-tau), y));
}

export function exponentialNorm(g: f32): f32 {
  return 1 / (f32x4.extract_lane(exp4(f32x4.splat(g)), 0) - 1);
}
