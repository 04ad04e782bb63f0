//! use index
//! use math
//! use optional
// Cosine transform of rows: a table of cosines, then a thread an element of y.
struct P { R: u32, N: u32, kind: u32, ortho: u32, beta: f32 }
@group(0) @binding(0) var<storage, read_write> y: array<f32>; // (R,N)
@group(0) @binding(1) var<storage, read> x: array<f32>;       // (R,N)
@group(0) @binding(2) var<uniform> p: P;
@group(0) @binding(3) var<storage, read_write> table: array<f32>; // (4N): cos 2πj/4N

const TURN = 6.283185307179586;

@compute @workgroup_size(64)
fn dct_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let j = linear_index(w, g, l);
  if (j < 4u * p.N) { table[j] = cos_f(TURN * (f32(j) / f32(4u * p.N))); }
}

fn factor(frequency: u32) -> f32 {
  if (p.ortho == 0u) { return 1.0; }
  return sqrt(select(2.0, 1.0, frequency == 0u) / f32(p.N));
}

@compute @workgroup_size(64)
fn dct_rows(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i >= p.R * p.N) { return; }
  let k = i % p.N;
  let o = i - k;
  // II: frequency k at places 2n + 1; III: frequencies n at place 2k + 1. The turn moves on by a constant.
  var turn = select(0u, k, p.kind == 0u);
  let by = select(2u * k + 1u, 2u * k, p.kind == 0u);
  var s = 0.0;
  for (var n = 0u; n < p.N; n++) {
    s += select(factor(n), 1.0, p.kind == 0u) * x[o + n] * table[turn];
    turn += by;
    if (turn >= 4u * p.N) { turn -= 4u * p.N; }
  }
  if (p.kind == 0u) { s *= factor(k); }
  if (adds(p.beta)) { y[i] = p.beta * y[i] + s; } else { y[i] = s; }
}
