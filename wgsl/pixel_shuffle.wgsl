//! use index
//! use optional
// Pixels of factor² channels side by side, and apart again: a thread an element of the result.

struct P { B: u32, C: u32, P: u32, Q: u32, D: u32, H: u32, W: u32, factor: u32, beta: f32 }
@group(0) @binding(0) var<storage, read_write> y: array<f32>; // (B,C,P,Q)
@group(0) @binding(1) var<storage, read> x: array<f32>;       // (B,D,H,W)
@group(0) @binding(2) var<uniform> p: P;

// Where pixel i of planes (H·f, W·f) lies among planes (H,W).
fn deep(i: u32, f: u32, H: u32, W: u32) -> u32 {
  let column = i % (W * f);
  let line = i / (W * f);
  let row = line % (H * f);
  let channel = line / (H * f) * f * f + row % f * f + column % f;
  return (channel * H + row / f) * W + column / f;
}

// Where pixel i of planes (H,W) lies among planes (H·f, W·f).
fn wide(i: u32, f: u32, H: u32, W: u32) -> u32 {
  let line = i / W;
  let channel = line / H;
  let row = line % H * f + channel / f % f;
  return ((channel / (f * f) * H * f + row) * W + i % W) * f + channel % f;
}

fn put(i: u32, v: f32, beta: f32) {
  if (adds(beta)) { y[i] = beta * y[i] + v; } else { y[i] = v; }
}

@compute @workgroup_size(64)
fn pixel_shuffle_f32(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(wid, g, l);
  if (i < p.B * p.D * p.H * p.W) { put(i, x[deep(i, p.factor, p.H, p.W)], p.beta); }
}

struct PU { B: u32, D: u32, P: u32, Q: u32, C: u32, H: u32, W: u32, factor: u32, beta: f32 }
@group(0) @binding(2) var<uniform> pu: PU;

@compute @workgroup_size(64)
fn pixel_unshuffle_f32(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(wid, g, l);
  if (i < pu.B * pu.D * pu.P * pu.Q) { put(i, x[wide(i, pu.factor, pu.P, pu.Q)], pu.beta); }
}
