//! use index
//! use math
//! use row
//! use attention
//! use tile
// Flash attention. Queries that share k and v lie together, in rows of q, whatever their heads.

struct P {
  B: u32, H: u32, S: u32, D: u32, G: u32, T: u32, L: u32,
  present: u32,
  scale: f32, causal: u32, window: u32, softcap: f32,
}
@group(0) @binding(0) var<storage, read_write> o: array<f32>;   // (B,H,S,D)
@group(0) @binding(1) var<storage, read_write> lse: array<f32>; // (B,H,S)
@group(0) @binding(2) var<storage, read> q: array<f32>;         // (B,H,S,D)
@group(0) @binding(3) var<storage, read> k: array<f32>;         // (B,G,T,D)
@group(0) @binding(4) var<storage, read> v: array<f32>;         // (B,G,T,D)
@group(0) @binding(5) var<storage, read> bias: array<f32>;      // (L,S,T)
@group(0) @binding(6) var<uniform> p: P;

struct PC {
  B: u32, H: u32, S: u32, D: u32, G: u32, T: u32, L: u32,
  present: u32,
  scale: f32, window: u32, softcap: f32,
}
@group(0) @binding(6) var<storage, read> lengths: array<i32>; // (B)
@group(0) @binding(7) var<uniform> pc: PC;

fn valid_of(b: u32) -> u32 {
  return u32(clamp(lengths[b], 0, i32(pc.T)));
}

// ---- any D: a workgroup of 64 has up to eight rows and walks over the keys 64 at a time. A thread has one
// key's scores; then the columns l, l + 64, … of o, which is kept in o itself from step to step.

var<workgroup> valid: u32;

const ROWS = 8u;
var<workgroup> scores: array<f32, 512>; // (ROWS, 64)
var<workgroup> eighths: array<f32, 64>; // (ROWS, 8)

// Rows [row0, row0 + n) of o, whose k and v begin at row `first`; bias (bias_rows, bias_row) comes round
// after its last row, 0 rows: none.
fn attend(row0: u32, n: u32, D: u32, first: u32, view: View, scale: f32, softcap: f32, bias_rows: u32, bias_row: u32, l: u32) {
  var seen: array<vec2u, ROWS>;
  var keys = vec2u(view.T, 0u);
  for (var r = 0u; r < n; r++) {
    seen[r] = keys_of((row0 + r) % view.S, view.S, view.T, view.causal, view.window);
    keys = vec2u(min(keys.x, seen[r].x), max(keys.y, seen[r].y));
    for (var d = l; d < D; d += 64u) { o[(row0 + r) * D + d] = 0.0; }
  }
  var m: array<f32, ROWS>;
  var sum: array<f32, ROWS>;
  var down: array<f32, ROWS>;
  // The lowest finite number stands for -Inf, which arithmetic on the device may not survive.
  for (var r = 0u; r < ROWS; r++) { m[r] = LOWEST; }
  let own = (l / 8u) * 64u + l % 8u;
  for (var j0 = keys.x; j0 < keys.y; j0 += 64u) {
    let j = j0 + l;
    // Cleared by hand: an adapter was seen to keep an array from one round of a loop to the next.
    var s = array<f32, ROWS>();
    if (j < keys.y) {
      for (var d = 0u; d < D; d++) {
        let kd = k[(first + j) * D + d];
        for (var r = 0u; r < n; r++) { s[r] += q[(row0 + r) * D + d] * kd; }
      }
    }
    for (var r = 0u; r < n; r++) {
      s[r] = capped(scale * s[r], softcap);
      if (j < seen[r].x || j >= seen[r].y) { s[r] = LOWEST; }
      else if (bias_rows != 0u) { s[r] += bias[((row0 + r) % bias_rows) * bias_row + j]; }
      s[r] = max_nan(LOWEST, s[r]);
      scores[r * 64u + l] = s[r];
    }
    workgroupBarrier();
    // A thread takes an eighth of a row, then every thread goes through the eighths of all rows.
    var top = LOWEST;
    for (var c = 0u; c < 64u; c += 8u) { top = max_nan(top, scores[own + c]); }
    eighths[l] = top;
    workgroupBarrier();
    for (var r = 0u; r < n; r++) {
      top = m[r];
      for (var c = 0u; c < 8u; c++) { top = max_nan(top, eighths[r * 8u + c]); }
      scores[r * 64u + l] = select(exp_f(s[r] - top), 0.0, top == LOWEST);
      down[r] = exp_f(m[r] - top);
      m[r] = top;
    }
    workgroupBarrier();
    var part_sum = 0.0;
    for (var c = 0u; c < 64u; c += 8u) { part_sum += scores[own + c]; }
    eighths[l] = part_sum;
    let count = min(64u, keys.y - j0);
    for (var d = l; d < D; d += 64u) {
      var a = array<f32, ROWS>();
      for (var i = 0u; i < count; i++) {
        let vd = v[(first + j0 + i) * D + d];
        for (var r = 0u; r < n; r++) { a[r] += scores[r * 64u + i] * vd; }
      }
      for (var r = 0u; r < n; r++) {
        let at = (row0 + r) * D + d;
        o[at] = o[at] * down[r] + a[r];
      }
    }
    workgroupBarrier();
    for (var r = 0u; r < n; r++) {
      sum[r] *= down[r];
      for (var c = 0u; c < 8u; c++) { sum[r] += eighths[r * 8u + c]; }
    }
  }
  for (var r = 0u; r < n; r++) {
    let none = m[r] == LOWEST;
    let norm = select(1.0 / sum[r], 1.0, none);
    for (var d = l; d < D; d += 64u) { o[(row0 + r) * D + d] *= norm; }
    if (l == 0u) { lse[row0 + r] = select(m[r] + log(sum[r]), bitcast<f32>(0xff800000u + (D & 0u)), none); }
  }
}

