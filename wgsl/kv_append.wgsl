//! use index
// Rows put into a cache of keys and values: a thread an element. What lies outside of it is dropped.
struct P { B: u32, G: u32, T: u32, D: u32, N: u32 }
@group(0) @binding(0) var<storage, read_write> k: array<f32>; // (B,G,T,D)
@group(0) @binding(1) var<storage, read_write> v: array<f32>; // (B,G,T,D)
@group(0) @binding(2) var<storage, read> kn: array<f32>;      // (B,G,N,D)
@group(0) @binding(3) var<storage, read> vn: array<f32>;      // (B,G,N,D)
@group(0) @binding(4) var<storage, read> lengths: array<i32>; // (B)
@group(0) @binding(5) var<uniform> p: P;

@compute @workgroup_size(64)
fn kv_append_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i >= p.B * p.G * p.N * p.D) { return; }
  let n = (i / p.D) % p.N;
  let head = i / (p.D * p.N);
  // Below 0 it wraps to more than any T.
  let at = bitcast<u32>(lengths[head / p.G]) + n;
  if (at >= p.T) { return; }
  let to = (head * p.T + at) * p.D + i % p.D;
  k[to] = kn[i];
  v[to] = vn[i];
}
