/** What a gradient is multiplied by so that its norm is at most max_norm; 1 without a sum of squares. */
export function clipScale(sumsq: usize, max_norm: f32): f32 {
  if (!sumsq) return 1;
  const norm = sqrt<f32>(load<f32>(sumsq));
  // Not min(): a NaN norm must reach the gradient, not vanish in a comparison.
  return norm <= max_norm ? 1 : max_norm / norm;
}