@compute @workgroup_size(64)
fn attention_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let blocks = (p.S + ROWS - 1u) / ROWS;
  let id = w.y * g.x + w.x;
  if (id >= p.B * p.H * blocks) { return; }
  let head = id / blocks;
  let i0 = (id % blocks) * ROWS;
  let view = View(p.S, p.T, p.causal, p.window);
  let bias_rows = select(0u, p.L * p.S, p.present != 0u);
  attend(head * p.S + i0, min(ROWS, p.S - i0), p.D, kv_of(head, p.H, p.G, p.T), view, scale_of(p.scale, p.D), p.softcap, bias_rows, p.T, l);
}

// The rows of all heads that share k and v lie together.
@compute @workgroup_size(64)
fn attention_decode_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let queries = (pc.H / pc.G) * pc.S;
  let blocks = (queries + ROWS - 1u) / ROWS;
  let id = w.y * g.x + w.x;
  if (id >= pc.B * pc.G * blocks) { return; }
  let head = id / blocks;
  let i0 = (id % blocks) * ROWS;
  // All threads read the same word, which the compiler has to be told.
  if (l == 0u) { valid = valid_of(head / pc.G); }
  let view = View(pc.S, workgroupUniformLoad(&valid), 1u, pc.window);
  let bias_rows = select(0u, pc.L * pc.S, pc.present != 0u);
  attend(head * queries + i0, min(ROWS, queries - i0), pc.D, head * pc.T, view, scale_of(pc.scale, pc.D), pc.softcap, bias_rows, pc.T, l);
}

// ---- D a multiple of 4, no barrier: a thread has eight rows and walks over the keys 16 at a time. On a CPU
// a load from storage costs four multiply-adds: a tile of 8×16 scores uses each value often enough.

@group(0) @binding(0) var<storage, read_write> o4: array<vec4f>; // (B,H,S,D/4)
@group(0) @binding(2) var<storage, read> q4: array<vec4f>;       // (B,H,S,D/4)
@group(0) @binding(3) var<storage, read> k4: array<vec4f>;       // (B,G,T,D/4)
@group(0) @binding(4) var<storage, read> v4: array<vec4f>;       // (B,G,T,D/4)

// Whether there may be a bias or a cap; branches on what is known only later cost more than all else here.
const OPTIONS = 1u;

fn biased(s: vec4f, at: vec4u, has_bias: bool) -> vec4f {
  let t = s + select(vec4f(), LOG2E * vec4f(bias[at.x], bias[at.y], bias[at.z], bias[at.w]), has_bias);
  return select(t, vec4f(HIDDEN), t < vec4f(HIDDEN));
}

