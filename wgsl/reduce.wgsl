//! use block
//! use index
//! use math
//! use optional
// Reductions of rows (R, C) -> (R): a workgroup of 64 a row, strided partial sums, then a tree; a thread a short row.
// Reductions of columns (L, S) -> (S) and expansions: a thread an output; tall ones in chunks (`split`).
struct PRow { R: u32, C: u32, beta: f32 }
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<uniform> p: PRow;

var<workgroup> part: array<f32, 64>;

fn store(i: u32, v: f32, beta: f32) {
  if (adds(beta)) { y[i] = beta * y[i] + v; } else { y[i] = v; }
}

fn tree_sum(l: u32) -> f32 {
  workgroupBarrier();
  for (var s = 32u; s > 0u; s >>= 1u) {
    if (l < s) { part[l] += part[l + s]; }
    workgroupBarrier();
  }
  return part[0];
}

// Of every `step`th number of a row, in runs of 64 terms that join the total.
fn strided_sum(r: u32, first: u32, step: u32, squares: bool) -> f32 {
  var total = 0.0;
  var run = 0.0;
  var n = 0u;
  for (var c = first; c < p.C; c += step) {
    let v = x[r * p.C + c];
    run += select(v, v * v, squares);
    n += 1u;
    if ((n & 63u) == 0u) { total += run; run = 0.0; }
  }
  return total + run;
}

fn row_sum(r: u32, l: u32, squares: bool) -> f32 {
  part[l] = strided_sum(r, l, 64u, squares);
  return tree_sum(l);
}

fn strided_max(r: u32, first: u32, step: u32) -> f32 {
  var m = x[r * p.C + min(first, max(p.C, 1u) - 1u)];
  for (var c = first + step; c < p.C; c += step) { m = max_nan(m, x[r * p.C + c]); }
  return m;
}

@compute @workgroup_size(64)
fn sum_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let r = w.y * g.x + w.x;
  let s = row_sum(min(r, max(p.R, 1u) - 1u), l, false);
  if (l == 0u && r < p.R) { store(r, s, p.beta); }
}

@compute @workgroup_size(64)
fn mean_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let r = w.y * g.x + w.x;
  let s = row_sum(min(r, max(p.R, 1u) - 1u), l, false);
  if (l == 0u && r < p.R) { store(r, s / f32(p.C), p.beta); }
}

@compute @workgroup_size(64)
fn sum_squares_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let r = w.y * g.x + w.x;
  let s = row_sum(min(r, max(p.R, 1u) - 1u), l, true);
  if (l == 0u && r < p.R) { store(r, s, p.beta); }
}

// max() may drop a NaN; this keeps it.
fn max_nan(a: f32, b: f32) -> f32 {
  return select(select(a, b, b > a || is_nan(b)), a, is_nan(a));
}

@compute @workgroup_size(64)
fn max_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let r = w.y * g.x + w.x;
  part[l] = strided_max(min(r, max(p.R, 1u) - 1u), l, 64u);
  workgroupBarrier();
  for (var s = 32u; s > 0u; s >>= 1u) {
    if (l < s) { part[l] = max_nan(part[l], part[l + s]); }
    workgroupBarrier();
  }
  if (l == 0u && r < p.R) { store(r, part[0], p.beta); }
}

@compute @workgroup_size(64)
fn sum_f32__short(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let r = linear_index(w, g, l);
  if (r < p.R) { store(r, strided_sum(r, 0u, 1u, false), p.beta); }
}

@compute @workgroup_size(64)
fn mean_f32__short(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let r = linear_index(w, g, l);
  if (r < p.R) { store(r, strided_sum(r, 0u, 1u, false) / f32(p.C), p.beta); }
}

@compute @workgroup_size(64)
fn sum_squares_f32__short(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let r = linear_index(w, g, l);
  if (r < p.R) { store(r, strided_sum(r, 0u, 1u, true), p.beta); }
}

