//! use index
//! use order
// The first of the largest or smallest of each row: a thread a row, or a thread 256 elements and then one
// a row for the best of those.
struct P { R: u32, C: u32 }
@group(0) @binding(0) var<storage, read_write> index: array<i32>; // (R)
@group(0) @binding(1) var<storage, read> x: array<f32>;           // (R,C)
@group(0) @binding(2) var<uniform> p: P;
@group(0) @binding(3) var<storage, read_write> found: array<vec2u>; // (R,⌈C/256⌉) key and place

// The least key of a part of a row, the first where it is, with `sign` −1 for the smallest element.
fn first_of(row: u32, first: u32, past: u32, sign: f32) -> vec2u {
  var best = vec2u(0xffffffffu, first);
  for (var c = first; c < past; c++) {
    let key = key_of(sign * x[row * p.C + c], LARGEST);
    if (key < best.x) { best = vec2u(key, c); }
  }
  return best;
}

fn row_first(row: u32, sign: f32) {
  if (row < p.R) { index[row] = i32(first_of(row, 0u, p.C, sign).y); }
}

fn block_first(t: u32, sign: f32) {
  let blocks = (p.C + 255u) / 256u;
  if (t >= p.R * blocks) { return; }
  let first = (t % blocks) * 256u;
  found[t] = first_of(t / blocks, first, min(first + 256u, p.C), sign);
}

@compute @workgroup_size(64)
fn argmax_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  row_first(linear_index(w, g, l), 1.0);
}

@compute @workgroup_size(64)
fn argmin_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  row_first(linear_index(w, g, l), -1.0);
}

@compute @workgroup_size(64)
fn argmax_f32__blocks(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  block_first(linear_index(w, g, l), 1.0);
}

@compute @workgroup_size(64)
fn argmin_f32__blocks(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  block_first(linear_index(w, g, l), -1.0);
}

@compute @workgroup_size(64)
fn arg_first(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = linear_index(w, g, l);
  if (row >= p.R) { return; }
  let blocks = (p.C + 255u) / 256u;
  var best = found[row * blocks];
  for (var b = 1u; b < blocks; b++) {
    let other = found[row * blocks + b];
    if (other.x < best.x) { best = other; }
  }
  index[row] = i32(best.y);
}
