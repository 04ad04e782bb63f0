//! use block
//! use index
//! use math
//! use online
//! use row
//! use share
//! use optional
// Softmax of rows and its two derivatives, its logarithm and the derivative of that: one workgroup of 64
// a row (grid in two dimensions). Few long rows are cut into slices (`split`). A thread has a short row to
// itself (`short`), on an adapter that runs on the CPU a longer one too (`rows`).
struct P { R: u32, C: u32, beta: f32 }
@group(0) @binding(0) var<storage, read_write> y: array<f32>; // (R,C)
@group(0) @binding(1) var<storage, read> x: array<f32>;       // (R,C)
@group(0) @binding(2) var<uniform> p: P;

fn put(i: u32, v: f32, beta: f32) {
  if (adds(beta)) { y[i] = beta * y[i] + v; } else { y[i] = v; }
}

fn at(o: u32, i: u32, to: u32) -> f32 { return select(LOWEST, x[o + min(i, to - 1u)], i < to); }

// The largest number of a row and 1 / Σ e^(x − m), or its ln Σ e^x; 0 for a row of -Inf.
fn softmax_of(a: vec2f) -> vec2f { return vec2f(a.x, select(1.0 / a.y, 0.0, a.y == 0.0)); }
fn log_of(a: vec2f) -> f32 { return select(online_lse(a), 0.0, a.y == 0.0); }

@compute @workgroup_size(64)
fn softmax_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = w.y * g.x + w.x;
  let inside = row < p.R;
  let o = select(0u, row, inside) * p.C;
  let t = softmax_of(online_all(share(o, l, p.C), l));
  if (!inside) { return; }
  for (var c = l; c < p.C; c += 64u) { put(o + c, exp_f(x[o + c] - t.x) * t.y, p.beta); }
}

@compute @workgroup_size(64)
fn log_softmax_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = w.y * g.x + w.x;
  let inside = row < p.R;
  let o = select(0u, row, inside) * p.C;
  let t = log_of(online_all(share(o, l, p.C), l));
  if (!inside) { return; }
  for (var c = l; c < p.C; c += 64u) { put(o + c, x[o + c] - t, p.beta); }
}

// ---- slices of SLICE numbers: a thread's share of each, then a workgroup a row, then the results ----

const SLICE = 4096u;
// (R, slices, 64) shares, then (R) totals.
@group(0) @binding(3) var<storage, read_write> scratch: array<vec2f>;

fn slices() -> u32 { return (p.C + SLICE - 1u) / SLICE; }

fn split_share(w: u32, l: u32) {
  let n = slices();
  if (w >= p.R * n) { return; }
  let first = w % n * SLICE;
  scratch[w * 64u + l] = share(w / n * p.C, first + l, min(first + SLICE, p.C));
}

@compute @workgroup_size(64)
fn softmax_f32__split(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  split_share(w.y * g.x + w.x, l);
}

@compute @workgroup_size(64)
fn log_softmax_f32__split(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  split_share(w.y * g.x + w.x, l);
}

@compute @workgroup_size(64)
fn softmax_split_total(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = w.y * g.x + w.x;
  let n = slices();
  var a = NOTHING;
  if (row < p.R) {
    for (var i = 0u; i < n; i++) { a = online_merge(a, scratch[(row * n + i) * 64u + l]); }
  }
  a = online_all(a, l);
  if (l == 0u && row < p.R) { scratch[p.R * n * 64u + row] = a; }
}

@compute @workgroup_size(64)
fn softmax_split_put(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let n = slices();
  let i = w.y * g.x + w.x;
  if (i >= p.R * n) { return; }
  let row = i / n;
  let t = softmax_of(scratch[p.R * n * 64u + row]);
  let to = min(i % n * SLICE + SLICE, p.C);
  for (var c = i % n * SLICE + l; c < to; c += 64u) {
    put(row * p.C + c, exp_f(x[row * p.C + c] - t.x) * t.y, p.beta);
  }
}

@compute @workgroup_size(64)
fn log_softmax_split_put(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let n = slices();
  let i = w.y * g.x + w.x;
  if (i >= p.R * n) { return; }
  let row = i / n;
  let t = log_of(scratch[p.R * n * 64u + row]);
  let to = min(i % n * SLICE + SLICE, p.C);
  for (var c = i % n * SLICE + l; c < to; c += 64u) { put(row * p.C + c, x[row * p.C + c] - t, p.beta); }
}

