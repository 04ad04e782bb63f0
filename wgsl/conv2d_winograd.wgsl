//! use index
//! use activation
//! use outer
//! use optional
// 3×3 convolution by minimal filtering F(m×m, 3×3), m = 2 or 4. First a thread a tile of m×m pixels of one
// output channel. N = m + 2 points an axis; arrays are of the larger m, rows of 6. Zeros are written out:
// in a loop a var without a value kept its old one on a software adapter.

struct P {
  B: u32, O: u32, P: u32, Q: u32, C: u32, H: u32, W: u32,
  present: u32,
  tile: u32, pad: u32, act: u32, beta: f32,
}
@group(0) @binding(0) var<storage, read_write> y: array<f32>; // (B,O,P,Q)
@group(0) @binding(1) var<storage, read> x: array<f32>;       // (B,C,H,W)
@group(0) @binding(2) var<storage, read> u: array<f32>;       // (N²,O,C)
@group(0) @binding(3) var<storage, read> bias: array<f32>;    // (O)
@group(0) @binding(4) var<storage, read> w: array<f32>;       // (O,C,3,3), for the gradient alone
@group(0) @binding(5) var<uniform> p: P;

fn image_transform(m: u32, d: array<f32, 6>) -> array<f32, 6> {
  if (m == 2u) { return array<f32, 6>(d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3], 0.0, 0.0); }
  let even = d[4] - 4.0 * d[2];
  let odd = d[3] - 4.0 * d[1];
  let even2 = d[4] - d[2];
  let odd2 = 2.0 * (d[3] - d[1]);
  return array<f32, 6>(
    4.0 * d[0] - 5.0 * d[2] + d[4], even + odd, even - odd, even2 + odd2, even2 - odd2, 4.0 * d[1] - 5.0 * d[3] + d[5],
  );
}

fn result_transform(m: u32, s: array<f32, 6>) -> array<f32, 4> {
  let sum = s[1] + s[2];
  let difference = s[1] - s[2];
  if (m == 2u) { return array<f32, 4>(s[0] + sum, difference - s[3], 0.0, 0.0); }
  let sum2 = s[3] + s[4];
  let difference2 = s[3] - s[4];
  return array<f32, 4>(s[0] + sum + sum2, difference + 2.0 * difference2, sum + 4.0 * sum2, difference + 8.0 * difference2 + s[5]);
}

@compute @workgroup_size(64)
fn conv2d_winograd_f32(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) l: u32) {
  let m = select(2u, 4u, p.tile == 1u);
  let n = m + 2u;
  let down = (p.P + m - 1u) / m;
  let across = (p.Q + m - 1u) / m;
  let t = linear_index(wid, grid, l);
  if (t >= p.B * p.O * down * across) { return; }
  let left = t % across * m;
  let top = t / across % down * m;
  let o = t / (across * down) % p.O;
  let b = t / (across * down * p.O);
  var sums = array<f32, 36>();
  for (var c = 0u; c < p.C; c++) {
    var rows = array<f32, 36>();
    for (var i = 0u; i < n; i++) {
      var d = array<f32, 6>();
      let h = top + i - p.pad;
      for (var j = 0u; j < n; j++) {
        let v = left + j - p.pad;
        if (h < p.H && v < p.W) { d[j] = x[((b * p.C + c) * p.H + h) * p.W + v]; }
      }
      d = image_transform(m, d);
      for (var j = 0u; j < n; j++) { rows[6u * i + j] = d[j]; }
    }
    for (var j = 0u; j < n; j++) {
      var d = array<f32, 6>();
      for (var i = 0u; i < n; i++) { d[i] = rows[6u * i + j]; }
      d = image_transform(m, d);
      for (var i = 0u; i < n; i++) { sums[6u * i + j] += d[i] * u[((i * n + j) * p.O + o) * p.C + c]; }
    }
  }
  var columns = array<f32, 24>();
  for (var j = 0u; j < n; j++) {
    var s = array<f32, 6>();
    for (var i = 0u; i < n; i++) { s[i] = sums[6u * i + j]; }
    let r = result_transform(m, s);
    for (var i = 0u; i < m; i++) { columns[6u * i + j] = r[i]; }
  }
  let add = select(0.0, bias[o], (p.present & 1u) != 0u);
  for (var i = 0u; i < m && top + i < p.P; i++) {
    var s = array<f32, 6>();
    for (var j = 0u; j < n; j++) { s[j] = columns[6u * i + j]; }
    let r = result_transform(m, s);
    for (var j = 0u; j < m && left + j < p.Q; j++) {
      let at = ((b * p.O + o) * p.P + top + i) * p.Q + left + j;
      let v = activate(p.act, r[j] + add);
      if (adds(p.beta)) { y[at] = p.beta * y[at] + v; } else { y[at] = v; }
    }
  }
}

