// What a gradient is multiplied by so that its norm is at most max_norm; NaN where the norm is.
fn clip_scale(sumsq: f32, max_norm: f32) -> f32 {
  let norm = sqrt(sumsq);
  return select(max_norm / norm, 1.0, norm <= max_norm);
}
