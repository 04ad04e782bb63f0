//! use index
//! use optional
// Running sums of rows: a thread a row, a workgroup a row, or a thread a BLOCK, in three passes: the sum of
// each block, what comes before each, and the sums within.
struct P { R: u32, C: u32, exclusive: u32, reverse: u32, beta: f32 }
@group(0) @binding(0) var<storage, read_write> y: array<f32>; // (R,C)
@group(0) @binding(1) var<storage, read> x: array<f32>;       // (R,C)
@group(0) @binding(2) var<uniform> p: P;
@group(0) @binding(3) var<storage, read_write> sums: array<f32>; // (R,⌈C/BLOCK⌉)

const BLOCK = 256u;

// Where the k-th element of a row is that is added up.
fn place(row: u32, k: u32) -> u32 {
  return row * p.C + select(k, p.C - 1u - k, p.reverse == 1u);
}
fn put(i: u32, v: f32) {
  if (adds(p.beta)) { y[i] = p.beta * y[i] + v; } else { y[i] = v; }
}
fn run(row: u32, first: u32, past: u32, before: f32) {
  var s = before;
  for (var k = first; k < past; k++) {
    let i = place(row, k);
    let with_it = s + x[i];
    put(i, select(with_it, s, p.exclusive == 1u));
    s = with_it;
  }
}

@compute @workgroup_size(64)
fn cumsum_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = linear_index(w, g, l);
  if (row < p.R) { run(row, 0u, p.C, 0.0); }
}

@compute @workgroup_size(64)
fn cumsum_f32__blocks(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let t = linear_index(w, g, l);
  let blocks = (p.C + BLOCK - 1u) / BLOCK;
  if (t >= p.R * blocks) { return; }
  let first = (t % blocks) * BLOCK;
  var s = 0.0;
  for (var k = first; k < min(first + BLOCK, p.C); k++) { s += x[place(t / blocks, k)]; }
  sums[t] = s;
}

@compute @workgroup_size(64)
fn cumsum_offsets(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = linear_index(w, g, l);
  if (row >= p.R) { return; }
  let blocks = (p.C + BLOCK - 1u) / BLOCK;
  var s = 0.0;
  for (var b = row * blocks; b < (row + 1u) * blocks; b++) {
    let here = sums[b];
    sums[b] = s;
    s += here;
  }
}

@compute @workgroup_size(64)
fn cumsum_within(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let t = linear_index(w, g, l);
  let blocks = (p.C + BLOCK - 1u) / BLOCK;
  if (t >= p.R * blocks) { return; }
  let first = (t % blocks) * BLOCK;
  run(t / blocks, first, min(first + BLOCK, p.C), sums[t]);
}

var<workgroup> part: array<f32, 256>;

// 256 elements at a time, by the scan of Hillis & Steele (1986).
@compute @workgroup_size(256)
fn cumsum_f32__workgroup(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = w.y * g.x + w.x;
  var before = 0.0;
  for (var first = 0u; first < p.C; first += 256u) {
    let here = row < p.R && first + l < p.C;
    let i = place(row, first + l);
    var v = 0.0;
    if (here) { v = x[i]; }
    part[l] = v;
    workgroupBarrier();
    for (var step = 1u; step < 256u; step <<= 1u) {
      var s = part[l];
      if (l >= step) { s += part[l - step]; }
      workgroupBarrier();
      part[l] = s;
      workgroupBarrier();
    }
    var s = part[l];
    if (p.exclusive == 1u) {
      s = 0.0;
      if (l > 0u) { s = part[l - 1u]; }
    }
    if (here) { put(i, before + s); }
    before += part[255];
    workgroupBarrier();
  }
}