// ---- a thread a row, C a multiple of 16 ----------------------------------------------------------

@group(0) @binding(0) var<storage, read_write> yb: array<mat4x4f>;
@group(0) @binding(1) var<storage, read> xb: array<mat4x4f>;

fn put_block(i: u32, v: mat4x4f, beta: f32) {
  if (adds(beta)) { yb[i] = beta * yb[i] + v; } else { yb[i] = v; }
}

fn row_online(o: u32, n: u32) -> Online {
  var a = Online(NOTHING.x, NOTHING.y, vec4u());
  for (var i = 0u; i < n; i++) { a = block_online(a, xb[o + i]); }
  return a;
}

fn not_a_number() -> f32 { return bitcast<f32>(0x7fc00000u + (p.R & 0u)); }

@compute @workgroup_size(64)
fn softmax_f32__rows(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = linear_index(w, g, l);
  if (row >= p.R) { return; }
  let n = p.C / 16u;
  let o = row * n;
  let a = row_online(o, n);
  var t = softmax_of(vec2f(a.m, a.s));
  if (online_is_bad(a)) { t.y = not_a_number(); }
  for (var i = 0u; i < n; i++) { put_block(o + i, block_exp(xb[o + i], t.x) * t.y, p.beta); }
}

@compute @workgroup_size(64)
fn log_softmax_f32__rows(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = linear_index(w, g, l);
  if (row >= p.R) { return; }
  let n = p.C / 16u;
  let o = row * n;
  let a = row_online(o, n);
  var t = log_of(vec2f(a.m, a.s));
  if (online_is_bad(a)) { t = not_a_number(); }
  for (var i = 0u; i < n; i++) { put_block(o + i, block_less(xb[o + i], t), p.beta); }
}

// ---- a thread a short row --------------------------------------------------------------------------

@compute @workgroup_size(64)
fn softmax_f32__short(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = linear_index(w, g, l);
  if (row >= p.R) { return; }
  let o = row * p.C;
  let t = softmax_of(own(o, p.C));
  for (var c = o; c < o + p.C; c++) { put(c, exp_f(x[c] - t.x) * t.y, p.beta); }
}

@compute @workgroup_size(64)
fn log_softmax_f32__short(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = linear_index(w, g, l);
  if (row >= p.R) { return; }
  let o = row * p.C;
  let t = log_of(own(o, p.C));
  for (var c = o; c < o + p.C; c++) { put(c, x[c] - t, p.beta); }
}

// ---- derivatives ---------------------------------------------------------------------------------

@group(0) @binding(2) var<storage, read> v2: array<f32>; // (R,C)
@group(0) @binding(2) var<storage, read> v2b: array<mat4x4f>;
@group(0) @binding(3) var<uniform> pb: P;

// dx = y (dy − Σ dy·y); bindings dx, dy, y.
@compute @workgroup_size(64)
fn softmax_bwd_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = w.y * g.x + w.x;
  let inside = row < pb.R;
  let o = select(0u, row, inside) * pb.C;
  var s = 0.0;
  for (var c = l; c < pb.C; c += 64u) { s += x[o + c] * v2[o + c]; }
  s = row_all_sum(s, l);
  if (!inside) { return; }
  for (var c = l; c < pb.C; c += 64u) { put(o + c, v2[o + c] * (x[o + c] - s), pb.beta); }
}

@compute @workgroup_size(64)
fn softmax_bwd_f32__rows(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = linear_index(w, g, l);
  if (row >= pb.R) { return; }
  let n = pb.C / 16u;
  let o = row * n;
  var s = mat4x4f();
  for (var i = 0u; i < n; i++) { s += block_times(xb[o + i], v2b[o + i]); }
  let t = block_sum(s);
  for (var i = 0u; i < n; i++) { put_block(o + i, block_times(v2b[o + i], block_less(xb[o + i], t)), pb.beta); }
}

