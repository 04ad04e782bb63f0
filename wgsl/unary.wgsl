//! use index
//! use math
//! use optional
// y = f(x) elementwise, and dx = dy · f'(·): one thread per element.
struct P { N: u32, beta: f32 }
@group(0) @binding(0) var<storage, read_write> y: array<f32>; // (N)
@group(0) @binding(1) var<storage, read> x: array<f32>;       // (N)
@group(0) @binding(2) var<uniform> p: P;

fn put(i: u32, v: f32) {
  if (adds(p.beta)) { y[i] = p.beta * y[i] + v; } else { y[i] = v; }
}

struct PScale { N: u32, by: f32, shift: f32, beta: f32 }
@group(0) @binding(2) var<uniform> ps: PScale;

@compute @workgroup_size(64)
fn scale_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i >= ps.N) { return; }
  let v = ps.by * x[i] + ps.shift;
  if (adds(ps.beta)) { y[i] = ps.beta * y[i] + v; } else { y[i] = v; }
}

@compute @workgroup_size(64)
fn exp_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i < p.N) { put(i, exp_f(x[i])); }
}

@compute @workgroup_size(64)
fn log_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i < p.N) { put(i, log(x[i])); }
}

@compute @workgroup_size(64)
fn sin_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i < p.N) { put(i, sin_f(x[i])); }
}

@compute @workgroup_size(64)
fn cos_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i < p.N) { put(i, cos_f(x[i])); }
}

@compute @workgroup_size(64)
fn sqrt_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i < p.N) { put(i, sqrt(x[i])); }
}

@compute @workgroup_size(64)
fn square_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i < p.N) { put(i, x[i] * x[i]); }
}

@compute @workgroup_size(64)
fn reciprocal_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i < p.N) { put(i, 1.0 / x[i]); }
}

@compute @workgroup_size(64)
fn abs_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i < p.N) { put(i, abs(x[i])); }
}

@compute @workgroup_size(64)
fn sign_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i < p.N) { put(i, sign_f(x[i])); }
}

@compute @workgroup_size(64)
fn tanh_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i < p.N) { put(i, tanh_f(x[i])); }
}

@compute @workgroup_size(64)
fn sigmoid_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i < p.N) { put(i, sigmoid_f(x[i])); }
}

@compute @workgroup_size(64)
fn relu_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i < p.N) { put(i, relu_f(x[i])); }
}

@compute @workgroup_size(64)
fn softplus_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i < p.N) { put(i, softplus_f(x[i])); }
}

@compute @workgroup_size(64)
fn gelu_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i < p.N) { put(i, gelu_f(x[i])); }
}

@compute @workgroup_size(64)
fn silu_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i < p.N) { put(i, silu_f(x[i])); }
}

@group(0) @binding(0) var<storage, read_write> dx: array<f32>; // (N)
@group(0) @binding(1) var<storage, read> dy: array<f32>;       // (N)
@group(0) @binding(2) var<storage, read> v: array<f32>;        // (N): the output y, or the input x
@group(0) @binding(3) var<uniform> pb: P;

fn put_dx(i: u32, d: f32) {
  if (adds(pb.beta)) { dx[i] = pb.beta * dx[i] + d; } else { dx[i] = d; }
}

@compute @workgroup_size(64)
fn tanh_bwd_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i < pb.N) { put_dx(i, dy[i] * (1.0 - v[i] * v[i])); }
}

@compute @workgroup_size(64)
fn sigmoid_bwd_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i < pb.N) { put_dx(i, dy[i] * v[i] * (1.0 - v[i])); }
}

@compute @workgroup_size(64)
fn relu_bwd_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i < pb.N) { put_dx(i, select(0.0, dy[i], v[i] > 0.0)); }
}

@compute @workgroup_size(64)
fn gelu_bwd_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i < pb.N) { put_dx(i, dy[i] * gelu_slope(v[i])); }
}

@compute @workgroup_size(64)
fn silu_bwd_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i < pb.N) { put_dx(i, dy[i] * silu_slope(v[i])); }
}
