//! use clip
//! use index
//! use optional
// SGD with momentum in place, one thread an element.
struct P { N: u32, present: u32, lr: f32, momentum: f32, weight_decay: f32, nesterov: u32, max_norm: f32 }
@group(0) @binding(0) var<storage, read_write> w: array<f32>; // (N)
@group(0) @binding(1) var<storage, read_write> m: array<f32>; // (N)
@group(0) @binding(2) var<storage, read> g: array<f32>;       // (N)
@group(0) @binding(3) var<storage, read> sumsq: array<f32>;   // ()
@group(0) @binding(4) var<uniform> p: P;

@compute @workgroup_size(64)
fn sgd_f32(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(wid, n, l);
  if (i >= p.N) { return; }
  var d = g[i];
  if (has(p.present)) { d *= clip_scale(sumsq[0], p.max_norm); }
  d += p.weight_decay * w[i];
  let nm = p.momentum * m[i] + d;
  m[i] = nm;
  w[i] = w[i] - p.lr * select(nm, d + p.momentum * nm, p.nesterov != 0u);
}
