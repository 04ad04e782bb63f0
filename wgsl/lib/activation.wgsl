//! use math
// The param `act` of kernels/lib/activation.ts, by index.
fn activate(act: u32, v: f32) -> f32 {
  switch (act) {
    case 1u: { return relu_f(v); }
    case 2u: { return tanh_f(v); }
    case 3u: { return sigmoid_f(v); }
    case 4u: { return gelu_f(v); }
    case 5u: { return silu_f(v); }
    default: { return v; }
  }
}
