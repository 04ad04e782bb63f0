//! use index
//! use random
//! use optional
// A step of a diffusion sampler: guidance, ẑ_0, update and noise. One thread a pair of elements, whose normals
// come together.
struct P {
  N: u32, present: u32,
  guidance: f32, x0_z: f32, x0_e: f32, clip: f32, a: f32, b: f32, c: f32,
  sigma: f32, seed: u32, stream: u32, t: u32,
}
@group(0) @binding(0) var<storage, read_write> next: array<f32>; // (N)
@group(0) @binding(1) var<storage, read_write> x0: array<f32>;   // (N)
@group(0) @binding(2) var<storage, read> z: array<f32>;          // (N)
@group(0) @binding(3) var<storage, read> eps: array<f32>;        // (N)
@group(0) @binding(4) var<storage, read> uncond: array<f32>;     // (N)
@group(0) @binding(5) var<storage, read> x0_prev: array<f32>;    // (N)
@group(0) @binding(6) var<uniform> p: P;

fn one(i: u32, noise: f32) {
  var e = eps[i];
  if (has(p.present & 1u)) { e = uncond[i] + p.guidance * (e - uncond[i]); }
  let zi = z[i];
  var x = p.x0_z * zi + p.x0_e * e;
  // Comparisons that a NaN fails: it stays.
  if (p.clip > 0.0) { x = select(select(x, p.clip, x > p.clip), -p.clip, x < -p.clip); }
  var y = p.a * x + p.b * zi;
  if (has(p.present & 2u)) { y += p.c * x0_prev[i]; }
  if (p.sigma != 0.0) { y += p.sigma * noise; }
  x0[i] = x;
  next[i] = y;
}

@compute @workgroup_size(64)
fn diffusion_step_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let k = linear_index(w, g, l);
  if (2u * k >= p.N) { return; }
  var n = vec2f();
  if (p.sigma != 0.0) { n = normal_pair(threefry2x32(vec2u(p.seed, p.stream), vec2u(k, p.t))); }
  one(2u * k, n.x);
  if (2u * k + 1u < p.N) { one(2u * k + 1u, n.y); }
}

struct PB {
  N: u32, present: u32,
  guidance: f32, x0_z: f32, x0_e: f32, clip: f32, a: f32, b: f32, c: f32,
  guided: u32, beta_dz: f32, beta_deps: f32, beta_duncond: f32, beta_dx0_prev: f32,
}
@group(0) @binding(0) var<storage, read_write> dz: array<f32>;       // (N)
@group(0) @binding(1) var<storage, read_write> deps: array<f32>;     // (N)
@group(0) @binding(2) var<storage, read_write> duncond: array<f32>;  // (N)
@group(0) @binding(3) var<storage, read_write> dx0_prev: array<f32>; // (N)
@group(0) @binding(4) var<storage, read> x0_b: array<f32>;           // (N)
@group(0) @binding(5) var<storage, read> dnext: array<f32>;          // (N)
@group(0) @binding(6) var<storage, read> dx0: array<f32>;            // (N)
@group(0) @binding(7) var<uniform> pb: PB;

@compute @workgroup_size(64)
fn diffusion_step_bwd_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i >= pb.N) { return; }
  var dn = 0.0;
  if (has(pb.present & 1u)) { dn = dnext[i]; }
  var d = pb.a * dn;
  if (has(pb.present & 2u)) { d += dx0[i]; }
  if (pb.clip > 0.0 && !(abs(x0_b[i]) < pb.clip)) { d = 0.0; }
  let e = pb.x0_e * d;
  var y = vec4f(
    pb.b * dn + pb.x0_z * d,
    select(1.0, pb.guidance, pb.guided != 0u) * e,
    select(0.0, 1.0 - pb.guidance, pb.guided != 0u) * e,
    pb.c * dn,
  );
  if (adds(pb.beta_dz)) { y.x += pb.beta_dz * dz[i]; }
  if (adds(pb.beta_deps)) { y.y += pb.beta_deps * deps[i]; }
  if (adds(pb.beta_duncond)) { y.z += pb.beta_duncond * duncond[i]; }
  if (adds(pb.beta_dx0_prev)) { y.w += pb.beta_dx0_prev * dx0_prev[i]; }
  dz[i] = y.x;
  deps[i] = y.y;
  duncond[i] = y.z;
  dx0_prev[i] = y.w;
}
