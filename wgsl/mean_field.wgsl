//! use index
//! use math
//! use response
// The mean-field analog update w ← w + Δ·q±(w): elementwise, or for each element of a crossbar the
// rank-1 updates of a batch in sample order. One thread an element.
struct P { N: u32, model: u32, tau: f32, g: f32, c: f32, alpha: f32 }
@group(0) @binding(0) var<storage, read_write> w: array<f32>; // (N)
@group(0) @binding(1) var<storage, read> dw: array<f32>;      // (N)
@group(0) @binding(2) var<uniform> p: P;

@compute @workgroup_size(64)
fn mean_field_update_f32(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(wid, n, l);
  if (i < p.N) { w[i] = moved(w[i], p.alpha * dw[i], p.tau, p.g, p.c); }
}

struct PO { O: u32, I: u32, S: u32, model: u32, tau: f32, g: f32, c: f32, alpha: f32 }
@group(0) @binding(1) var<storage, read> x: array<f32>; // (S,I)
@group(0) @binding(2) var<storage, read> d: array<f32>; // (S,O)
@group(0) @binding(3) var<uniform> po: PO;

@compute @workgroup_size(64)
fn mean_field_outer_f32(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let e = linear_index(wid, n, l);
  if (e >= po.O * po.I) { return; }
  let o = e / po.I;
  let i = e % po.I;
  var v = w[e];
  for (var s = 0u; s < po.S; s++) {
    let step = po.alpha * d[s * po.O + o] * x[s * po.I + i];
    if (step != 0.0) { v = moved(v, step, po.tau, po.g, po.c); }
  }
  w[e] = v;
}