@compute @workgroup_size(64)
fn softmax_bwd_f32__short(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = linear_index(w, g, l);
  if (row >= pb.R) { return; }
  let o = row * pb.C;
  var s = 0.0;
  for (var c = o; c < o + pb.C; c++) { s += x[c] * v2[c]; }
  for (var c = o; c < o + pb.C; c++) { put(c, v2[c] * (x[c] - s), pb.beta); }
}

// dx = dy − e^y Σ dy; bindings dx, dy, y.
@compute @workgroup_size(64)
fn log_softmax_bwd_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = w.y * g.x + w.x;
  let inside = row < pb.R;
  let o = select(0u, row, inside) * pb.C;
  var s = 0.0;
  for (var c = l; c < pb.C; c += 64u) { s += x[o + c]; }
  s = row_all_sum(s, l);
  if (!inside) { return; }
  for (var c = l; c < pb.C; c += 64u) { put(o + c, x[o + c] - exp_f(v2[o + c]) * s, pb.beta); }
}

@compute @workgroup_size(64)
fn log_softmax_bwd_f32__rows(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = linear_index(w, g, l);
  if (row >= pb.R) { return; }
  let n = pb.C / 16u;
  let o = row * n;
  var s = mat4x4f();
  for (var i = 0u; i < n; i++) { s += xb[o + i]; }
  let t = block_sum(s);
  for (var i = 0u; i < n; i++) { put_block(o + i, xb[o + i] - block_exp(v2b[o + i], 0.0) * t, pb.beta); }
}

@compute @workgroup_size(64)
fn log_softmax_bwd_f32__short(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = linear_index(w, g, l);
  if (row >= pb.R) { return; }
  let o = row * pb.C;
  var s = 0.0;
  for (var c = o; c < o + pb.C; c++) { s += x[c]; }
  for (var c = o; c < o + pb.C; c++) { put(c, x[c] - exp_f(v2[c]) * s, pb.beta); }
}

@group(0) @binding(3) var<storage, read> v3: array<f32>; // (R,C)
@group(0) @binding(4) var<uniform> pbb: P;

// gy = u (dy − s) − dy t, s = Σ dy·y, t = Σ u·y; bindings gy, u, dy, y.
@compute @workgroup_size(64)
fn softmax_bwd_bwd_y_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = w.y * g.x + w.x;
  let inside = row < pbb.R;
  let o = select(0u, row, inside) * pbb.C;
  var s = 0.0;
  var t = 0.0;
  for (var c = l; c < pbb.C; c += 64u) {
    s += v2[o + c] * v3[o + c];
    t += x[o + c] * v3[o + c];
  }
  s = row_all_sum(s, l);
  t = row_all_sum(t, l);
  if (!inside) { return; }
  for (var c = l; c < pbb.C; c += 64u) { put(o + c, x[o + c] * (v2[o + c] - s) - v2[o + c] * t, pbb.beta); }
}

@group(0) @binding(3) var<storage, read> v3b: array<mat4x4f>;

@compute @workgroup_size(64)
fn softmax_bwd_bwd_y_f32__rows(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = linear_index(w, g, l);
  if (row >= pbb.R) { return; }
  let n = pbb.C / 16u;
  let o = row * n;
  var s = mat4x4f();
  var t = mat4x4f();
  for (var i = 0u; i < n; i++) {
    s += block_times(v2b[o + i], v3b[o + i]);
    t += block_times(xb[o + i], v3b[o + i]);
  }
  let sum = block_sum(s);
  let dot_u = block_sum(t);
  for (var i = 0u; i < n; i++) {
    let d = v2b[o + i];
    put_block(o + i, block_times(xb[o + i], block_less(d, sum)) - d * dot_u, pbb.beta);
  }
}

@compute @workgroup_size(64)
fn softmax_bwd_bwd_y_f32__short(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = linear_index(w, g, l);
  if (row >= pbb.R) { return; }
  let o = row * pbb.C;
  var s = 0.0;
  var t = 0.0;
  for (var c = o; c < o + pbb.C; c++) {
    s += v2[c] * v3[c];
    t += x[c] * v3[c];
  }
  for (var c = o; c < o + pbb.C; c++) { put(c, x[c] * (v2[c] - s) - v2[c] * t, pbb.beta); }
}