@compute @workgroup_size(64)
fn max_f32__short(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let r = linear_index(w, g, l);
  if (r < p.R) { store(r, strided_max(r, 0u, 1u), p.beta); }
}

// A thread a row of blocks of sixteen, in runs of 64 that join its total, for adapters that run on the CPU.
@group(0) @binding(1) var<storage, read> xk: array<mat4x4f>;

fn blocks_sum(r: u32, squares: bool) -> f32 {
  let n = p.C / 16u;
  var total = mat4x4f();
  for (var first = 0u; first < n; first += 64u) {
    var run = mat4x4f();
    for (var i = first; i < min(first + 64u, n); i++) {
      let v = xk[r * n + i];
      if (squares) { run += block_times(v, v); } else { run += v; }
    }
    total += run;
  }
  return block_sum(total);
}

@compute @workgroup_size(64)
fn sum_f32__rows(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let r = linear_index(w, g, l);
  if (r < p.R) { store(r, blocks_sum(r, false), p.beta); }
}

@compute @workgroup_size(64)
fn mean_f32__rows(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let r = linear_index(w, g, l);
  if (r < p.R) { store(r, blocks_sum(r, false) / f32(p.C), p.beta); }
}

@compute @workgroup_size(64)
fn sum_squares_f32__rows(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let r = linear_index(w, g, l);
  if (r < p.R) { store(r, blocks_sum(r, true), p.beta); }
}

@compute @workgroup_size(64)
fn max_f32__rows(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let r = linear_index(w, g, l);
  if (r >= p.R) { return; }
  let n = p.C / 16u;
  var m = xk[r * n][0].x;
  var bits = vec4u();
  for (var i = 0u; i < n; i++) {
    let v = xk[r * n + i];
    m = max(m, block_max(v));
    bits = block_bits(bits, v);
  }
  store(r, select(m, bitcast<f32>(0x7fc00000u + (p.R & 0u)), any(bits > vec4u(INFINITE))), p.beta);
}

struct PLead { S: u32, L: u32, beta: f32 }
@group(0) @binding(2) var<uniform> pl: PLead;

@compute @workgroup_size(64)
fn sum_leading_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let c = linear_index(w, g, l);
  if (c >= pl.S) { return; }
  var total = 0.0;
  var run = 0.0;
  for (var i = 0u; i < pl.L; i++) {
    run += x[i * pl.S + c];
    if ((i & 255u) == 255u) { total += run; run = 0.0; }
  }
  store(c, total + run, pl.beta);
}

// A thread a column and chunk of CHUNK rows, then a thread a column.
const CHUNK = 64u;
@group(0) @binding(3) var<storage, read_write> scratch: array<f32>; // (chunks, S)

@compute @workgroup_size(64)
fn sum_leading_f32__split(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  let first = i / max(pl.S, 1u) * CHUNK;
  if (first >= pl.L) { return; }
  let c = i % pl.S;
  var total = 0.0;
  for (var k = first; k < min(first + CHUNK, pl.L); k++) { total += x[k * pl.S + c]; }
  scratch[i] = total;
}

@compute @workgroup_size(64)
fn sum_leading_f32__sum(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let c = linear_index(w, g, l);
  if (c >= pl.S) { return; }
  let chunks = (pl.L + CHUNK - 1u) / CHUNK;
  var total = 0.0;
  for (var k = 0u; k < chunks; k++) { total += scratch[k * pl.S + c]; }
  store(c, total, pl.beta);
}

struct PExpand { R: u32, C: u32, size: u32, beta: f32 }
@group(0) @binding(2) var<uniform> pe: PExpand;

@compute @workgroup_size(64)
fn expand_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i < pe.R * pe.C) { store(i, x[i / pe.C], pe.beta); }
}

struct PExpandLead { L: u32, S: u32, size: u32, beta: f32 }
@group(0) @binding(2) var<uniform> px: PExpandLead;

@compute @workgroup_size(64)
fn expand_leading_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i < px.L * px.S) { store(i, x[i % px.S], px.beta); }
}