// Scores of keys j … j+3 from the products of a tile; no key from `past` on is touched.
fn judged(s: mat4x4f, j: u32, past: u32, f: Seen, bias_at: vec4u, c: Score, has_bias: bool, part: bool) -> mat4x4f {
  var t = s * c.factor;
  if (OPTIONS != 0u) {
    // In a loop, on a copy: unrolled, this would be most of the program.
    var u = t;
    for (var i = 0u; i < 4u; i++) {
      let capped = select(u[i], c.most * tanh_4(u[i]), c.most > 0.0);
      u[i] = biased(capped, bias_at + min(j + i, past - 1u), has_bias);
    }
    t = u;
  }
  if (part) {
    let none = vec4f(HIDDEN);
    t = mat4x4f(
      select(none, t[0], sees(f, j)), select(none, t[1], sees(f, j + 1u)),
      select(none, t[2], sees(f, j + 2u)), select(none, t[3], sees(f, j + 3u)),
    );
  }
  return t;
}

fn top_of(m: vec4f, s: mat4x4f) -> vec4f {
  return top_4(top_4(m, top_4(s[0], s[1])), top_4(s[2], s[3]));
}

fn weights_of(s: mat4x4f, m: vec4f) -> mat4x4f {
  return mat4x4f(exp2_4(s[0] - m), exp2_4(s[1] - m), exp2_4(s[2] - m), exp2_4(s[3] - m));
}

fn sum_of(s: mat4x4f) -> vec4f {
  return (s[0] + s[1]) + (s[2] + s[3]);
}

// From a maximum in units of ln 2 and a sum; log() may lose a NaN.
fn lse_of(m: f32, sum: f32) -> f32 {
  let finite = LN2 * m + select(log(sum), sum, is_nan(sum));
  return select(finite, bitcast<f32>(0xff800000u + (bitcast<u32>(m) & 0u)), sum == 0.0);
}

// Divides n rows by their sums and writes lse.
fn settle_rows(row0: u32, n: u32, m: vec4f, sum: vec4f, cols: u32) {
  for (var r = 0u; r < n; r++) {
    let row = row0 + r;
    let norm = select(1.0 / sum[r], 0.0, sum[r] == 0.0);
    for (var d = row * cols; d < (row + 1u) * cols; d++) { o4[d] *= norm; }
    lse[row] = lse_of(m[r], sum[r]);
  }
}

