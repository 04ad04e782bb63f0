//! use index
// Projection on a ball around c (N), after ball_sums: ‖p − c‖² and ⟨m, p − c⟩ by one workgroup, strided partial
// sums, then a tree.
struct PSums { N: u32 }
@group(0) @binding(0) var<storage, read_write> sums_out: array<f32>; // (2)
@group(0) @binding(1) var<storage, read> p_in: array<f32>;           // (N)
@group(0) @binding(2) var<storage, read> c: array<f32>;              // (N)
@group(0) @binding(3) var<storage, read> m_in: array<f32>;           // (N)
@group(0) @binding(4) var<uniform> ps: PSums;

var<workgroup> part: array<vec2f, 256>;

@compute @workgroup_size(256)
fn ball_sums_f32(@builtin(local_invocation_index) l: u32) {
  var total = vec2f(0.0);
  var run = vec2f(0.0);
  var n = 0u;
  for (var i = l; i < ps.N; i += 256u) {
    let d = p_in[i] - c[i];
    run += vec2f(d * d, m_in[i] * d);
    n += 1u;
    if ((n & 63u) == 0u) { total += run; run = vec2f(0.0); }
  }
  part[l] = total + run;
  workgroupBarrier();
  for (var s = 128u; s > 0u; s >>= 1u) {
    if (l < s) { part[l] += part[l + s]; }
    workgroupBarrier();
  }
  if (l == 0u) {
    sums_out[0] = part[0].x;
    sums_out[1] = part[0].y;
  }
}

struct P { N: u32, radius: f32 }
@group(0) @binding(0) var<storage, read_write> p: array<f32>; // (N)
@group(0) @binding(1) var<storage, read_write> m: array<f32>; // (N)
@group(0) @binding(3) var<storage, read> sums: array<f32>;    // (2)
@group(0) @binding(4) var<uniform> pp: P;

@compute @workgroup_size(64)
fn project_ball_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, n, l);
  let norm = sqrt(sums[0]);
  if (i >= pp.N || norm <= pp.radius) { return; }
  let d = p[i] - c[i];
  if (sums[1] < 0.0) { m[i] -= sums[1] / sums[0] * d; }
  // radius 0 is c itself: c + 0·d would turn −0 into 0
  if (pp.radius == 0.0) { p[i] = c[i]; } else { p[i] = c[i] + pp.radius / norm * d; }
}
