//! use product
//! use tiles
// y (B,M,N) = beta·y + act(alpha · A·B + bias), and products with a packed B.
@group(0) @binding(1) var<storage, read> a: array<f32>;       // (A,M,K) or (A,K,M); A is B or 1
@group(0) @binding(2) var<storage, read> b: array<f32>;       // (C,K,N) or (C,N,K); C is B or 1

// A 4×4 block a thread: 16 sums in registers for 8 loads, and no barriers. Rows and columns past the end
// repeat the last and are not stored.
@compute @workgroup_size(64)
fn matmul_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  let across = (p.N + 3u) / 4u;
  let down = (p.M + 3u) / 4u;
  if (i >= p.B * down * across) { return; }
  let n = i % across * 4u;
  let m = i / across % down * 4u;
  let batch = i / (across * down);
  let rows = min(vec4u(m) + vec4u(0u, 1u, 2u, 3u), vec4u(p.M - 1u));
  let columns = min(vec4u(n) + vec4u(0u, 1u, 2u, 3u), vec4u(p.N - 1u));
  var ia = vec4u(start_a(batch, rows.x), start_a(batch, rows.y), start_a(batch, rows.z), start_a(batch, rows.w));
  var ib = vec4u(start_b(batch, columns.x), start_b(batch, columns.y), start_b(batch, columns.z), start_b(batch, columns.w));
  let da = step_a();
  let db = step_b();
  var s0 = vec4f();
  var s1 = vec4f();
  var s2 = vec4f();
  var s3 = vec4f();
  for (var k = 0u; k < p.K; k++) {
    let v = vec4f(b[ib.x], b[ib.y], b[ib.z], b[ib.w]);
    s0 += a[ia.x] * v;
    s1 += a[ia.y] * v;
    s2 += a[ia.z] * v;
    s3 += a[ia.w] * v;
    ia += vec4u(da);
    ib += vec4u(db);
  }
  let sums = array<vec4f, 4>(s0, s1, s2, s3);
  for (var r = 0u; r < min(4u, p.M - m); r++) {
    for (var c = 0u; c < min(4u, p.N - n); c++) {
      let at = (batch * p.M + m + r) * p.N + n + c;
      finish(at, n + c, sums[r][c], p.alpha, p.present, p.act, p.beta);
    }
  }
}

// Small products: a thread an element, for there are few of them.
@compute @workgroup_size(64)
fn matmul_f32__small(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i >= p.B * p.M * p.N) { return; }
  let n = i % p.N;
  let m = (i / p.N) % p.M;
  let batch = i / (p.M * p.N);
  var ia = start_a(batch, m);
  var ib = start_b(batch, n);
  let da = step_a();
  let db = step_b();
  var s = 0.0;
  for (var k = 0u; k < p.K; k++) {
    s += a[ia] * b[ib];
    ia += da;
    ib += db;
  }
  finish(i, n, s, p.alpha, p.present, p.act, p.beta);
}

// For lib/tiles: the 4×4 block of a at (m, k), a column of it a k, and of b at (k, n), a column of it a k; zero
// past K, and past the last row or column whatever is there.
fn block_a(batch: u32, m: u32, k: u32) -> mat4x4f {
  let rows = min(vec4u(m) + OFFSETS, vec4u(p.M - 1u));
  let at = vec4u(start_a(batch, rows.x), start_a(batch, rows.y), start_a(batch, rows.z), start_a(batch, rows.w));
  var t = mat4x4f();
  for (var i = 0u; i < min(4u, p.K - min(k, p.K)); i++) {
    let o = at + (k + i) * step_a();
    t[i] = vec4f(a[o.x], a[o.y], a[o.z], a[o.w]);
  }
  return t;
}

fn block_b(batch: u32, k: u32, n: u32) -> mat4x4f {
  let columns = min(vec4u(n) + OFFSETS, vec4u(p.N - 1u));
  let at = vec4u(start_b(batch, columns.x), start_b(batch, columns.y), start_b(batch, columns.z), start_b(batch, columns.w));
  var t = mat4x4f();
  for (var i = 0u; i < min(4u, p.K - min(k, p.K)); i++) {
    let o = at + (k + i) * step_b();
    t[i] = vec4f(b[o.x], b[o.y], b[o.z], b[o.w]);
  }
  return t;
}

