//! use index
// Rows picked by an index: a thread an element. Its transpose: a workgroup a row of y, which looks
// through the index 64 entries at a time and adds the rows that are its own in their order. The `last`
// kernels pick elements of each row: a thread an element.
struct PG { N: u32, D: u32, V: u32, outside: u32, beta: f32 }
@group(0) @binding(0) var<storage, read_write> y: array<f32>; // (N,D), scatter (V,D)
@group(0) @binding(1) var<storage, read> x: array<f32>;       // (V,D), scatter (N,D)
@group(0) @binding(2) var<storage, read> index: array<i32>;   // (N)
@group(0) @binding(3) var<uniform> pg: PG;

fn put(i: u32, v: f32, beta: f32) {
  if (beta != 0.0) { y[i] = beta * y[i] + v; } else { y[i] = v; }
}

@compute @workgroup_size(64)
fn gather_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i >= pg.N * pg.D) { return; }
  let v = index[i / pg.D];
  if (v < 0 || u32(v) >= pg.V) {
    put(i, bitcast<f32>(select(0u, 0x7fc00000u + (pg.N & 0u), pg.outside == 0u)), pg.beta);
    return;
  }
  put(i, x[u32(v) * pg.D + i % pg.D], pg.beta);
}

struct PS { V: u32, D: u32, N: u32, size: u32, beta: f32 }
@group(0) @binding(3) var<uniform> ps: PS;

var<workgroup> ours: array<u32, 64>;

@compute @workgroup_size(64)
fn scatter_add_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = w.y * g.x + w.x;
  // Columns in passes of 64, so that a thread keeps its sum in a register.
  for (var c0 = 0u; c0 < ps.D; c0 += 64u) {
    let c = c0 + l;
    var s = 0.0;
    for (var n0 = 0u; n0 < ps.N; n0 += 64u) {
      let n = n0 + l;
      workgroupBarrier();
      ours[l] = 0u;
      if (n < ps.N) { ours[l] = select(0u, 1u, index[n] == i32(row)); }
      workgroupBarrier();
      for (var k = 0u; k < 64u; k++) {
        if (ours[k] == 1u && c < ps.D) { s += x[(n0 + k) * ps.D + c]; }
      }
    }
    if (row < ps.V && c < ps.D) { put(row * ps.D + c, s, ps.beta); }
  }
}

struct PGL { R: u32, K: u32, C: u32, outside: u32, beta: f32 }
@group(0) @binding(3) var<uniform> pgl: PGL;

@compute @workgroup_size(64)
fn gather_last_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i >= pgl.R * pgl.K) { return; }
  let c = index[i];
  if (c < 0 || u32(c) >= pgl.C) {
    put(i, bitcast<f32>(select(0u, 0x7fc00000u + (pgl.K & 0u), pgl.outside == 0u)), pgl.beta);
    return;
  }
  put(i, x[i / pgl.K * pgl.C + u32(c)], pgl.beta);
}

struct PSL { R: u32, C: u32, K: u32, size: u32, beta: f32 }
@group(0) @binding(3) var<uniform> psl: PSL;

@compute @workgroup_size(64)
fn scatter_add_last_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i >= psl.R * psl.C) { return; }
  let o = i / psl.C * psl.K;
  let c = i32(i % psl.C);
  var s = 0.0;
  for (var k = 0u; k < psl.K; k++) {
    if (index[o + k] == c) { s += x[o + k]; }
  }
  put(i, s, psl.beta);
}