// Rows [row0, row0 + n) of o, n at most 8; k and v begin at row `first`. A row past the last stands for the
// last: it is read before it is written, and always the same.
fn attend_rows(row0: u32, n: u32, first: u32, view: View, c: Score, D: u32, bias_rows: u32, bias_row: u32) {
  let cols = D / 4u;
  let last = vec4u(row0 + n - 1u);
  let rows_a = min(vec4u(row0, row0 + 1u, row0 + 2u, row0 + 3u), last);
  let rows_b = min(vec4u(row0 + 4u, row0 + 5u, row0 + 6u, row0 + 7u), last);
  let fa = seen_by(rows_a, view);
  let fb = seen_by(rows_b, view);
  let bias_a = (rows_a % max(bias_rows, 1u)) * bias_row;
  let bias_b = (rows_b % max(bias_rows, 1u)) * bias_row;
  let qa = rows_a * cols;
  let qb = rows_b * cols;
  let lo = min(fa.lo, fb.lo);
  let hi = max(fa.hi, fb.hi);
  let begin = min(min(lo.x, lo.y), min(lo.z, lo.w));
  let past = max(max(hi.x, hi.y), max(hi.z, hi.w));
  // What every row sees.
  let all_lo = max(fa.lo, fb.lo);
  let all_hi = min(fa.hi, fb.hi);
  let all_from = max(max(all_lo.x, all_lo.y), max(all_lo.z, all_lo.w));
  let all_past = min(min(all_hi.x, all_hi.y), min(all_hi.z, all_hi.w));
  var ma = vec4f(FIRST_TOP);
  var mb = vec4f(FIRST_TOP);
  var la = vec4f();
  var lb = vec4f();
  for (var d = qa.x; d < (row0 + n) * cols; d++) { o4[d] = vec4f(); }
  for (var j = begin; j < past; j += 16u) {
    let j0 = (vec4u(first) + min(vec4u(j) + vec4u(0u, 1u, 2u, 3u), vec4u(past - 1u))) * cols;
    let j1 = (vec4u(first) + min(vec4u(j) + vec4u(4u, 5u, 6u, 7u), vec4u(past - 1u))) * cols;
    let j2 = (vec4u(first) + min(vec4u(j) + vec4u(8u, 9u, 10u, 11u), vec4u(past - 1u))) * cols;
    let j3 = (vec4u(first) + min(vec4u(j) + vec4u(12u, 13u, 14u, 15u), vec4u(past - 1u))) * cols;
    var a0 = mat4x4f();
    var a1 = mat4x4f();
    var a2 = mat4x4f();
    var a3 = mat4x4f();
    var b0 = mat4x4f();
    var b1 = mat4x4f();
    var b2 = mat4x4f();
    var b3 = mat4x4f();
    for (var d = 0u; d < cols; d++) {
      let qat = transpose(mat4x4f(q4[qa.x + d], q4[qa.y + d], q4[qa.z + d], q4[qa.w + d]));
      let qbt = transpose(mat4x4f(q4[qb.x + d], q4[qb.y + d], q4[qb.z + d], q4[qb.w + d]));
      let k0 = mat4x4f(k4[j0.x + d], k4[j0.y + d], k4[j0.z + d], k4[j0.w + d]);
      a0 += qat * k0;
      b0 += qbt * k0;
      let k1 = mat4x4f(k4[j1.x + d], k4[j1.y + d], k4[j1.z + d], k4[j1.w + d]);
      a1 += qat * k1;
      b1 += qbt * k1;
      let k2 = mat4x4f(k4[j2.x + d], k4[j2.y + d], k4[j2.z + d], k4[j2.w + d]);
      a2 += qat * k2;
      b2 += qbt * k2;
      let k3 = mat4x4f(k4[j3.x + d], k4[j3.y + d], k4[j3.z + d], k4[j3.w + d]);
      a3 += qat * k3;
      b3 += qbt * k3;
    }
    let part = j < all_from || j + 16u > all_past;
    a0 = judged(a0, j, past, fa, bias_a, c, bias_rows != 0u, part);
    a1 = judged(a1, j + 4u, past, fa, bias_a, c, bias_rows != 0u, part);
    a2 = judged(a2, j + 8u, past, fa, bias_a, c, bias_rows != 0u, part);
    a3 = judged(a3, j + 12u, past, fa, bias_a, c, bias_rows != 0u, part);
    b0 = judged(b0, j, past, fb, bias_b, c, bias_rows != 0u, part);
    b1 = judged(b1, j + 4u, past, fb, bias_b, c, bias_rows != 0u, part);
    b2 = judged(b2, j + 8u, past, fb, bias_b, c, bias_rows != 0u, part);
    b3 = judged(b3, j + 12u, past, fb, bias_b, c, bias_rows != 0u, part);
    let ta = top_of(top_of(top_of(top_of(ma, a0), a1), a2), a3);
    let down_a = exp2_4(ma - ta);
    ma = ta;
    a0 = weights_of(a0, ta);
    a1 = weights_of(a1, ta);
    a2 = weights_of(a2, ta);
    a3 = weights_of(a3, ta);
    la = la * down_a + (sum_of(a0) + sum_of(a1)) + (sum_of(a2) + sum_of(a3));
    a0 = transpose(a0);
    a1 = transpose(a1);
    a2 = transpose(a2);
    a3 = transpose(a3);
    let tb = top_of(top_of(top_of(top_of(mb, b0), b1), b2), b3);
    let down_b = exp2_4(mb - tb);
    mb = tb;
    b0 = weights_of(b0, tb);
    b1 = weights_of(b1, tb);
    b2 = weights_of(b2, tb);
    b3 = weights_of(b3, tb);
    lb = lb * down_b + (sum_of(b0) + sum_of(b1)) + (sum_of(b2) + sum_of(b3));
    b0 = transpose(b0);
    b1 = transpose(b1);
    b2 = transpose(b2);
    b3 = transpose(b3);
    for (var d = 0u; d < cols; d++) {
      var oa = columns_times(mat4x4f(o4[qa.x + d], o4[qa.y + d], o4[qa.z + d], o4[qa.w + d]), down_a);
      var ob = columns_times(mat4x4f(o4[qb.x + d], o4[qb.y + d], o4[qb.z + d], o4[qb.w + d]), down_b);
      let v0 = mat4x4f(v4[j0.x + d], v4[j0.y + d], v4[j0.z + d], v4[j0.w + d]);
      oa += v0 * a0;
      ob += v0 * b0;
      let v1 = mat4x4f(v4[j1.x + d], v4[j1.y + d], v4[j1.z + d], v4[j1.w + d]);
      oa += v1 * a1;
      ob += v1 * b1;
      let v2 = mat4x4f(v4[j2.x + d], v4[j2.y + d], v4[j2.z + d], v4[j2.w + d]);
      oa += v2 * a2;
      ob += v2 * b2;
      let v3 = mat4x4f(v4[j3.x + d], v4[j3.y + d], v4[j3.z + d], v4[j3.w + d]);
      oa += v3 * a3;
      ob += v3 * b3;
      o4[qa.x + d] = oa[0];
      o4[qa.y + d] = oa[1];
      o4[qa.z + d] = oa[2];
      o4[qa.w + d] = oa[3];
      o4[qb.x + d] = ob[0];
      o4[qb.y + d] = ob[1];
      o4[qb.z + d] = ob[2];
      o4[qb.w + d] = ob[3];
    }
  }
  settle_rows(row0, min(n, 4u), ma, la, cols);
  settle_rows(row0 + 4u, n - min(n, 4u), mb, lb, cols);
}