struct PF { O: u32, C: u32, tile: u32, beta: f32 }
@group(0) @binding(0) var<storage, read_write> u_f: array<f32>; // (N²,O,C)
@group(0) @binding(1) var<storage, read> w_f: array<f32>;       // (O,C,3,3)
@group(0) @binding(2) var<uniform> pf: PF;

fn kernel_transform(m: u32, k: vec3f) -> array<f32, 6> {
  let ends = k.x + k.z;
  if (m == 2u) { return array<f32, 6>(k.x, 0.5 * (ends + k.y), 0.5 * (ends - k.y), k.z, 0.0, 0.0); }
  let a = k.x / 24.0 + k.z / 6.0;
  let b = k.y / 12.0;
  return array<f32, 6>(0.25 * k.x, (ends + k.y) / -6.0, (ends - k.y) / -6.0, a + b, a - b, k.z);
}

@compute @workgroup_size(64)
fn winograd_filter_f32(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) l: u32) {
  let t = linear_index(wid, grid, l);
  if (t >= pf.O * pf.C) { return; }
  let m = select(2u, 4u, pf.tile == 1u);
  let n = m + 2u;
  var columns = array<f32, 18>();
  for (var j = 0u; j < 3u; j++) {
    let k = kernel_transform(m, vec3f(w_f[9u * t + j], w_f[9u * t + j + 3u], w_f[9u * t + j + 6u]));
    for (var i = 0u; i < n; i++) { columns[3u * i + j] = k[i]; }
  }
  for (var i = 0u; i < n; i++) {
    let r = kernel_transform(m, vec3f(columns[3u * i], columns[3u * i + 1u], columns[3u * i + 2u]));
    for (var j = 0u; j < n; j++) {
      let at = (i * n + j) * pf.O * pf.C + t;
      if (adds(pf.beta)) { u_f[at] = pf.beta * u_f[at] + r[j]; } else { u_f[at] = r[j]; }
    }
  }
}

// ---- in three passes: image to points, a product at every point, points to pixels -------------------

// Points of the image (N²,C,tiles), then those of the result (N²,O,tiles); tiles in fours.
@group(0) @binding(6) var<storage, read_write> points: array<f32>;
@group(0) @binding(6) var<storage, read_write> points4: array<vec4f>;

struct Tiling { m: u32, n: u32, down: u32, across: u32, tiles: u32, quads: u32 }
fn tiling() -> Tiling {
  let m = select(2u, 4u, p.tile == 1u);
  let down = (p.P + m - 1u) / m;
  let across = (p.Q + m - 1u) / m;
  let tiles = p.B * down * across;
  return Tiling(m, m + 2u, down, across, tiles, (tiles + 3u) / 4u);
}
struct Tile { valid: bool, b: u32, channel: u32, top: u32, left: u32, t: u32 }
// A thread a tile and channel, those past the last tile included.
fn tile_of(s: Tiling, i: u32) -> Tile {
  let t = i % (4u * s.quads);
  return Tile(
    t < s.tiles, t / (s.down * s.across), i / (4u * s.quads), t / s.across % s.down * s.m, t % s.across * s.m, t,
  );
}
fn pixel(at: Tile, h: u32, v: u32) -> f32 {
  let y = at.top - p.pad + h;
  let x0 = at.left - p.pad + v;
  let inside = at.valid && y < p.H && x0 < p.W;
  return select(0.0, x[((at.b * p.C + at.channel) * p.H + y) * p.W + x0], inside);
}

