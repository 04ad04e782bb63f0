//! use index
//! use merge
//! use optional
// Rows picked by an index, sums of them, and elements of each row: a thread an element. Their transposes sort the entries
// by where they go, and of each place by their order, so that the first of a run adds up the whole of it.
struct PG { N: u32, D: u32, V: u32, outside: u32, beta: f32 }
@group(0) @binding(0) var<storage, read_write> y: array<f32>; // (N,D), scatter (V,D)
@group(0) @binding(1) var<storage, read> x: array<f32>;       // (V,D), scatter (N,D)
@group(0) @binding(2) var<storage, read> index: array<i32>;   // (N)
@group(0) @binding(3) var<uniform> pg: PG;

fn put(i: u32, v: f32, beta: f32) {
  if (adds(beta)) { y[i] = beta * y[i] + v; } else { y[i] = v; }
}

// Of an index outside: NaN or 0.
fn other(outside: u32) -> f32 {
  return bitcast<f32>(select(0u, 0x7fc00000u + (outside & 0u), outside == 0u));
}

@compute @workgroup_size(64)
fn gather_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i >= pg.N * pg.D) { return; }
  let v = index[i / pg.D];
  if (v < 0 || u32(v) >= pg.V) {
    put(i, other(pg.outside), pg.beta);
    return;
  }
  put(i, x[u32(v) * pg.D + i % pg.D], pg.beta);
}

// D a multiple of 4: a thread four elements.
@group(0) @binding(0) var<storage, read_write> y4: array<vec4f>;
@group(0) @binding(1) var<storage, read> x4: array<vec4f>;

fn put4(i: u32, v: vec4f, beta: f32) {
  if (adds(beta)) { y4[i] = beta * y4[i] + v; } else { y4[i] = v; }
}

@compute @workgroup_size(64)
fn gather_f32__vec4(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  let D = pg.D / 4u;
  if (i >= pg.N * D) { return; }
  let n = i / D;
  let v = index[n];
  var row = vec4f(other(pg.outside));
  if (v >= 0 && u32(v) < pg.V) { row = x4[u32(v) * D + i - n * D]; }
  put4(i, row, pg.beta);
}

// Sums of rows: bags of K entries.
struct PB { N: u32, D: u32, V: u32, K: u32, outside: u32, beta: f32 }
@group(0) @binding(3) var<uniform> pb: PB;

@compute @workgroup_size(64)
fn embedding_bag_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i >= pb.N * pb.D) { return; }
  let n = i / pb.D;
  let c = i - n * pb.D;
  let absent = other(pb.outside);
  var s = 0.0;
  for (var k = n * pb.K; k < (n + 1u) * pb.K; k++) {
    let v = index[k];
    if (v >= 0 && u32(v) < pb.V) { s += x[u32(v) * pb.D + c]; } else { s += absent; }
  }
  put(i, s, pb.beta);
}

@compute @workgroup_size(64)
fn embedding_bag_f32__vec4(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  let D = pb.D / 4u;
  if (i >= pb.N * D) { return; }
  let n = i / D;
  let c = i - n * D;
  let absent = vec4f(other(pb.outside));
  var s = vec4f();
  for (var k = n * pb.K; k < (n + 1u) * pb.K; k++) {
    let v = index[k];
    if (v >= 0 && u32(v) < pb.V) { s += x4[u32(v) * D + c]; } else { s += absent; }
  }
  put4(i, s, pb.beta);
}

struct PGL { R: u32, K: u32, C: u32, outside: u32, beta: f32 }
@group(0) @binding(3) var<uniform> pgl: PGL;

@compute @workgroup_size(64)
fn gather_last_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i >= pgl.R * pgl.K) { return; }
  let c = index[i];
  if (c < 0 || u32(c) >= pgl.C) {
    put(i, other(pgl.outside), pgl.beta);
    return;
  }
  put(i, x[i / pgl.K * pgl.C + u32(c)], pgl.beta);
}

// scatter_add: (V,D) from (N,D), by E entries. Where LAST is 1, scatter_add_last has R, C, K and K again in the
// same words.
struct PS { V: u32, D: u32, N: u32, E: u32, size: u32, beta: f32 }
@group(0) @binding(3) var<uniform> ps: PS;
// Width of the lists before an even and before an odd pass, then two lists of entries.
@group(0) @binding(4) var<storage, read_write> scratch: array<u32>; // 2 + 2 (E), 2 + 2 (R,K)

const LAST = 0u;

