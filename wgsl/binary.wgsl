//! use index
//! use optional
// y[i] = a[i mod A] op b[i mod B]: broadcasting over leading axes is a modulo of the flat index.
struct P { N: u32, A: u32, B: u32, beta: f32 }
@group(0) @binding(0) var<storage, read_write> y: array<f32>; // (N)
@group(0) @binding(1) var<storage, read> a: array<f32>;       // (A), A divides N
@group(0) @binding(2) var<storage, read> b: array<f32>;       // (B), B divides N
@group(0) @binding(3) var<uniform> p: P;

fn put(i: u32, v: f32) {
  if (adds(p.beta)) { y[i] = p.beta * y[i] + v; } else { y[i] = v; }
}

@compute @workgroup_size(64)
fn add_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i < p.N) { put(i, a[i % p.A] + b[i % p.B]); }
}

@compute @workgroup_size(64)
fn sub_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i < p.N) { put(i, a[i % p.A] - b[i % p.B]); }
}

@compute @workgroup_size(64)
fn mul_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i < p.N) { put(i, a[i % p.A] * b[i % p.B]); }
}

@compute @workgroup_size(64)
fn div_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i < p.N) { put(i, a[i % p.A] / b[i % p.B]); }
}