// Rows of four and of six numbers; the transforms of matrices apply to whole rows, then within each.
fn row4(at: Tile, h: u32) -> vec4f {
  return vec4f(pixel(at, h, 0u), pixel(at, h, 1u), pixel(at, h, 2u), pixel(at, h, 3u));
}
fn row6(at: Tile, h: u32) -> mat2x3f {
  return mat2x3f(
    pixel(at, h, 0u), pixel(at, h, 1u), pixel(at, h, 2u), pixel(at, h, 3u), pixel(at, h, 4u), pixel(at, h, 5u),
  );
}
fn put_row4(s: Tiling, at: Tile, i: u32, r: vec4f) {
  let step = 4u * p.C * s.quads;
  let to = 4u * i * step + at.channel * 4u * s.quads + at.t;
  points[to] = r.x - r.z;
  points[to + step] = r.y + r.z;
  points[to + 2u * step] = r.z - r.y;
  points[to + 3u * step] = r.y - r.w;
}
fn put_row6(s: Tiling, at: Tile, i: u32, r: mat2x3f) {
  let step = 4u * p.C * s.quads;
  let to = 6u * i * step + at.channel * 4u * s.quads + at.t;
  let even = r[1].y - 4.0 * r[0].z;
  let odd = r[1].x - 4.0 * r[0].y;
  let even2 = r[1].y - r[0].z;
  let odd2 = 2.0 * (r[1].x - r[0].y);
  points[to] = 4.0 * r[0].x - 5.0 * r[0].z + r[1].y;
  points[to + step] = even + odd;
  points[to + 2u * step] = even - odd;
  points[to + 3u * step] = even2 + odd2;
  points[to + 4u * step] = even2 - odd2;
  points[to + 5u * step] = 4.0 * r[0].y - 5.0 * r[1].x + r[1].z;
}

@compute @workgroup_size(64)
fn conv2d_winograd_image2_f32(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) l: u32) {
  let s = tiling();
  let at = tile_of(s, linear_index(wid, grid, l));
  if (at.channel >= p.C) { return; }
  let r0 = row4(at, 0u);
  let r1 = row4(at, 1u);
  let r2 = row4(at, 2u);
  let r3 = row4(at, 3u);
  put_row4(s, at, 0u, r0 - r2);
  put_row4(s, at, 1u, r1 + r2);
  put_row4(s, at, 2u, r2 - r1);
  put_row4(s, at, 3u, r1 - r3);
}

@compute @workgroup_size(64)
fn conv2d_winograd_image4_f32(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) l: u32) {
  let s = tiling();
  let at = tile_of(s, linear_index(wid, grid, l));
  if (at.channel >= p.C) { return; }
  let r1 = row6(at, 1u);
  let r2 = row6(at, 2u);
  let r3 = row6(at, 3u);
  let r4 = row6(at, 4u);
  let even = r4 - 4.0 * r2;
  let odd = r3 - 4.0 * r1;
  let even2 = r4 - r2;
  let odd2 = 2.0 * (r3 - r1);
  put_row6(s, at, 0u, 4.0 * row6(at, 0u) - 5.0 * r2 + r4);
  put_row6(s, at, 1u, even + odd);
  put_row6(s, at, 2u, even - odd);
  put_row6(s, at, 3u, even2 + odd2);
  put_row6(s, at, 4u, even2 - odd2);
  put_row6(s, at, 5u, 4.0 * r1 - 5.0 * r3 + row6(at, 5u));
}

// Four numbers of u, of channels o … o + 3 at plane c; past the last channel those of the last.
fn load_u(point: u32, o: u32, c: u32) -> vec4f {
  let at = (point * p.O + min(vec4u(o) + vec4u(0u, 1u, 2u, 3u), vec4u(p.O - 1u))) * p.C + c;
  return vec4f(u[at.x], u[at.y], u[at.z], u[at.w]);
}
fn put_products(s: Tiling, point: u32, o: u32, q: u32, v: mat4x4f) {
  if (q >= s.quads) { return; }
  let to = (s.n * s.n * p.C + point * p.O + o) * s.quads + q;
  if (o < p.O) { points4[to] = v[0]; }
  if (o + 1u < p.O) { points4[to + s.quads] = v[1]; }
  if (o + 2u < p.O) { points4[to + 2u * s.quads] = v[2]; }
  if (o + 3u < p.O) { points4[to + 3u * s.quads] = v[3]; }
}

