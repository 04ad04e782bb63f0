// Response functions of a resistive element, see wasm/lib/response.ts:
// 0 ideal · 1 linear · 2 power · 3 exponential; up scaled by 1 + c, down by 1 − c.
fn moved(model: u32, w: f32, dw: f32, tau: f32, g: f32, c: f32) -> f32 {
  let up = dw >= 0.0;
  var q = 1.0;
  if (model != 0u) {
    let v = w / tau;
    q = max(select(1.0 + v, 1.0 - v, up), 0.0);
    if (model == 2u) {
      // pow() of 0 is left to the driver.
      if (g == 2.0) { q = q * q; } else if (g != 1.0) { q = select(exp_f(g * log(q)), 0.0, q == 0.0); }
    }
    if (model == 3u) { q = (exp_f(g * q) - 1.0) / (exp_f(g) - 1.0); }
  }
  return clamp(w + dw * q * select(1.0 - c, 1.0 + c, up), -tau, tau);
}