@compute @workgroup_size(32)
fn attention_f32__rows(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let queries = (p.H / p.G) * p.S;
  let blocks = (queries + 7u) / 8u;
  let id = (w.y * g.x + w.x) * 32u + l;
  if (id >= p.B * p.G * blocks) { return; }
  let head = id / blocks;
  let i0 = (id % blocks) * 8u;
  let view = View(p.S, p.T, p.causal, p.window);
  let bias_rows = select(0u, p.L * p.S, p.present != 0u);
  attend_rows(head * queries + i0, min(8u, queries - i0), head * p.T, view, score_of(p.scale, p.D, p.softcap), p.D, bias_rows, p.T);
}

@compute @workgroup_size(32)
fn attention_decode_f32__rows(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let queries = (pc.H / pc.G) * pc.S;
  let blocks = (queries + 7u) / 8u;
  let id = (w.y * g.x + w.x) * 32u + l;
  if (id >= pc.B * pc.G * blocks) { return; }
  let head = id / blocks;
  let i0 = (id % blocks) * 8u;
  let view = View(pc.S, valid_of(head / pc.G), 1u, pc.window);
  let bias_rows = select(0u, pc.L * pc.S, pc.present != 0u);
  attend_rows(head * queries + i0, min(8u, queries - i0), head * pc.T, view, score_of(pc.scale, pc.D, pc.softcap), pc.D, bias_rows, pc.T);
}

// ---- few queries over a long cache, D a multiple of 4: a thread has four rows and SPLIT keys, and leaves
// its sums in scratch; then a thread has four columns of a row, over all that is left of it.

const SPLIT = 64u;
// (splits, B·H·S, D/4 + 1): o before it is divided; maximum (units of ln 2) and sum.
@group(0) @binding(8) var<storage, read_write> parts: array<vec4f>;