// The products, for a device on which a load costs many multiplications: a thread eight channels × 16 tiles.
@compute @workgroup_size(16)
fn conv2d_winograd_multiply_blocks_f32(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) l: u32) {
  let s = tiling();
  let i = (wid.y * grid.x + wid.x) * 16u + l;
  let spans = (s.quads + 3u) / 4u;
  let eights = (p.O + 7u) / 8u;
  let point = i / (spans * eights);
  if (point >= s.n * s.n) { return; }
  let q = i % spans * 4u;
  let o = i / spans % eights * 8u;
  var a0 = mat4x4f(); var a1 = mat4x4f(); var a2 = mat4x4f(); var a3 = mat4x4f();
  var b0 = mat4x4f(); var b1 = mat4x4f(); var b2 = mat4x4f(); var b3 = mat4x4f();
  let C = p.C;
  var at = point * C * s.quads + q;
  for (var c = 0u; c < C; c++) {
    let v = load_u(point, o, c);
    let w = load_u(point, o + 4u, c);
    let x0 = points4[at];
    a0 = outer(x0, v, a0); b0 = outer(x0, w, b0);
    let x1 = points4[at + 1u];
    a1 = outer(x1, v, a1); b1 = outer(x1, w, b1);
    let x2 = points4[at + 2u];
    a2 = outer(x2, v, a2); b2 = outer(x2, w, b2);
    let x3 = points4[at + 3u];
    a3 = outer(x3, v, a3); b3 = outer(x3, w, b3);
    at += s.quads;
  }
  put_products(s, point, o, q, a0); put_products(s, point, o + 4u, q, b0);
  put_products(s, point, o, q + 1u, a1); put_products(s, point, o + 4u, q + 1u, b1);
  put_products(s, point, o, q + 2u, a2); put_products(s, point, o + 4u, q + 2u, b2);
  put_products(s, point, o, q + 3u, a3); put_products(s, point, o + 4u, q + 3u, b3);
}

// … for a GPU: 64 channels × 64 tiles a workgroup, 8 × 4 a thread, 16 planes at a time. Rows are 17 vectors
// apart, for threads write u across.
var<workgroup> side_x: array<vec4f, 272>; // (plane, tiles / 4)
var<workgroup> side_u: array<vec4f, 272>; // (plane, channels / 4)

@compute @workgroup_size(128)
fn conv2d_winograd_multiply_tiles_f32(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) l: u32) {
  let s = tiling();
  let i = wid.y * grid.x + wid.x;
  let spans = (s.quads + 15u) / 16u;
  let slabs = (p.O + 63u) / 64u;
  let point = i / (spans * slabs);
  if (point >= s.n * s.n) { return; }
  let lane = l % 16u;
  let row = l / 16u;
  let q = i % spans * 16u + lane;
  let o = i / spans % slabs * 64u;
  var a = mat4x4f();
  var b = mat4x4f();
  for (var c0 = 0u; c0 < p.C; c0 += 16u) {
    workgroupBarrier();
    for (var j = row; j < 16u; j += 8u) {
      var v = vec4f();
      if (c0 + j < p.C && q < s.quads) { v = points4[(point * p.C + c0 + j) * s.quads + q]; }
      side_x[j * 17u + lane] = v;
      v = vec4f();
      if (c0 + lane < p.C) { v = load_u(point, o + 4u * j, c0 + lane); }
      side_u[lane * 17u + j] = v;
    }
    workgroupBarrier();
    for (var j = 0u; j < 16u; j++) {
      let v = side_x[j * 17u + lane];
      a = outer(v, side_u[j * 17u + 2u * row], a);
      b = outer(v, side_u[j * 17u + 2u * row + 1u], b);
    }
  }
  put_products(s, point, o + 8u * row, q, a);
  put_products(s, point, o + 8u * row + 4u, q, b);
}