@compute @workgroup_size(128)
fn matmul_f32__tiles(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let tile = tile_of(w, g);
  if (tile.batch >= p.B) { return; }
  store_tile(tile, l, tile_sums(tile, l, 0u, p.K));
}

// Few outputs and a long K: parts of K, at most 32, go to workgroups of their own, their sums to scratch
// (parts,B,M,N), and a second pass adds them up in order.
@group(0) @binding(5) var<storage, read_write> partial: array<f32>;

fn parts() -> u32 { return min((p.K + 511u) / 512u, 32u); }

@compute @workgroup_size(128)
fn matmul_f32__split(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  var tile = tile_of(w, g);
  // Batches of the grid are parts times batches.
  let part = tile.batch / p.B;
  tile.batch = tile.batch % p.B;
  if (part >= parts()) { return; }
  let depth = ((p.K + parts() - 1u) / parts() + DEPTH - 1u) / DEPTH * DEPTH;
  let s = tile_sums(tile, l, min(part * depth, p.K), min((part + 1u) * depth, p.K));
  let n = tile.n + l % 16u * 4u;
  for (var r = 0u; r < 8u; r++) {
    let m = tile.m + l / 16u * 8u + r;
    for (var c = 0u; c < 4u; c++) {
      if (m < p.M && n + c < p.N) { partial[((part * p.B + tile.batch) * p.M + m) * p.N + n + c] = s[r][c]; }
    }
  }
}

@compute @workgroup_size(64)
fn matmul_f32__split_sum(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  let size = p.B * p.M * p.N;
  if (i >= size) { return; }
  var s = 0.0;
  for (var part = 0u; part < parts(); part++) { s += partial[part * size + i]; }
  finish(i, i % p.N, s, p.alpha, p.present, p.act, p.beta);
}

// Up to four rows, whose sums are a vector. Neighbouring threads read neighbouring elements of b: 64 columns by
// 4 parts of K or, where rows of b are columns of the product, 4 columns by 64 parts.
var<workgroup> gemv_part: array<vec4f, 256>;

@compute @workgroup_size(256)
fn matmul_f32__gemv(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let wide = select(64u, 4u, p.tb != 0u);
  let group = w.y * g.x + w.x;
  let across = (p.N + wide - 1u) / wide;
  if (group >= p.B * across) { return; }
  let batch = group / across;
  let apart = select(64u, 1u, p.tb != 0u);
  let column = select(l % 64u, l / 64u, p.tb != 0u);
  let part = select(l / 64u, l % 64u, p.tb != 0u);
  let n = group % across * wide + column;
  let rows = min(OFFSETS, vec4u(p.M - 1u));
  let ia = vec4u(start_a(batch, rows.x), start_a(batch, rows.y), start_a(batch, rows.z), start_a(batch, rows.w));
  let ib = start_b(batch, min(n, p.N - 1u));
  var s = vec4f();
  for (var k = part; k < p.K; k += 256u / wide) {
    let o = ia + k * step_a();
    let v = b[ib + k * step_b()];
    // The rows that are there; b is read once for all of them.
    s.x += a[o.x] * v;
    if (p.M > 1u) { s += vec4f(0.0, a[o.y], a[o.z], a[o.w]) * v; }
  }
  gemv_part[l] = s;
  workgroupBarrier();
  for (var half = 128u / wide; half > 0u; half /= 2u) {
    if (part < half) { gemv_part[l] += gemv_part[l + half * apart]; }
    workgroupBarrier();
  }
  if (part != 0u || n >= p.N) { return; }
  let sums = gemv_part[l];
  for (var m = 0u; m < p.M; m++) {
    finish((batch * p.M + m) * p.N + n, n, sums[m], p.alpha, p.present, p.act, p.beta);
  }
}

fn row_at(columns: vec4u, k: u32) -> vec4f {
  let o = columns + k * step_b();
  return vec4f(b[o.x], b[o.y], b[o.z], b[o.w]);
}

