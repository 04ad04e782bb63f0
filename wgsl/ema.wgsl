//! use index
// y ← d·y + (1 − d)·x in place, one thread an element.
struct P { N: u32, decay: f32, t: f32 }
@group(0) @binding(0) var<storage, read_write> y: array<f32>; // (N)
@group(0) @binding(1) var<storage, read> x: array<f32>;       // (N)
@group(0) @binding(2) var<uniform> p: P;

@compute @workgroup_size(64)
fn ema_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i >= p.N) { return; }
  let d = select(p.decay, min(p.decay, (1.0 + p.t) / (10.0 + p.t)), p.t > 0.0);
  y[i] = d * y[i] + (1.0 - d) * x[i];
}
