//! use index
// Threshold transfer through a digital buffer, see wasm/transfer.ts. One thread an element.
struct P { N: u32, keep: f32, rate: f32, threshold: f32, most: f32, forget: f32 }
@group(0) @binding(0) var<storage, read_write> n: array<f32>; // (N)
@group(0) @binding(1) var<storage, read_write> h: array<f32>; // (N)
@group(0) @binding(2) var<storage, read> a: array<f32>;       // (N)
@group(0) @binding(3) var<uniform> p: P;

@compute @workgroup_size(64)
fn threshold_transfer_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i >= p.N) { return; }
  let sum = p.keep * h[i] + p.rate * a[i];
  let c = clamp(trunc(sum / p.threshold), -p.most, p.most);
  n[i] = c;
  h[i] = select(sum, select(sum - c * p.threshold, sum * p.forget, p.forget >= 0.0), c != 0.0);
}
