// Response functions of a resistive element, see wasm/lib/response.ts; up scaled by 1 + c, down by 1 − c.
// The model is a pipeline constant, so that a driver keeps one branch of it:
// 0 ideal · 1 linear · 2 power · 3 exponential · 4 power with g = 2.
override RESPONSE: u32 = 2;

fn moved(w: f32, dw: f32, tau: f32, g: f32, c: f32) -> f32 {
  let up = dw >= 0.0;
  var q = 1.0;
  if (RESPONSE != 0u) {
    let v = w / tau;
    q = max(select(1.0 + v, 1.0 - v, up), 0.0);
    // pow() of 0 is left to the driver.
    if (RESPONSE == 2u) { q = select(exp_f(g * log(q)), 0.0, q == 0.0); }
    if (RESPONSE == 3u) { q = (exp_f(g * q) - 1.0) / (exp_f(g) - 1.0); }
    if (RESPONSE == 4u) { q = q * q; }
  }
  return clamp(w + dw * q * select(1.0 - c, 1.0 + c, up), -tau, tau);
}
