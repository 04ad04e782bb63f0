//! use index
// Projection on a ball around c (N): ‖p − c‖² by one workgroup, strided partial sums, then a tree.
struct PSum { N: u32 }
@group(0) @binding(0) var<storage, read_write> y: array<f32>; // ()
@group(0) @binding(1) var<storage, read> at: array<f32>;      // p (N)
@group(0) @binding(2) var<storage, read> c: array<f32>;       // (N)
@group(0) @binding(3) var<uniform> ps: PSum;

var<workgroup> part: array<f32, 256>;

@compute @workgroup_size(256)
fn squared_distance_f32(@builtin(local_invocation_index) l: u32) {
  var total = 0.0;
  var run = 0.0;
  var n = 0u;
  for (var i = l; i < ps.N; i += 256u) {
    let d = at[i] - c[i];
    run += d * d;
    n += 1u;
    if ((n & 63u) == 0u) { total += run; run = 0.0; }
  }
  part[l] = total + run;
  workgroupBarrier();
  for (var s = 128u; s > 0u; s >>= 1u) {
    if (l < s) { part[l] += part[l + s]; }
    workgroupBarrier();
  }
  if (l == 0u) { y[0] = part[0]; }
}

struct P { N: u32, radius: f32 }
@group(0) @binding(0) var<storage, read_write> p: array<f32>; // (N)
@group(0) @binding(1) var<storage, read_write> m: array<f32>; // (N)
@group(0) @binding(3) var<storage, read> sumsq: array<f32>;   // ()
@group(0) @binding(4) var<uniform> pp: P;

@compute @workgroup_size(64)
fn project_ball_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, n, l);
  let norm = sqrt(sumsq[0]);
  if (i >= pp.N || norm <= pp.radius) { return; }
  // radius 0 is c itself: c + 0·d would turn −0 into 0
  if (pp.radius == 0.0) { p[i] = c[i]; } else { p[i] = c[i] + pp.radius / norm * (p[i] - c[i]); }
  m[i] = 0.0;
}
