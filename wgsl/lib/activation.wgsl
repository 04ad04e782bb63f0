//! use math
// The param `act` of kernels/lib/activation.ts, by index. A CPU adapter goes through all sides of a branch: variants
// for it that know none but none and relu set this to 0.
const TRANSCENDENTAL = 1u;

fn activate(act: u32, v: f32) -> f32 {
  if (TRANSCENDENTAL == 0u) { return select(v, relu_f(v), act == 1u); }
  switch (act) {
    case 1u: { return relu_f(v); }
    case 2u: { return tanh_f(v); }
    case 3u: { return sigmoid_f(v); }
    case 4u: { return gelu_f(v); }
    case 5u: { return silu_f(v); }
    default: { return v; }
  }
}
