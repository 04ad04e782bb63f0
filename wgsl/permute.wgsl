//! use index
//! use optional
// y (A,B,C,D) = x read with the strides SA … SD of its axes: a thread an element.
struct P {
  A: u32, B: u32, C: u32, D: u32,
  SA: u32, SB: u32, SC: u32, SD: u32,
  perm: u32, beta: f32,
}
@group(0) @binding(0) var<storage, read_write> y: array<f32>; // (A,B,C,D)
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<uniform> p: P;

@compute @workgroup_size(64)
fn permute_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i >= p.A * p.B * p.C * p.D) { return; }
  let row = i / p.D;
  let ab = row / p.C;
  let v = x[ab / p.B * p.SA + ab % p.B * p.SB + row % p.C * p.SC + i % p.D * p.SD];
  if (adds(p.beta)) { y[i] = p.beta * y[i] + v; } else { y[i] = v; }
}