fn rows_of() -> u32 { return select(1u, ps.V, LAST == 1u); }
fn places() -> u32 { return select(ps.V, ps.D, LAST == 1u); }
fn columns() -> u32 { return select(ps.D, 1u, LAST == 1u); }
// Entries that add one row of x; of scatter_add_last K / K.
fn each_row() -> u32 { return ps.E / max(ps.N, 1u); }

fn item(side: u32, at: u32) -> u32 {
  return scratch[2u + side * rows_of() * ps.E + at];
}
fn put_item(side: u32, at: u32, v: u32) {
  scratch[2u + side * rows_of() * ps.E + at] = v;
}
// Entries outside come last.
fn item_key(row: u32, i: u32) -> u32 {
  let v = index[row * ps.E + i];
  return select(min(u32(v), places()), places(), v < 0);
}

fn sort_entries(t: u32) {
  if (t == 0u) { scratch[0] = BLOCK; }
  sort_block(t, 0u, rows_of(), ps.E);
}

@compute @workgroup_size(64)
fn scatter_add_f32__sorted(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  sort_entries(linear_index(w, g, l));
}

@compute @workgroup_size(64)
fn scatter_add_last_f32__sorted(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  sort_entries(linear_index(w, g, l));
}

@compute @workgroup_size(64)
fn scatter_merge_even(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let t = linear_index(w, g, l);
  let width = scratch[0];
  if (t == 0u) { scratch[1] = 2u * width; }
  merge_pass(t, 0u, width, rows_of(), ps.E);
}

@compute @workgroup_size(64)
fn scatter_merge_odd(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let t = linear_index(w, g, l);
  let width = scratch[1];
  if (t == 0u) { scratch[0] = 2u * width; }
  merge_pass(t, 1u, width, rows_of(), ps.E);
}

// What no entry names: 0 or what was there. Eight elements a thread.
@compute @workgroup_size(64)
fn scatter_start(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let first = (w.y * g.x + w.x) * 512u + l;
  for (var i = first; i < min(first + 512u, ps.V * ps.D); i += 64u) { put(i, 0.0, ps.beta); }
}

// A thread an entry in sorted order and a column.
@compute @workgroup_size(64)
fn scatter_sum(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let t = linear_index(w, g, l);
  let D = columns();
  let row = t / max(1u, ps.E * D);
  if (row >= rows_of() || ps.E * D == 0u) { return; }
  let j = t / D % ps.E;
  let o = row * ps.E;
  let side = merge_levels(ps.E) & 1u;
  let to = item_key(row, item(side, o + j));
  if (to >= places()) { return; }
  if (j > 0u) {
    if (item_key(row, item(side, o + j - 1u)) == to) { return; }
  }
  let each = each_row();
  var s = 0.0;
  for (var k = j; k < ps.E; k++) {
    let i = item(side, o + k);
    if (item_key(row, i) != to) { break; }
    s += x[(o + i) / each * D + t % D];
  }
  y[(row * places() + to) * D + t % D] += s;
}

// Few entries: each element of y looks through all of them.
@compute @workgroup_size(64)
fn scatter_add_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let t = linear_index(w, g, l);
  if (t >= ps.V * ps.D) { return; }
  let to = i32(t / ps.D);
  var s = 0.0;
  let each = each_row();
  for (var i = 0u; i < ps.E; i++) {
    if (index[i] == to) { s += x[i / each * ps.D + t % ps.D]; }
  }
  put(t, s, ps.beta);
}

// On a CPU adapter: a thread a column, which takes the entries in their order. Sorting them first costs more.
@compute @workgroup_size(64)
fn scatter_add_f32__columns(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let c = linear_index(w, g, l);
  if (c >= ps.D) { return; }
  for (var v = 0u; v < ps.V; v++) { put(v * ps.D + c, 0.0, ps.beta); }
  let each = each_row();
  for (var n = 0u; n < ps.N; n++) {
    let add = x[n * ps.D + c];
    for (var i = n * each; i < (n + 1u) * each; i++) {
      let v = index[i];
      if (v >= 0 && u32(v) < ps.V) { y[u32(v) * ps.D + c] += add; }
    }
  }
}

struct PSL { R: u32, C: u32, K: u32, E: u32, size: u32, beta: f32 }
@group(0) @binding(3) var<uniform> psl: PSL;

@compute @workgroup_size(64)
fn scatter_add_last_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let t = linear_index(w, g, l);
  if (t >= psl.R * psl.C) { return; }
  let to = i32(t % psl.C);
  let first = t / psl.C * psl.K;
  var s = 0.0;
  for (var i = first; i < first + psl.K; i++) {
    if (index[i] == to) { s += x[i]; }
  }
  put(t, s, psl.beta);
}
