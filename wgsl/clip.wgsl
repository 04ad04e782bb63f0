//! use clip
//! use index
// g ← g · min(1, max_norm / √sumsq) in place, one thread an element.
struct P { N: u32, max_norm: f32 }
@group(0) @binding(0) var<storage, read_write> g: array<f32>; // (N)
@group(0) @binding(1) var<storage, read> sumsq: array<f32>;   // ()
@group(0) @binding(2) var<uniform> p: P;

@compute @workgroup_size(64)
fn clip_by_norm_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, n, l);
  if (i < p.N) { g[i] = g[i] * clip_scale(sumsq[0], p.max_norm); }
}