@compute @workgroup_size(64)
fn attention_decode_f32__split(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let queries = (pc.H / pc.G) * pc.S;
  let blocks = (queries + 3u) / 4u;
  let heads = pc.B * pc.G;
  let id = linear_index(w, g, l);
  let split = id / (blocks * heads);
  if (split * SPLIT >= pc.T) { return; }
  let head = (id / blocks) % heads;
  let cols = pc.D / 4u;
  let c = score_of(pc.scale, pc.D, pc.softcap);
  let row0 = head * queries + (id % blocks) * 4u;
  let n = min(4u, queries - (id % blocks) * 4u);
  let rows = min(vec4u(row0, row0 + 1u, row0 + 2u, row0 + 3u), vec4u(row0 + n - 1u));
  let view = View(pc.S, valid_of(head / pc.G), 1u, pc.window);
  let see = seen_by(rows, view);
  let bias_at = (rows % max(pc.L * pc.S, 1u)) * pc.T;
  let keys = keys_of_rows(row0, n, view);
  let past = min(keys.y, (split + 1u) * SPLIT);
  let qa = rows * cols;
  let to = (vec4u(split * heads * queries) + rows) * (cols + 1u);
  var m = vec4f(FIRST_TOP);
  var sum = vec4f();
  for (var d = to.x; d < to.x + n * (cols + 1u); d++) { parts[d] = vec4f(); }
  for (var j = max(keys.x, split * SPLIT); j < past; j += 8u) {
    let j0 = (vec4u(head * pc.T) + min(vec4u(j, j + 1u, j + 2u, j + 3u), vec4u(past - 1u))) * cols;
    let j1 = (vec4u(head * pc.T) + min(vec4u(j + 4u, j + 5u, j + 6u, j + 7u), vec4u(past - 1u))) * cols;
    var s0 = mat4x4f();
    var s1 = mat4x4f();
    for (var d = 0u; d < cols; d++) {
      let qt = transpose(mat4x4f(q4[qa.x + d], q4[qa.y + d], q4[qa.z + d], q4[qa.w + d]));
      s0 += qt * mat4x4f(k4[j0.x + d], k4[j0.y + d], k4[j0.z + d], k4[j0.w + d]);
      s1 += qt * mat4x4f(k4[j1.x + d], k4[j1.y + d], k4[j1.z + d], k4[j1.w + d]);
    }
    s0 = judged(s0, j, past, see, bias_at, c, pc.present != 0u, true);
    s1 = judged(s1, j + 4u, past, see, bias_at, c, pc.present != 0u, true);
    // A key past the split belongs to another thread.
    if (j + 8u > past) {
      s0 = before(s0, j, past);
      s1 = before(s1, j + 4u, past);
    }
    let top = top_of(top_of(m, s0), s1);
    let down = exp2_4(m - top);
    m = top;
    s0 = weights_of(s0, m);
    s1 = weights_of(s1, m);
    sum = sum * down + sum_of(s0) + sum_of(s1);
    s0 = transpose(s0);
    s1 = transpose(s1);
    for (var d = 0u; d < cols; d++) {
      let v0 = mat4x4f(v4[j0.x + d], v4[j0.y + d], v4[j0.z + d], v4[j0.w + d]);
      let v1 = mat4x4f(v4[j1.x + d], v4[j1.y + d], v4[j1.z + d], v4[j1.w + d]);
      let old = mat4x4f(parts[to.x + d], parts[to.y + d], parts[to.z + d], parts[to.w + d]);
      let a = columns_times(old, down) + v0 * s0 + v1 * s1;
      parts[to.x + d] = a[0];
      parts[to.y + d] = a[1];
      parts[to.z + d] = a[2];
      parts[to.w + d] = a[3];
    }
  }
  for (var r = 0u; r < n; r++) { parts[to.x + r * (cols + 1u) + cols] = vec4f(m[r], sum[r], 0.0, 0.0); }
}

fn before(s: mat4x4f, j: u32, past: u32) -> mat4x4f {
  let none = vec4f(HIDDEN);
  return mat4x4f(
    select(none, s[0], j < past), select(none, s[1], j + 1u < past),
    select(none, s[2], j + 2u < past), select(none, s[3], j + 3u < past),
  );
}

@compute @workgroup_size(64)
fn attention_decode_merge_f32__split(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let cols = pc.D / 4u;
  let rows = pc.B * pc.H * pc.S;
  let at = linear_index(w, g, l);
  if (at >= rows * cols) { return; }
  let row = at / cols;
  var m = FIRST_TOP;
  var sum = 0.0;
  var a = vec4f();
  for (var j = 0u; j < pc.T; j += SPLIT) {
    let part_at = ((j / SPLIT) * rows + row) * (cols + 1u);
    let part = parts[part_at + cols];
    let top = select(m, part.x, part.x > m);
    let down = exp2_4(vec4f(m - top, part.x - top, 0.0, 0.0));
    a = a * down.x + parts[part_at + at % cols] * down.y;
    sum = sum * down.x + part.y * down.y;
    m = top;
  }
  o4[at] = a * select(1.0 / sum, 0.0, sum == 0.0);
  if (at % cols == 0u) { lse[row] = lse_of(m, sum); }
}