fn point_of(s: Tiling, at: Tile, point: u32) -> f32 {
  return points[((s.n * s.n * p.C + point * p.O + at.channel) * 4u * s.quads) + at.t];
}
// Rows of a tile, from their sums, but for the bias. A loop through one activation, for a driver on a CPU
// goes through each that is written down, needed or not.
fn activated(at: Tile, rows: array<vec4f, 4>) -> array<vec4f, 4> {
  var r = rows;
  let add = select(0.0, bias[at.channel], (p.present & 1u) != 0u);
  for (var i = 0u; i < 4u; i++) { r[i] += vec4f(add); }
  for (var i = 0u; i < select(0u, 16u, p.act != 0u); i++) { r[i / 4u][i % 4u] = activate(p.act, r[i / 4u][i % 4u]); }
  return r;
}
fn put_pixels(at: Tile, row: u32, count: u32, v: vec4f) {
  let h = at.top + row;
  let to = ((at.b * p.O + at.channel) * p.P + h) * p.Q + at.left;
  let past = select(0u, min(p.Q - at.left, count), h < p.P);
  if (past > 0u) { put_pixel(to, v.x); }
  if (past > 1u) { put_pixel(to + 1u, v.y); }
  if (past > 2u) { put_pixel(to + 2u, v.z); }
  if (past > 3u) { put_pixel(to + 3u, v.w); }
}
fn put_pixel(i: u32, v: f32) {
  if (adds(p.beta)) { y[i] = p.beta * y[i] + v; } else { y[i] = v; }
}

fn points_row4(s: Tiling, at: Tile, i: u32) -> vec4f {
  return vec4f(
    point_of(s, at, 4u * i), point_of(s, at, 4u * i + 1u), point_of(s, at, 4u * i + 2u), point_of(s, at, 4u * i + 3u),
  );
}
fn result2(r: vec4f) -> vec4f { return vec4f(r.x + r.y + r.z, r.y - r.z - r.w, 0.0, 0.0); }

@compute @workgroup_size(64)
fn conv2d_winograd_result2_f32(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) l: u32) {
  let s = tiling();
  let at = tile_of(s, linear_index(wid, grid, l));
  if (at.channel >= p.O || !at.valid) { return; }
  let r1 = points_row4(s, at, 1u);
  let r2 = points_row4(s, at, 2u);
  let rows = activated(at, array<vec4f, 4>(
    result2(points_row4(s, at, 0u) + r1 + r2), result2(r1 - r2 - points_row4(s, at, 3u)), vec4f(), vec4f(),
  ));
  put_pixels(at, 0u, 2u, rows[0]);
  put_pixels(at, 1u, 2u, rows[1]);
}

fn points_row6(s: Tiling, at: Tile, i: u32) -> mat2x3f {
  return mat2x3f(
    point_of(s, at, 6u * i), point_of(s, at, 6u * i + 1u), point_of(s, at, 6u * i + 2u),
    point_of(s, at, 6u * i + 3u), point_of(s, at, 6u * i + 4u), point_of(s, at, 6u * i + 5u),
  );
}
fn result4(r: mat2x3f) -> vec4f {
  let sum = r[0].y + r[0].z;
  let difference = r[0].y - r[0].z;
  let sum2 = r[1].x + r[1].y;
  let difference2 = r[1].x - r[1].y;
  return vec4f(
    r[0].x + sum + sum2, difference + 2.0 * difference2, sum + 4.0 * sum2, difference + 8.0 * difference2 + r[1].z,
  );
}

@compute @workgroup_size(64)
fn conv2d_winograd_result4_f32(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) l: u32) {
  let s = tiling();
  let at = tile_of(s, linear_index(wid, grid, l));
  if (at.channel >= p.O || !at.valid) { return; }
  let r1 = points_row6(s, at, 1u);
  let r2 = points_row6(s, at, 2u);
  let r3 = points_row6(s, at, 3u);
  let r4 = points_row6(s, at, 4u);
  let sum = r1 + r2;
  let difference = r1 - r2;
  let sum2 = r3 + r4;
  let difference2 = r3 - r4;
  let rows = activated(at, array<vec4f, 4>(
    result4(points_row6(s, at, 0u) + sum + sum2), result4(difference + 2.0 * difference2),
    result4(sum + 4.0 * sum2), result4(difference + 8.0 * difference2 + points_row6(s, at, 5u)),
  ));
  put_pixels(at, 0u, 4u, rows[0]);
  put_pixels(at, 1u, 4u, rows[1]);
  put_pixels(at, 2u, 4u, rows[2]);
  put_pixels(at, 3u, 4u, rows[3]);
}