// One row on a CPU adapter, where what counts is the number of loads: eight columns a thread for one of a. Four
// threads, which are the lanes of a vector, go down 32 neighbouring columns: whole cache lines.
@compute @workgroup_size(64)
fn matmul_f32__row(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let group = w.y * g.x + w.x;
  let across = (p.N + 511u) / 512u;
  if (group >= p.B * across) { return; }
  let batch = group / across;
  let n = group % across * 512u + l / 4u * 32u + l % 4u;
  let ia = start_a(batch, 0u);
  var o0 = vec4u();
  var o1 = vec4u();
  for (var c = 0u; c < 4u; c++) {
    o0[c] = start_b(batch, min(n + c * 4u, p.N - 1u));
    o1[c] = start_b(batch, min(n + c * 4u + 16u, p.N - 1u));
  }
  let da = step_a();
  var s0 = vec4f();
  var s1 = vec4f();
  // Four of k at a time: what is carried around the loop is loaded and stored less often.
  var k = 0u;
  for (; k + 3u < p.K; k += 4u) {
    let x = vec4f(a[ia + k * da], a[ia + (k + 1u) * da], a[ia + (k + 2u) * da], a[ia + (k + 3u) * da]);
    s0 = s0 + x.x * row_at(o0, k) + x.y * row_at(o0, k + 1u) + x.z * row_at(o0, k + 2u) + x.w * row_at(o0, k + 3u);
    s1 = s1 + x.x * row_at(o1, k) + x.y * row_at(o1, k + 1u) + x.z * row_at(o1, k + 2u) + x.w * row_at(o1, k + 3u);
  }
  for (; k < p.K; k++) {
    let x = a[ia + k * da];
    s0 += x * row_at(o0, k);
    s1 += x * row_at(o1, k);
  }
  for (var c = 0u; c < 8u; c++) {
    let column = n + c * 4u;
    if (column < p.N) {
      finish(batch * p.N + column, column, select(s0[c & 3u], s1[c & 3u], c > 3u), p.alpha, p.present, p.act, p.beta);
    }
  }
}

// Panels (P,K,8): packed[p][k][j] = b[k][8p + j], zero past column N.
fn in_panels(k: u32, n: u32, K: u32) -> u32 {
  return ((n >> 3u) * K + k) * 8u + (n & 7u);
}

struct PM { R: u32, N: u32, K: u32, P: u32, present: u32, alpha: f32, act: u32, n: u32, beta: f32 }
@group(0) @binding(4) var<uniform> pm: PM;

// y (R,N) of a (R,K) and panels, which are bound as b: a thread an element.
@compute @workgroup_size(64)
fn matmul_packed_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i >= pm.R * pm.N) { return; }
  let n = i % pm.N;
  let row = i / pm.N * pm.K;
  var s = 0.0;
  for (var k = 0u; k < pm.K; k++) { s += a[row + k] * b[in_panels(k, n, pm.K)]; }
  finish(i, n, s, pm.alpha, pm.present, pm.act, pm.beta);
}

struct PP { P: u32, K: u32, N: u32, tb: u32, beta: f32 }
@group(0) @binding(2) var<uniform> pp: PP;

// y the panels, a the matrix: a thread an element of the panels.
@compute @workgroup_size(64)
fn pack_b_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i >= pp.P * pp.K * 8u) { return; }
  let n = i / (8u * pp.K) * 8u + i % 8u;
  let k = i / 8u % pp.K;
  var v = 0.0;
  if (n < pp.N) { v = a[select(k * pp.N + n, n * pp.K + k, pp.tb != 0u)]; }
  put(i, v, pp.beta);
}

struct PU { K: u32, N: u32, P: u32, tb: u32, n: u32, beta: f32 }
@group(0) @binding(2) var<uniform> pu: PU;

// y the matrix, a the panels: a thread an element of the matrix.
@compute @workgroup_size(64)
fn unpack_b_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i >= pu.K * pu.N) { return; }
  let k = select(i / pu.N, i % pu.K, pu.tb != 0u);
  let n = select(i % pu.N, i / pu.K, pu.tb != 0u);
  put(i, a[in_panels(k, n, pu.K)], pu.beta);
}
