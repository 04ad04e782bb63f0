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

struct PS { N: u32, K: u32 }
@group(0) @binding(1) var<storage, read_write> skipped: array<f32>; // ()
@group(0) @binding(2) var<storage, read> probe: array<u32>;         // (K), f32 as bits: arithmetic may drop a NaN
@group(0) @binding(3) var<uniform> ps: PS;

// g ← 0 and skipped ← skipped + 1 where the probe is not finite.
@compute @workgroup_size(64)
fn skip_nonfinite_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, n, l);
  var bad = false;
  for (var k = 0u; k < ps.K; k++) { bad = bad || (probe[k] & 0x7f800000u) == 0x7f800000u; }
  if (!bad) { return; }
  if (i < ps.N) { g[i] = 0.0; }
  if (i == 0u) { skipped[0] = skipped[0] + 1.0; }
}