// ---- D a multiple of 4, for a GPU: the tiles of lib/tile, o in registers.

// Columns of o in 32s.
const CHUNKS = 2u;

var<workgroup> part: array<vec4f, 64>; // (8, 8): of four rows, what each thread found

@compute @workgroup_size(64)
fn attention_f32__tiles(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let queries = (p.H / p.G) * p.S;
  let blocks = (queries + 31u) / 32u;
  let id = w.y * g.x + w.x;
  if (id >= p.B * p.G * blocks) { return; }
  let y = l / 8u;
  let x = l % 8u;
  let cols = p.D / 4u;
  let row0 = (id / blocks) * queries + (id % blocks) * 32u;
  let n = min(32u, queries - (id % blocks) * 32u);
  let first = (id / blocks) * p.T;
  let view = View(p.S, p.T, p.causal, p.window);
  let c = score_of(p.scale, p.D, p.softcap);
  let keys = keys_of_rows(row0, n, view);
  let rows = min(vec4u(row0 + 4u * y) + vec4u(0u, 1u, 2u, 3u), vec4u(row0 + n - 1u));
  let see = seen_by(rows, view);
  let bias_at = (rows % max(p.L * p.S, 1u)) * p.T;
  var m = vec4f(FIRST_TOP);
  var sum = vec4f();
  var a = array<mat4x4f, CHUNKS>();
  for (var j0 = keys.x; j0 < keys.y; j0 += 32u) {
    var s = mat4x4f();
    for (var d0 = 0u; d0 < cols; d0 += 8u) {
      for (var i = y; i < 32u; i += 8u) {
        own[i * PITCH + x] = vec4f();
        other[i * PITCH + x] = vec4f();
        if (d0 + x < cols) {
          if (i < n) { own[i * PITCH + x] = q4[(row0 + i) * cols + d0 + x]; }
          if (j0 + i < keys.y) { other[i * PITCH + x] = k4[(first + j0 + i) * cols + d0 + x]; }
        }
      }
      workgroupBarrier();
      s = tile_dots(s, y, x);
      workgroupBarrier();
    }
    s = judged(s, j0 + 4u * x, keys.y, see, bias_at, c, p.present != 0u, true);
    part[l] = top_of(m, s);
    workgroupBarrier();
    var top = part[8u * y];
    for (var i = 1u; i < 8u; i++) { top = top_4(top, part[8u * y + i]); }
    let down = exp2_4(m - top);
    m = top;
    s = weights_of(s, m);
    sum = sum * down + sum_of(s);
    tile_keep(s, y, x);
    for (var chunk = 0u; chunk < CHUNKS; chunk++) {
      for (var i = y; i < 32u; i += 8u) {
        other[i * PITCH + x] = vec4f();
        if (8u * chunk + x < cols && j0 + i < keys.y) { other[i * PITCH + x] = v4[(first + j0 + i) * cols + 8u * chunk + x]; }
      }
      workgroupBarrier();
      a[chunk] = tile_sums(columns_times(a[chunk], down), y, x);
      workgroupBarrier();
    }
  }
  part[l] = sum;
  workgroupBarrier();
  sum = part[8u * y];
  for (var i = 1u; i < 8u; i++) { sum += part[8u * y + i]; }
  for (var r = 0u; r < 4u && 4u * y + r < n; r++) {
    let row = row0 + 4u * y + r;
    let norm = select(1.0 / sum[r], 0.0, sum[r] == 0.0);
    for (var chunk = 0u; chunk < CHUNKS; chunk++) {
      if (8u * chunk + x < cols) { o4[row * cols + 8u * chunk + x] = a[chunk][r] * norm; }
    }
    if (x == 0u) { lse[row] = lse_of(m[r], sum[r]); }
  }
}
