//! use clip
//! use math
//! use optional
// AdamW in place, four elements a thread: what 1 − βᵗ takes is shared.
struct P {
  N: u32, present: u32,
  lr: f32, beta1: f32, beta2: f32, eps: f32, weight_decay: f32, t: f32, max_norm: f32,
}
@group(0) @binding(0) var<storage, read_write> w: array<f32>; // (N)
@group(0) @binding(1) var<storage, read_write> m: array<f32>; // (N)
@group(0) @binding(2) var<storage, read_write> v: array<f32>; // (N)
@group(0) @binding(3) var<storage, read> g: array<f32>;       // (N)
@group(0) @binding(4) var<storage, read> sumsq: array<f32>;   // ()
@group(0) @binding(5) var<uniform> p: P;

// 1 / (1 − bᵗ)
fn correction(b: f32) -> f32 {
  return 1.0 / (1.0 - select(exp_f(p.t * log(b)), 0.0, b == 0.0));
}

@compute @workgroup_size(64)
fn adamw_f32(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let c1 = correction(p.beta1);
  let c2 = correction(p.beta2);
  var s = 1.0;
  if (has(p.present)) { s = clip_scale(sumsq[0], p.max_norm); }
  let first = (wid.y * n.x + wid.x) * 256u + l;
  for (var i = first; i < min(first + 256u, p.N); i += 64u) {
    let d = s * g[i];
    let nm = p.beta1 * m[i] + (1.0 - p.beta1) * d;
    let nv = p.beta2 * v[i] + (1.0 - p.beta2) * d * d;
    m[i] = nm;
    v[i] = nv;
    let u = nm * c1 / (sqrt(nv * c2) + p.eps);
    w[i] = w[i] - p.lr * (u + p.weight_decay * w[i]);
  }
}
