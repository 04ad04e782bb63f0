//! use optional
// y (B,N,M) = x (B,M,N): a workgroup moves a block of 16×16 through its memory, so that reads and writes
// are both contiguous. The padding keeps columns of a block in different banks.
struct P { B: u32, N: u32, M: u32, beta: f32 }
@group(0) @binding(0) var<storage, read_write> y: array<f32>; // (B,N,M)
@group(0) @binding(1) var<storage, read> x: array<f32>;       // (B,M,N)
@group(0) @binding(2) var<uniform> p: P;

var<workgroup> block: array<array<f32, 17>, 16>;

@compute @workgroup_size(16, 16)
fn transpose_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_id) l: vec3u) {
  let id = w.y * g.x + w.x;
  let across = (p.N + 15u) / 16u;
  let down = (p.M + 15u) / 16u;
  let b = id / (across * down);
  let n0 = (id % across) * 16u;
  let m0 = (id / across % down) * 16u;
  let o = b * p.M * p.N;
  let inside = b < p.B;
  if (inside && m0 + l.y < p.M && n0 + l.x < p.N) {
    block[l.y][l.x] = x[o + (m0 + l.y) * p.N + n0 + l.x];
  }
  workgroupBarrier();
  if (inside && n0 + l.y < p.N && m0 + l.x < p.M) {
    let i = o + (n0 + l.y) * p.M + m0 + l.x;
    let v = block[l.x][l.y];
    if (adds(p.beta)) { y[i] = p.beta * y[i] + v; } else { y[i] = v; }
  }
}
