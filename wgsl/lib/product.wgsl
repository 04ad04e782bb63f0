//! use index
//! use activation
//! use optional
// What the products y (B,M,N) = beta·y + act(alpha · A·B + bias) share; a and b stand in the file that uses this,
// for some bind them as vectors.
struct P {
  B: u32, M: u32, N: u32, A: u32, K: u32, C: u32,
  present: u32,
  alpha: f32, ta: u32, tb: u32, act: u32, beta: f32,
}
@group(0) @binding(0) var<storage, read_write> y: array<f32>; // (B,M,N)
@group(0) @binding(3) var<storage, read> bias: array<f32>;    // (N)
@group(0) @binding(4) var<uniform> p: P;

fn finish(i: u32, n: u32, s: f32, alpha: f32, present: u32, act: u32, beta: f32) {
  var v = alpha * s;
  if (has(present)) { v += bias[n]; }
  put(i, activate(act, v), beta);
}

fn put(i: u32, v: f32, beta: f32) {
  if (adds(beta)) { y[i] = beta * y[i] + v; } else { y[i] = v; }
}

// Where element (row, k = 0) of an operand lies, and the step to the next k.
fn start_a(batch: u32, m: u32) -> u32 {
  return select(batch, 0u, p.A == 1u) * p.M * p.K + m * select(p.K, 1u, p.ta != 0u);
}

fn start_b(batch: u32, n: u32) -> u32 {
  return select(batch, 0u, p.C == 1u) * p.K * p.N + n * select(1u, p.K, p.tb != 0u);
}

fn step_a() -> u32 { return select(1u, p.M, p.ta != 0u); }
fn step_b() -> u32 { return select(p.N, 1u, p.tb != 0u); }
