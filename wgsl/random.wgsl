//! use index
//! use random
// Random fills: one thread per pair of elements, counter ((first + i) >> 1, t).
struct P { N: u32, seed: u32, stream: u32, t: u32, first: u32 }
@group(0) @binding(0) var<storage, read_write> y: array<f32>; // (N)
@group(0) @binding(1) var<uniform> p: P;

fn put(i: u32, N: u32, v: vec2f) {
  if (i < N) { y[i] = v.x; }
  if (i + 1u < N) { y[i + 1u] = v.y; }
}

@compute @workgroup_size(64)
fn uniform_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let k = linear_index(w, g, l);
  let x = threefry2x32(vec2u(p.seed, p.stream), vec2u(p.first / 2u + k, p.t));
  put(2u * k, p.N, vec2f(uniform_of(x.x), uniform_of(x.y)));
}

struct PNormal { N: u32, seed: u32, stream: u32, t: u32, first: u32, mean: f32, sigma: f32 }
@group(0) @binding(1) var<uniform> pn: PNormal;

@compute @workgroup_size(64)
fn normal_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let k = linear_index(w, g, l);
  let z = normal_pair(threefry2x32(vec2u(pn.seed, pn.stream), vec2u(pn.first / 2u + k, pn.t)));
  put(2u * k, pn.N, pn.mean + pn.sigma * z);
}

struct PBernoulli { N: u32, seed: u32, stream: u32, t: u32, first: u32, p: f32 }
@group(0) @binding(1) var<uniform> pb: PBernoulli;

@compute @workgroup_size(64)
fn bernoulli_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let k = linear_index(w, g, l);
  let x = threefry2x32(vec2u(pb.seed, pb.stream), vec2u(pb.first / 2u + k, pb.t));
  put(2u * k, pb.N, select(vec2f(0.0), vec2f(1.0), vec2f(uniform_of(x.x), uniform_of(x.y)) < vec2f(pb.p)));
}
