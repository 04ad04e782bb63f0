//! use index
//! use optional
// What the variants of matmul_bwd_params share.
struct P { K: u32, N: u32, R: u32, present: u32, alpha: f32, act: u32, beta_dw: f32, beta_db: f32 }
@group(0) @binding(0) var<storage, read_write> dw: array<f32>; // (K,N)
@group(0) @binding(1) var<storage, read_write> db: array<f32>; // (N)
@group(0) @binding(2) var<storage, read_write> dz: array<f32>; // (R,N)
@group(0) @binding(3) var<storage, read> a: array<f32>;        // (R,K)
@group(0) @binding(4) var<storage, read> dy: array<f32>;       // (R,N)
@group(0) @binding(5) var<storage, read> y: array<f32>;        // (R,N)
@group(0) @binding(6) var<uniform> p: P;

fn slope(v: f32) -> f32 {
  let curved = select(v * (1.0 - v), 1.0 - v * v, p.act == 2u);
  return select(curved, select(0.0, 1.0, v > 0.0), p.act == 1u);
}

fn cotangents(o: vec4u) -> vec4f {
  let d = vec4f(dy[o.x], dy[o.y], dy[o.z], dy[o.w]);
  // A loop that runs once or never: a CPU adapter goes through both sides of a branch, but not into a loop.
  var s = vec4f(1.0);
  for (var act = p.act; act != 0u; act = 0u) {
    s = vec4f(slope(y[o.x]), slope(y[o.y]), slope(y[o.z]), slope(y[o.w]));
  }
  // A product with a slope of 0 would make NaN of an infinite cotangent.
  return select(d * s, vec4f(), s == vec4f());
}

fn put_dw(k: u32, n: u32, sum: f32) {
  if (k >= p.K || n >= p.N) { return; }
  let i = k * p.N + n;
  let v = p.alpha * sum;
  if (adds(p.beta_dw)) { dw[i] = p.beta_dw * dw[i] + v; } else { dw[i] = v; }
}

fn put_db(n: u32, v: f32) {
  if (n >= p.N) { return; }
  if (adds(p.beta_db)) { db[n] = p.beta_db * db[n] + v; } else { db[n] = v; }
}
