// The same polynomials as wasm/lib/math.ts. WGSL promises its builtins too little to be checked against
// one tolerance: sin and cos to 2^-11, exp to 3 + 2|x| units, tanh through both; NaN and Inf not at all.

// A comparison x != x may be folded away: WGSL lets a compiler assume that there is no NaN.
fn is_nan(x: f32) -> bool {
  return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

fn exp2_int(k: i32) -> f32 {
  return bitcast<f32>(u32(k + 127) << 23u);
}

// e^x, relative error < 3e-7; x = n·ln 2 + r with ln 2 in two parts.
fn exp_f(x0: f32) -> f32 {
  let x = clamp(x0, -110.0, 100.0);
  let n = round(x * 1.4426950408889634);
  let r = fma(n, -1.428606765330187e-6, fma(n, -0.693145751953125, x));
  var p = 1.9875691500e-4;
  p = fma(p, r, 1.3981999507e-3);
  p = fma(p, r, 8.3334519073e-3);
  p = fma(p, r, 4.1665795894e-2);
  p = fma(p, r, 1.6666665459e-1);
  p = fma(p, r, 5.0000001201e-1);
  p = fma(r * r, p, r) + 1.0;
  // 2^n in two halves: n may be below the smallest or above the largest exponent.
  let k = i32(n);
  let h = k >> 1u;
  return select(p * exp2_int(h) * exp2_int(k - h), x0, is_nan(x0));
}

// e^x of four x <= 88; 0 below -87.7, NaN for NaN.
fn exp_4(x0: vec4f) -> vec4f {
  let x = select(x0, vec4f(-88.0), x0 < vec4f(-88.0));
  let n = round(x * 1.4426950408889634);
  let r = fma(n, vec4f(-1.428606765330187e-6), fma(n, vec4f(-0.693145751953125), x));
  var p = fma(vec4f(1.9875691500e-4), r, vec4f(1.3981999507e-3));
  p = fma(p, r, vec4f(8.3334519073e-3));
  p = fma(p, r, vec4f(4.1665795894e-2));
  p = fma(p, r, vec4f(1.6666665459e-1));
  p = fma(p, r, vec4f(5.0000001201e-1));
  p = fma(r * r, p, r) + 1.0;
  // n + 127 stands in the low bits of 1.5 · 2^23 + 127 + n: shifted, the exponent field of 2^n.
  return p * bitcast<vec4f>(bitcast<vec4u>(n + 12583039.0) << vec4u(23u));
}

fn tanh_f(x: f32) -> f32 {
  let z = x * x;
  var p = -5.70498872745e-3;
  p = fma(p, z, 2.06390887954e-2);
  p = fma(p, z, -5.37397155531e-2);
  p = fma(p, z, 1.33314422036e-1);
  p = fma(p, z, -3.33332819422e-1);
  let small = fma(p * z, x, x);
  let big = 1.0 - 2.0 / (exp_f(2.0 * min(abs(x), 20.0)) + 1.0);
  let y = select(select(big, -big, x < 0.0), small, abs(x) < 0.625);
  return select(y, x, is_nan(x));
}

fn sigmoid_f(x: f32) -> f32 {
  return 1.0 / (1.0 + exp_f(-x));
}

// max(x, 0) may drop a NaN; the comparison keeps it.
fn relu_f(x: f32) -> f32 {
  return select(x, 0.0, x < 0.0);
}

// ln(1 + e^x) without overflow; where 1 + t rounds to 1 the logarithm is t.
fn softplus_f(x: f32) -> f32 {
  let t = exp_f(-abs(x));
  return relu_f(x) + select(log(1.0 + t), t, t < 1e-4);
}

const SQRT_2_PI = 0.7978845608028654;

fn gelu_tanh(x: f32) -> f32 {
  return tanh_f(SQRT_2_PI * (x + 0.044715 * x * x * x));
}

fn gelu_f(x: f32) -> f32 {
  return 0.5 * x * (1.0 + gelu_tanh(x));
}

fn gelu_slope(x: f32) -> f32 {
  let t = gelu_tanh(x);
  return 0.5 * (1.0 + t + x * (1.0 - t * t) * SQRT_2_PI * (1.0 + 0.134145 * x * x));
}

fn silu_f(x: f32) -> f32 {
  return x * sigmoid_f(x);
}

fn silu_slope(x: f32) -> f32 {
  let s = sigmoid_f(x);
  return s * (1.0 + x * (1.0 - s));
}

fn sign_f(x: f32) -> f32 {
  return select(select(x, 1.0, x > 0.0), -1.0, x < 0.0);
}

// x = j·π/2 + r, |r| <= π/4, with π/2 in three parts; absolute error < 2e-6 for |x| <= 1e4.
fn sincos_f(x: f32, shift: i32) -> f32 {
  let jf = round(x * 0.6366197723675814);
  var r = fma(jf, -1.5703125, x);
  r = fma(jf, -4.837512969970703125e-4, r);
  r = fma(jf, -7.549789948768648e-8, r);
  let z = r * r;
  let s = fma(fma(fma(-1.9515295891e-4, z, 8.3321608736e-3), z, -1.6666654611e-1) * z, r, r);
  let c = fma(fma(fma(2.443315711809948e-5, z, -1.388731625493765e-3), z, 4.166664568298827e-2), z * z, fma(z, -0.5, 1.0));
  let j = (i32(jf) + shift) & 3;
  let y = select(s, c, (j & 1) == 1);
  return select(y, -y, j >= 2);
}

fn sin_f(x: f32) -> f32 {
  return sincos_f(x, 0);
}

fn cos_f(x: f32) -> f32 {
  return sincos_f(x, 1);
}
