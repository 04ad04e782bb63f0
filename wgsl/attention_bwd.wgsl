//! use index
//! use math
//! use attention
//! use tile
//! use optional
// Gradients of attention: P is computed again from lse.

struct PR { B: u32, H: u32, S: u32, E: u32, D: u32, present: u32 }
@group(0) @binding(0) var<storage, read_write> rows_out: array<f32>; // (B,H,S,D+2)
@group(0) @binding(1) var<storage, read> o_r: array<f32>;            // (B,H,S,D)
@group(0) @binding(2) var<storage, read> lse_r: array<f32>;          // (B,H,S)
@group(0) @binding(3) var<storage, read> do_r: array<f32>;           // (B,H,S,D)
@group(0) @binding(4) var<storage, read> dlse_r: array<f32>;         // (B,H,S)
@group(0) @binding(5) var<uniform> pr: PR;

// A thread a row.
@compute @workgroup_size(64)
fn attention_bwd_rows_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i >= pr.B * pr.H * pr.S) { return; }
  var delta = 0.0;
  for (var d = 0u; d < pr.D; d++) {
    var c = 0.0;
    if (has(pr.present & 1u)) {
      c = do_r[i * pr.D + d];
      delta += c * o_r[i * pr.D + d];
    }
    rows_out[i * pr.E + d] = c;
  }
  if (has(pr.present & 2u)) { delta -= dlse_r[i]; }
  rows_out[i * pr.E + pr.D] = lse_r[i];
  rows_out[i * pr.E + pr.D + 1u] = delta;
}

struct PB {
  B: u32, H: u32, S: u32, D: u32, G: u32, T: u32, E: u32, L: u32,
  present: u32,
  scale: f32, causal: u32, window: u32, softcap: f32, beta_dq: f32, beta_dk: f32, beta_dv: f32,
}
@group(0) @binding(0) var<storage, read_write> dq: array<f32>; // (B,H,S,D)
@group(0) @binding(1) var<storage, read_write> dk: array<f32>; // (B,G,T,D)
@group(0) @binding(2) var<storage, read_write> dv: array<f32>; // (B,G,T,D)
@group(0) @binding(3) var<storage, read> rows: array<f32>;     // (B,H,S,D+2)
@group(0) @binding(4) var<storage, read> q_b: array<f32>;      // (B,H,S,D)
@group(0) @binding(5) var<storage, read> k_b: array<f32>;      // (B,G,T,D)
@group(0) @binding(6) var<storage, read> v_b: array<f32>;      // (B,G,T,D)
@group(0) @binding(7) var<storage, read> bias_b: array<f32>;   // (L,S,T)
@group(0) @binding(8) var<uniform> pb: PB;

const ROWS = 8u;
var<workgroup> scores: array<f32, 512>;  // (ROWS, 64)
var<workgroup> weights: array<f32, 512>; // (ROWS, 64)

// P = e^(score − lse), 0 in a row that saw nothing; -Inf is known by its bits.
fn weight(score: f32, lse: f32) -> f32 {
  return select(exp_f(score - lse), 0.0, bitcast<u32>(lse) == 0xff800000u);
}

fn bias_at(row: u32, j: u32) -> f32 {
  if (!has(pb.present)) { return 0.0; }
  return bias_b[(row % (pb.L * pb.S)) * pb.T + j];
}

// Up to eight rows of dq: 64 keys at a time, then a thread a column.
fn backward_q(row0: u32, n: u32, l: u32) {
  let scale = scale_of(pb.scale, pb.D);
  let first = kv_of(row0 / pb.S, pb.H, pb.G, pb.T);
  var seen: array<vec2u, ROWS>;
  var keys = vec2u(pb.T, 0u);
  for (var r = 0u; r < n; r++) {
    seen[r] = keys_of((row0 + r) % pb.S, pb.S, pb.T, pb.causal, pb.window);
    keys = vec2u(min(keys.x, seen[r].x), max(keys.y, seen[r].y));
    for (var d = l; d < pb.D; d += 64u) {
      let at = (row0 + r) * pb.D + d;
      if (adds(pb.beta_dq)) { dq[at] *= pb.beta_dq; } else { dq[at] = 0.0; }
    }
  }
  for (var j0 = keys.x; j0 < keys.y; j0 += 64u) {
    let j = j0 + l;
    var s = array<f32, ROWS>();
    var dp = array<f32, ROWS>();
    if (j < keys.y) {
      for (var d = 0u; d < pb.D; d++) {
        let kd = k_b[(first + j) * pb.D + d];
        let vd = v_b[(first + j) * pb.D + d];
        for (var r = 0u; r < n; r++) {
          s[r] += q_b[(row0 + r) * pb.D + d] * kd;
          dp[r] += rows[(row0 + r) * pb.E + d] * vd;
        }
      }
    }
    for (var r = 0u; r < n; r++) {
      var ds = 0.0;
      if (j >= seen[r].x && j < seen[r].y) {
        let of_row = (row0 + r) * pb.E + pb.D;
        let c = capped(scale * s[r], pb.softcap);
        ds = weight(c + bias_at(row0 + r, j), rows[of_row]) * (dp[r] - rows[of_row + 1u]) * slope_of(c, pb.softcap);
      }
      scores[r * 64u + l] = ds;
    }
    workgroupBarrier();
    let count = min(64u, keys.y - j0);
    for (var d = l; d < pb.D; d += 64u) {
      var a = array<f32, ROWS>();
      for (var i = 0u; i < count; i++) {
        let kd = k_b[(first + j0 + i) * pb.D + d];
        for (var r = 0u; r < n; r++) { a[r] += scores[r * 64u + i] * kd; }
      }
      for (var r = 0u; r < n; r++) { dq[(row0 + r) * pb.D + d] += scale * a[r]; }
    }
    workgroupBarrier();
  }
}

// Up to eight rows of dk and dv, of one head: the queries of all heads of its group, 64 at a time.
fn backward_kv(key0: u32, n: u32, l: u32) {
  let scale = scale_of(pb.scale, pb.D);
  let j0 = key0 % pb.T;
  let share = pb.H / pb.G;
  for (var r = 0u; r < n; r++) {
    for (var d = l; d < pb.D; d += 64u) {
      let at = (key0 + r) * pb.D + d;
      if (adds(pb.beta_dk)) { dk[at] *= pb.beta_dk; } else { dk[at] = 0.0; }
      if (adds(pb.beta_dv)) { dv[at] *= pb.beta_dv; } else { dv[at] = 0.0; }
    }
  }
  for (var h = 0u; h < share; h++) {
    let first = ((key0 / pb.T) * share + h) * pb.S;
    for (var i0 = 0u; i0 < pb.S; i0 += 64u) {
      let count = min(64u, pb.S - i0);
      // Nothing in this step sees these keys: later queries see later keys.
      if (keys_of(i0 + count - 1u, pb.S, pb.T, pb.causal, pb.window).y <= j0) { continue; }
      if (keys_of(i0, pb.S, pb.T, pb.causal, pb.window).x >= j0 + n) { break; }
      let row = first + i0 + l;
      var s = array<f32, ROWS>();
      var dp = array<f32, ROWS>();
      var keys = vec2u(0u, 0u);
      if (l < count) {
        keys = keys_of(i0 + l, pb.S, pb.T, pb.causal, pb.window);
        for (var d = 0u; d < pb.D; d++) {
          let qd = q_b[row * pb.D + d];
          let cd = rows[row * pb.E + d];
          for (var r = 0u; r < n; r++) {
            s[r] += qd * k_b[(key0 + r) * pb.D + d];
            dp[r] += cd * v_b[(key0 + r) * pb.D + d];
          }
        }
      }
      for (var r = 0u; r < n; r++) {
        var e = vec2f(0.0, 0.0);
        if (j0 + r >= keys.x && j0 + r < keys.y) {
          let c = capped(scale * s[r], pb.softcap);
          let w = weight(c + bias_at(row, j0 + r), rows[row * pb.E + pb.D]);
          e = vec2f(w, w * (dp[r] - rows[row * pb.E + pb.D + 1u]) * slope_of(c, pb.softcap));
        }
        weights[r * 64u + l] = e.x;
        scores[r * 64u + l] = e.y;
      }
      workgroupBarrier();
      for (var d = l; d < pb.D; d += 64u) {
        var av = array<f32, ROWS>();
        var ak = array<f32, ROWS>();
        for (var i = 0u; i < count; i++) {
          let cd = rows[(first + i0 + i) * pb.E + d];
          let qd = q_b[(first + i0 + i) * pb.D + d];
          for (var r = 0u; r < n; r++) {
            av[r] += weights[r * 64u + i] * cd;
            ak[r] += scores[r * 64u + i] * qd;
          }
        }
        for (var r = 0u; r < n; r++) {
          dv[(key0 + r) * pb.D + d] += av[r];
          dk[(key0 + r) * pb.D + d] += scale * ak[r];
        }
      }
      workgroupBarrier();
    }
  }
}

@compute @workgroup_size(64)
fn attention_bwd_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let id = w.y * g.x + w.x;
  let of_q = (pb.S + ROWS - 1u) / ROWS;
  let of_k = (pb.T + ROWS - 1u) / ROWS;
  let blocks = pb.B * pb.H * of_q;
  if (id < blocks) {
    let i0 = (id % of_q) * ROWS;
    backward_q((id / of_q) * pb.S + i0, min(ROWS, pb.S - i0), l);
  } else if (id < blocks + pb.B * pb.G * of_k) {
    let j0 = ((id - blocks) % of_k) * ROWS;
    backward_kv(((id - blocks) / of_k) * pb.T + j0, min(ROWS, pb.T - j0), l);
  }
}

struct PD {
  L: u32, S: u32, T: u32, B: u32, H: u32, E: u32, D: u32, G: u32,
  scale: f32, causal: u32, window: u32, softcap: f32, beta: f32,
}
@group(0) @binding(0) var<storage, read_write> dbias: array<f32>; // (L,S,T)
@group(0) @binding(1) var<storage, read> rows_d: array<f32>;      // (B,H,S,D+2)
@group(0) @binding(2) var<storage, read> q_d: array<f32>;         // (B,H,S,D)
@group(0) @binding(3) var<storage, read> k_d: array<f32>;         // (B,G,T,D)
@group(0) @binding(4) var<storage, read> v_d: array<f32>;         // (B,G,T,D)
@group(0) @binding(5) var<storage, read> bias_d: array<f32>;      // (L,S,T)
@group(0) @binding(6) var<uniform> pd: PD;

// A thread an entry of dbias, over the heads that share it.
@compute @workgroup_size(64)
fn attention_bwd_bias_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let at = linear_index(w, g, l);
  if (at >= pd.L * pd.S * pd.T) { return; }
  let j = at % pd.T;
  let i = (at / pd.T) % pd.S;
  let keys = keys_of(i, pd.S, pd.T, pd.causal, pd.window);
  var sum = 0.0;
  if (keys.x <= j && j < keys.y) {
    for (var head = at / (pd.S * pd.T); head < pd.B * pd.H; head += pd.L) {
      let row = head * pd.S + i;
      let key = kv_of(head, pd.H, pd.G, pd.T) + j;
      var s = 0.0;
      var dp = 0.0;
      for (var d = 0u; d < pd.D; d++) {
        s += q_d[row * pd.D + d] * k_d[key * pd.D + d];
        dp += rows_d[row * pd.E + d] * v_d[key * pd.D + d];
      }
      let e = weight(capped(scale_of(pd.scale, pd.D) * s, pd.softcap) + bias_d[at], rows_d[row * pd.E + pd.D]);
      sum += e * (dp - rows_d[row * pd.E + pd.D + 1u]);
    }
  }
  if (adds(pd.beta)) { sum += pd.beta * dbias[at]; }
  dbias[at] = sum;
}

// ---- D a multiple of 4, no barrier, as `attention_f32__rows`: a thread has eight rows of dq, or of dk and
// dv, and 16 of the other side stream by. Each product has a loop of its own: with fewer tiles alive at a time
// it takes a third less.

@group(0) @binding(0) var<storage, read_write> dq4: array<vec4f>; // (B,H,S,D/4)
@group(0) @binding(1) var<storage, read_write> dk4: array<vec4f>; // (B,G,T,D/4)
@group(0) @binding(2) var<storage, read_write> dv4: array<vec4f>; // (B,G,T,D/4)
@group(0) @binding(3) var<storage, read> rows2: array<vec2f>;     // (B,H,S,D/2+1)
@group(0) @binding(4) var<storage, read> q4: array<vec4f>;        // (B,H,S,D/4)
@group(0) @binding(5) var<storage, read> k4: array<vec4f>;        // (B,G,T,D/4)
@group(0) @binding(6) var<storage, read> v4: array<vec4f>;        // (B,G,T,D/4)

// Whether there may be a bias or a cap.
const OPTIONS = 1u;

// Columns 4d … 4d + 3 of do, which begins at pair `at` of rows2.
fn do_at(at: u32, d: u32) -> vec4f {
  return vec4f(rows2[at + 2u * d], rows2[at + 2u * d + 1u]);
}

// lse in units of ln 2, such that a row that saw nothing has weights of 0; and delta.
fn stats_at(at: u32) -> vec2f {
  let s = rows2[at + pb.D / 2u];
  return vec2f(select(s.x * LOG2E, 3e38, bitcast<u32>(s.x) == 0xff800000u), s.y);
}

struct Stats { lse: vec4f, delta: vec4f }

fn stats_of(at: vec4u) -> Stats {
  let x = stats_at(at.x);
  let y = stats_at(at.y);
  let z = stats_at(at.z);
  let w = stats_at(at.w);
  return Stats(vec4f(x.x, y.x, z.x, w.x), vec4f(x.y, y.y, z.y, w.y));
}

// Which queries see one of keys [j, j + n).
fn seers_of(j: u32, n: u32, view: View) -> vec2u {
  let reach = i32(min(view.window, view.S + view.T));
  let shift = i32(view.S) - i32(view.T);
  let near = select(select(0, i32(j) - reach + 1 + shift, view.window != 0u), i32(j) + shift, view.causal != 0u);
  let far = select(i32(view.S), i32(j + n) - 1 + reach + shift, view.window != 0u);
  let lo = clamp(near, 0, i32(view.S));
  return vec2u(u32(lo), u32(clamp(far, lo, i32(view.S))));
}

struct Pair { w: vec4f, ds: vec4f }

// Weights and gradients by q·k of a column of q·k, given do·v.
fn differentiated(s: vec4f, dp: vec4f, lse: vec4f, delta: vec4f, at: vec4u, seen: vec4<bool>, c: Score, scale: f32) -> Pair {
  var t = s * c.factor;
  var slope = vec4f(scale);
  if (OPTIONS != 0u) {
    let u = tanh_4(t);
    let has_cap = c.most > 0.0;
    slope = select(slope, scale * (1.0 - u * u), has_cap);
    let b = select(vec4f(), LOG2E * vec4f(bias_b[at.x], bias_b[at.y], bias_b[at.z], bias_b[at.w]), pb.present != 0u);
    t = select(t, c.most * u, has_cap) + b;
    t = select(t, vec4f(HIDDEN), t < vec4f(HIDDEN));
  }
  t = select(vec4f(HIDDEN), t, seen);
  let w = exp2_4(t - lse);
  // A hidden pair has no gradient, whatever its dp.
  return Pair(w, select(vec4f(), w * (dp - delta) * slope, seen));
}

// Gradients by q·k of a tile whose rows are queries and whose columns keys j … j + 3, none from `past` on.
fn by_query(s: mat4x4f, dp: mat4x4f, stats: Stats, bias_at: vec4u, see: Seen, j: u32, past: u32, c: Score, scale: f32) -> mat4x4f {
  var t = s;
  var u = dp;
  for (var i = 0u; i < 4u; i++) {
    t[i] = differentiated(t[i], u[i], stats.lse, stats.delta, bias_at + min(j + i, past - 1u), sees(see, j + i), c, scale).ds;
  }
  return t;
}

struct Tiles { w: mat4x4f, ds: mat4x4f }

// Weights and gradients by q·k of a tile whose rows are keys and whose columns queries: what stats, bias_at
// and see hold is that of the columns.
fn by_key(s: mat4x4f, dp: mat4x4f, stats: Stats, bias_at: vec4u, see: Seen, keys: vec4u, c: Score, scale: f32) -> Tiles {
  var t = s;
  var u = dp;
  for (var i = 0u; i < 4u; i++) {
    let seen = (keys >= vec4u(see.lo[i])) & (keys < vec4u(see.hi[i]));
    let e = differentiated(t[i], u[i], vec4f(stats.lse[i]), vec4f(stats.delta[i]), bias_at[i] + keys, seen, c, scale);
    u[i] = e.w;
    t[i] = e.ds;
  }
  return Tiles(u, t);
}

// What queries i, none from `past` on, see.
fn seen_before(i: vec4u, past: u32, view: View) -> Seen {
  let see = seen_by(min(i, vec4u(past - 1u)), view);
  return Seen(see.lo, select(vec4u(), see.hi, i < vec4u(past)));
}

@compute @workgroup_size(32)
fn attention_bwd_f32__rows(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let queries = (pb.H / pb.G) * pb.S;
  let blocks = (queries + 7u) / 8u;
  let id = (w.y * g.x + w.x) * 32u + l;
  if (id >= pb.B * pb.G * blocks) { return; }
  let cols = pb.D / 4u;
  let c = score_of(pb.scale, pb.D, pb.softcap);
  let scale = scale_of(pb.scale, pb.D);
  let row0 = (id / blocks) * queries + (id % blocks) * 8u;
  let end = min(row0 + 8u, (id / blocks + 1u) * queries);
  let first = (id / blocks) * pb.T;
  let view = View(pb.S, pb.T, pb.causal, pb.window);
  let bias_rows = max(pb.L * pb.S, 1u);
  let rows_a = min(vec4u(row0) + vec4u(0u, 1u, 2u, 3u), vec4u(end - 1u));
  let see_a = seen_by(rows_a, view);
  let qa = rows_a * cols;
  let doa = rows_a * (pb.E / 2u);
  let stats_a = stats_of(doa);
  let bias_a = (rows_a % bias_rows) * pb.T;
  let rows_b = min(vec4u(row0) + vec4u(4u, 5u, 6u, 7u), vec4u(end - 1u));
  let see_b = seen_by(rows_b, view);
  let qb = rows_b * cols;
  let dob = rows_b * (pb.E / 2u);
  let stats_b = stats_of(dob);
  let bias_b = (rows_b % bias_rows) * pb.T;
  let lo = min(see_a.lo, see_b.lo);
  let hi = max(see_a.hi, see_b.hi);
  let begin = min(min(lo.x, lo.y), min(lo.z, lo.w));
  let past = max(max(hi.x, hi.y), max(hi.z, hi.w));
  for (var d = row0 * cols; d < end * cols; d++) {
    if (adds(pb.beta_dq)) { dq4[d] *= pb.beta_dq; } else { dq4[d] = vec4f(); }
  }
  for (var j = begin; j < past; j += 16u) {
    let j0 = (vec4u(first) + min(vec4u(j, j + 1u, j + 2u, j + 3u), vec4u(past - 1u))) * cols;
    let j1 = (vec4u(first) + min(vec4u(j + 4u, j + 5u, j + 6u, j + 7u), vec4u(past - 1u))) * cols;
    let j2 = (vec4u(first) + min(vec4u(j + 8u, j + 9u, j + 10u, j + 11u), vec4u(past - 1u))) * cols;
    let j3 = (vec4u(first) + min(vec4u(j + 12u, j + 13u, j + 14u, j + 15u), vec4u(past - 1u))) * cols;
    var sa0 = mat4x4f();
    var sa1 = mat4x4f();
    var sa2 = mat4x4f();
    var sa3 = mat4x4f();
    var ta0 = mat4x4f();
    var ta1 = mat4x4f();
    var ta2 = mat4x4f();
    var ta3 = mat4x4f();
    var sb0 = mat4x4f();
    var sb1 = mat4x4f();
    var sb2 = mat4x4f();
    var sb3 = mat4x4f();
    var tb0 = mat4x4f();
    var tb1 = mat4x4f();
    var tb2 = mat4x4f();
    var tb3 = mat4x4f();
    for (var d = 0u; d < cols; d++) {
      let qat = transpose(mat4x4f(q4[qa.x + d], q4[qa.y + d], q4[qa.z + d], q4[qa.w + d]));
      let qbt = transpose(mat4x4f(q4[qb.x + d], q4[qb.y + d], q4[qb.z + d], q4[qb.w + d]));
      let k0 = mat4x4f(k4[j0.x + d], k4[j0.y + d], k4[j0.z + d], k4[j0.w + d]);
      sa0 += qat * k0;
      sb0 += qbt * k0;
      let k1 = mat4x4f(k4[j1.x + d], k4[j1.y + d], k4[j1.z + d], k4[j1.w + d]);
      sa1 += qat * k1;
      sb1 += qbt * k1;
      let k2 = mat4x4f(k4[j2.x + d], k4[j2.y + d], k4[j2.z + d], k4[j2.w + d]);
      sa2 += qat * k2;
      sb2 += qbt * k2;
      let k3 = mat4x4f(k4[j3.x + d], k4[j3.y + d], k4[j3.z + d], k4[j3.w + d]);
      sa3 += qat * k3;
      sb3 += qbt * k3;
    }
    for (var d = 0u; d < cols; d++) {
      let dat = transpose(mat4x4f(do_at(doa.x, d), do_at(doa.y, d), do_at(doa.z, d), do_at(doa.w, d)));
      let dbt = transpose(mat4x4f(do_at(dob.x, d), do_at(dob.y, d), do_at(dob.z, d), do_at(dob.w, d)));
      let v0 = mat4x4f(v4[j0.x + d], v4[j0.y + d], v4[j0.z + d], v4[j0.w + d]);
      ta0 += dat * v0;
      tb0 += dbt * v0;
      let v1 = mat4x4f(v4[j1.x + d], v4[j1.y + d], v4[j1.z + d], v4[j1.w + d]);
      ta1 += dat * v1;
      tb1 += dbt * v1;
      let v2 = mat4x4f(v4[j2.x + d], v4[j2.y + d], v4[j2.z + d], v4[j2.w + d]);
      ta2 += dat * v2;
      tb2 += dbt * v2;
      let v3 = mat4x4f(v4[j3.x + d], v4[j3.y + d], v4[j3.z + d], v4[j3.w + d]);
      ta3 += dat * v3;
      tb3 += dbt * v3;
    }
    sa0 = transpose(by_query(sa0, ta0, stats_a, bias_a, see_a, j, past, c, scale));
    sa1 = transpose(by_query(sa1, ta1, stats_a, bias_a, see_a, j + 4u, past, c, scale));
    sa2 = transpose(by_query(sa2, ta2, stats_a, bias_a, see_a, j + 8u, past, c, scale));
    sa3 = transpose(by_query(sa3, ta3, stats_a, bias_a, see_a, j + 12u, past, c, scale));
    sb0 = transpose(by_query(sb0, tb0, stats_b, bias_b, see_b, j, past, c, scale));
    sb1 = transpose(by_query(sb1, tb1, stats_b, bias_b, see_b, j + 4u, past, c, scale));
    sb2 = transpose(by_query(sb2, tb2, stats_b, bias_b, see_b, j + 8u, past, c, scale));
    sb3 = transpose(by_query(sb3, tb3, stats_b, bias_b, see_b, j + 12u, past, c, scale));
    for (var d = 0u; d < cols; d++) {
      var ga = mat4x4f(dq4[qa.x + d], dq4[qa.y + d], dq4[qa.z + d], dq4[qa.w + d]);
      var gb = mat4x4f(dq4[qb.x + d], dq4[qb.y + d], dq4[qb.z + d], dq4[qb.w + d]);
      let k0 = mat4x4f(k4[j0.x + d], k4[j0.y + d], k4[j0.z + d], k4[j0.w + d]);
      ga += k0 * sa0;
      gb += k0 * sb0;
      let k1 = mat4x4f(k4[j1.x + d], k4[j1.y + d], k4[j1.z + d], k4[j1.w + d]);
      ga += k1 * sa1;
      gb += k1 * sb1;
      let k2 = mat4x4f(k4[j2.x + d], k4[j2.y + d], k4[j2.z + d], k4[j2.w + d]);
      ga += k2 * sa2;
      gb += k2 * sb2;
      let k3 = mat4x4f(k4[j3.x + d], k4[j3.y + d], k4[j3.z + d], k4[j3.w + d]);
      ga += k3 * sa3;
      gb += k3 * sb3;
      dq4[qa.x + d] = ga[0];
      dq4[qa.y + d] = ga[1];
      dq4[qa.z + d] = ga[2];
      dq4[qa.w + d] = ga[3];
      dq4[qb.x + d] = gb[0];
      dq4[qb.y + d] = gb[1];
      dq4[qb.z + d] = gb[2];
      dq4[qb.w + d] = gb[3];
    }
  }
}

@compute @workgroup_size(32)
fn attention_bwd_kv_f32__rows(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let blocks = (pb.T + 7u) / 8u;
  let id = (w.y * g.x + w.x) * 32u + l;
  if (id >= pb.B * pb.G * blocks) { return; }
  let cols = pb.D / 4u;
  let c = score_of(pb.scale, pb.D, pb.softcap);
  let scale = scale_of(pb.scale, pb.D);
  let share = pb.H / pb.G;
  let first = (id / blocks) * pb.T;
  let key0 = (id % blocks) * 8u;
  let n = min(8u, pb.T - key0);
  let view = View(pb.S, pb.T, pb.causal, pb.window);
  let bias_rows = max(pb.L * pb.S, 1u);
  let seers = seers_of(key0, n, view);
  let keys_a = min(vec4u(key0) + vec4u(0u, 1u, 2u, 3u), vec4u(key0 + n - 1u));
  let ka = (vec4u(first) + keys_a) * cols;
  let keys_b = min(vec4u(key0) + vec4u(4u, 5u, 6u, 7u), vec4u(key0 + n - 1u));
  let kb = (vec4u(first) + keys_b) * cols;
  for (var d = (first + key0) * cols; d < (first + key0 + n) * cols; d++) {
    if (adds(pb.beta_dk)) { dk4[d] *= pb.beta_dk; } else { dk4[d] = vec4f(); }
    if (adds(pb.beta_dv)) { dv4[d] *= pb.beta_dv; } else { dv4[d] = vec4f(); }
  }
  let wide = (seers.y - seers.x + 15u) / 16u;
  for (var step = 0u; step < share * wide; step++) {
    let head = (id / blocks) * share + step / wide;
    let i = seers.x + (step % wide) * 16u;
    let i0 = min(vec4u(i) + vec4u(0u, 1u, 2u, 3u), vec4u(seers.y - 1u));
    let r0 = head * pb.S + i0;
    let q0 = r0 * cols;
    let do0 = r0 * (pb.E / 2u);
    let stats_0 = stats_of(do0);
    let bias_0 = (r0 % bias_rows) * pb.T;
    let see_0 = seen_before(vec4u(i) + vec4u(0u, 1u, 2u, 3u), seers.y, view);
    let i1 = min(vec4u(i) + vec4u(4u, 5u, 6u, 7u), vec4u(seers.y - 1u));
    let r1 = head * pb.S + i1;
    let q1 = r1 * cols;
    let do1 = r1 * (pb.E / 2u);
    let stats_1 = stats_of(do1);
    let bias_1 = (r1 % bias_rows) * pb.T;
    let see_1 = seen_before(vec4u(i) + vec4u(4u, 5u, 6u, 7u), seers.y, view);
    let i2 = min(vec4u(i) + vec4u(8u, 9u, 10u, 11u), vec4u(seers.y - 1u));
    let r2 = head * pb.S + i2;
    let q2 = r2 * cols;
    let do2 = r2 * (pb.E / 2u);
    let stats_2 = stats_of(do2);
    let bias_2 = (r2 % bias_rows) * pb.T;
    let see_2 = seen_before(vec4u(i) + vec4u(8u, 9u, 10u, 11u), seers.y, view);
    let i3 = min(vec4u(i) + vec4u(12u, 13u, 14u, 15u), vec4u(seers.y - 1u));
    let r3 = head * pb.S + i3;
    let q3 = r3 * cols;
    let do3 = r3 * (pb.E / 2u);
    let stats_3 = stats_of(do3);
    let bias_3 = (r3 % bias_rows) * pb.T;
    let see_3 = seen_before(vec4u(i) + vec4u(12u, 13u, 14u, 15u), seers.y, view);
    var sa0 = mat4x4f();
    var sa1 = mat4x4f();
    var sa2 = mat4x4f();
    var sa3 = mat4x4f();
    var ta0 = mat4x4f();
    var ta1 = mat4x4f();
    var ta2 = mat4x4f();
    var ta3 = mat4x4f();
    var sb0 = mat4x4f();
    var sb1 = mat4x4f();
    var sb2 = mat4x4f();
    var sb3 = mat4x4f();
    var tb0 = mat4x4f();
    var tb1 = mat4x4f();
    var tb2 = mat4x4f();
    var tb3 = mat4x4f();
    for (var d = 0u; d < cols; d++) {
      let kat = transpose(mat4x4f(k4[ka.x + d], k4[ka.y + d], k4[ka.z + d], k4[ka.w + d]));
      let kbt = transpose(mat4x4f(k4[kb.x + d], k4[kb.y + d], k4[kb.z + d], k4[kb.w + d]));
      let x0 = mat4x4f(q4[q0.x + d], q4[q0.y + d], q4[q0.z + d], q4[q0.w + d]);
      sa0 += kat * x0;
      sb0 += kbt * x0;
      let x1 = mat4x4f(q4[q1.x + d], q4[q1.y + d], q4[q1.z + d], q4[q1.w + d]);
      sa1 += kat * x1;
      sb1 += kbt * x1;
      let x2 = mat4x4f(q4[q2.x + d], q4[q2.y + d], q4[q2.z + d], q4[q2.w + d]);
      sa2 += kat * x2;
      sb2 += kbt * x2;
      let x3 = mat4x4f(q4[q3.x + d], q4[q3.y + d], q4[q3.z + d], q4[q3.w + d]);
      sa3 += kat * x3;
      sb3 += kbt * x3;
    }
    for (var d = 0u; d < cols; d++) {
      let vat = transpose(mat4x4f(v4[ka.x + d], v4[ka.y + d], v4[ka.z + d], v4[ka.w + d]));
      let vbt = transpose(mat4x4f(v4[kb.x + d], v4[kb.y + d], v4[kb.z + d], v4[kb.w + d]));
      let y0 = mat4x4f(do_at(do0.x, d), do_at(do0.y, d), do_at(do0.z, d), do_at(do0.w, d));
      ta0 += vat * y0;
      tb0 += vbt * y0;
      let y1 = mat4x4f(do_at(do1.x, d), do_at(do1.y, d), do_at(do1.z, d), do_at(do1.w, d));
      ta1 += vat * y1;
      tb1 += vbt * y1;
      let y2 = mat4x4f(do_at(do2.x, d), do_at(do2.y, d), do_at(do2.z, d), do_at(do2.w, d));
      ta2 += vat * y2;
      tb2 += vbt * y2;
      let y3 = mat4x4f(do_at(do3.x, d), do_at(do3.y, d), do_at(do3.z, d), do_at(do3.w, d));
      ta3 += vat * y3;
      tb3 += vbt * y3;
    }
    let ea0 = by_key(sa0, ta0, stats_0, bias_0, see_0, keys_a, c, scale);
    ta0 = transpose(ea0.w);
    sa0 = transpose(ea0.ds);
    let ea1 = by_key(sa1, ta1, stats_1, bias_1, see_1, keys_a, c, scale);
    ta1 = transpose(ea1.w);
    sa1 = transpose(ea1.ds);
    let ea2 = by_key(sa2, ta2, stats_2, bias_2, see_2, keys_a, c, scale);
    ta2 = transpose(ea2.w);
    sa2 = transpose(ea2.ds);
    let ea3 = by_key(sa3, ta3, stats_3, bias_3, see_3, keys_a, c, scale);
    ta3 = transpose(ea3.w);
    sa3 = transpose(ea3.ds);
    let eb0 = by_key(sb0, tb0, stats_0, bias_0, see_0, keys_b, c, scale);
    tb0 = transpose(eb0.w);
    sb0 = transpose(eb0.ds);
    let eb1 = by_key(sb1, tb1, stats_1, bias_1, see_1, keys_b, c, scale);
    tb1 = transpose(eb1.w);
    sb1 = transpose(eb1.ds);
    let eb2 = by_key(sb2, tb2, stats_2, bias_2, see_2, keys_b, c, scale);
    tb2 = transpose(eb2.w);
    sb2 = transpose(eb2.ds);
    let eb3 = by_key(sb3, tb3, stats_3, bias_3, see_3, keys_b, c, scale);
    tb3 = transpose(eb3.w);
    sb3 = transpose(eb3.ds);
    for (var d = 0u; d < cols; d++) {
      var ga = mat4x4f(dk4[ka.x + d], dk4[ka.y + d], dk4[ka.z + d], dk4[ka.w + d]);
      var gb = mat4x4f(dk4[kb.x + d], dk4[kb.y + d], dk4[kb.z + d], dk4[kb.w + d]);
      let x0 = mat4x4f(q4[q0.x + d], q4[q0.y + d], q4[q0.z + d], q4[q0.w + d]);
      ga += x0 * sa0;
      gb += x0 * sb0;
      let x1 = mat4x4f(q4[q1.x + d], q4[q1.y + d], q4[q1.z + d], q4[q1.w + d]);
      ga += x1 * sa1;
      gb += x1 * sb1;
      let x2 = mat4x4f(q4[q2.x + d], q4[q2.y + d], q4[q2.z + d], q4[q2.w + d]);
      ga += x2 * sa2;
      gb += x2 * sb2;
      let x3 = mat4x4f(q4[q3.x + d], q4[q3.y + d], q4[q3.z + d], q4[q3.w + d]);
      ga += x3 * sa3;
      gb += x3 * sb3;
      dk4[ka.x + d] = ga[0];
      dk4[ka.y + d] = ga[1];
      dk4[ka.z + d] = ga[2];
      dk4[ka.w + d] = ga[3];
      dk4[kb.x + d] = gb[0];
      dk4[kb.y + d] = gb[1];
      dk4[kb.z + d] = gb[2];
      dk4[kb.w + d] = gb[3];
    }
    for (var d = 0u; d < cols; d++) {
      var ga = mat4x4f(dv4[ka.x + d], dv4[ka.y + d], dv4[ka.z + d], dv4[ka.w + d]);
      var gb = mat4x4f(dv4[kb.x + d], dv4[kb.y + d], dv4[kb.z + d], dv4[kb.w + d]);
      let y0 = mat4x4f(do_at(do0.x, d), do_at(do0.y, d), do_at(do0.z, d), do_at(do0.w, d));
      ga += y0 * ta0;
      gb += y0 * tb0;
      let y1 = mat4x4f(do_at(do1.x, d), do_at(do1.y, d), do_at(do1.z, d), do_at(do1.w, d));
      ga += y1 * ta1;
      gb += y1 * tb1;
      let y2 = mat4x4f(do_at(do2.x, d), do_at(do2.y, d), do_at(do2.z, d), do_at(do2.w, d));
      ga += y2 * ta2;
      gb += y2 * tb2;
      let y3 = mat4x4f(do_at(do3.x, d), do_at(do3.y, d), do_at(do3.z, d), do_at(do3.w, d));
      ga += y3 * ta3;
      gb += y3 * tb3;
      dv4[ka.x + d] = ga[0];
      dv4[ka.y + d] = ga[1];
      dv4[ka.z + d] = ga[2];
      dv4[ka.w + d] = ga[3];
      dv4[kb.x + d] = gb[0];
      dv4[kb.y + d] = gb[1];
      dv4[kb.z + d] = gb[2];
      dv4[kb.w + d] = gb[3];
    }
  }
}

// ---- D a multiple of 4, for a GPU: the tiles of lib/tile, sums in registers.

// Columns of a gradient in 32s.
const CHUNKS = 2u;

@compute @workgroup_size(64)
fn attention_bwd_f32__tiles(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let queries = (pb.H / pb.G) * pb.S;
  let blocks = (queries + 31u) / 32u;
  let id = w.y * g.x + w.x;
  if (id >= pb.B * pb.G * blocks) { return; }
  let y = l / 8u;
  let x = l % 8u;
  let cols = pb.D / 4u;
  let row0 = (id / blocks) * queries + (id % blocks) * 32u;
  let n = min(32u, queries - (id % blocks) * 32u);
  let first = (id / blocks) * pb.T;
  let view = View(pb.S, pb.T, pb.causal, pb.window);
  let c = score_of(pb.scale, pb.D, pb.softcap);
  let scale = scale_of(pb.scale, pb.D);
  let keys = keys_of_rows(row0, n, view);
  let rows = min(vec4u(row0 + 4u * y) + vec4u(0u, 1u, 2u, 3u), vec4u(row0 + n - 1u));
  let see = seen_by(rows, view);
  let stats = stats_of(rows * (pb.E / 2u));
  let bias_at = (rows % max(pb.L * pb.S, 1u)) * pb.T;
  var a = array<mat4x4f, CHUNKS>();
  for (var j0 = keys.x; j0 < keys.y; j0 += 32u) {
    var s = mat4x4f();
    var dp = mat4x4f();
    for (var d0 = 0u; d0 < cols; d0 += 8u) {
      let d = d0 + x;
      for (var i = y; i < 32u; i += 8u) {
        own[i * PITCH + x] = vec4f();
        other[i * PITCH + x] = vec4f();
        if (d < cols && i < n) { own[i * PITCH + x] = q4[(row0 + i) * cols + d]; }
        if (d < cols && j0 + i < keys.y) { other[i * PITCH + x] = k4[(first + j0 + i) * cols + d]; }
      }
      workgroupBarrier();
      s = tile_dots(s, y, x);
      workgroupBarrier();
    }
    for (var d0 = 0u; d0 < cols; d0 += 8u) {
      let d = d0 + x;
      for (var i = y; i < 32u; i += 8u) {
        own[i * PITCH + x] = vec4f();
        other[i * PITCH + x] = vec4f();
        if (d < cols && i < n) { own[i * PITCH + x] = do_at((row0 + i) * (pb.E / 2u), d); }
        if (d < cols && j0 + i < keys.y) { other[i * PITCH + x] = v4[(first + j0 + i) * cols + d]; }
      }
      workgroupBarrier();
      dp = tile_dots(dp, y, x);
      workgroupBarrier();
    }
    s = by_query(s, dp, stats, bias_at, see, j0 + 4u * x, keys.y, c, scale);
    tile_keep(s, y, x);
    for (var chunk = 0u; chunk < CHUNKS; chunk++) {
      let d = 8u * chunk + x;
      for (var i = y; i < 32u; i += 8u) {
        other[i * PITCH + x] = vec4f();
        if (d < cols && j0 + i < keys.y) { other[i * PITCH + x] = k4[(first + j0 + i) * cols + d]; }
      }
      workgroupBarrier();
      a[chunk] = tile_sums(a[chunk], y, x);
      workgroupBarrier();
    }
  }
  for (var r = 0u; r < 4u && 4u * y + r < n; r++) {
    for (var chunk = 0u; chunk < CHUNKS; chunk++) {
      if (8u * chunk + x < cols) {
        let at = (row0 + 4u * y + r) * cols + 8u * chunk + x;
        if (adds(pb.beta_dq)) { dq4[at] = pb.beta_dq * dq4[at] + a[chunk][r]; } else { dq4[at] = a[chunk][r]; }
      }
    }
  }
}

@compute @workgroup_size(64)
fn attention_bwd_kv_f32__tiles(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let blocks = (pb.T + 31u) / 32u;
  let id = w.y * g.x + w.x;
  if (id >= pb.B * pb.G * blocks) { return; }
  let y = l / 8u;
  let x = l % 8u;
  let cols = pb.D / 4u;
  let share = pb.H / pb.G;
  let key0 = (id % blocks) * 32u;
  let n = min(32u, pb.T - key0);
  let first = (id / blocks) * pb.T + key0;
  let view = View(pb.S, pb.T, pb.causal, pb.window);
  let c = score_of(pb.scale, pb.D, pb.softcap);
  let scale = scale_of(pb.scale, pb.D);
  let seers = seers_of(key0, n, view);
  let keys = min(vec4u(key0 + 4u * y) + vec4u(0u, 1u, 2u, 3u), vec4u(key0 + n - 1u));
  var ak = array<mat4x4f, CHUNKS>();
  var av = array<mat4x4f, CHUNKS>();
  let wide = (seers.y - seers.x + 31u) / 32u;
  for (var step = 0u; step < share * wide; step++) {
    let i0 = seers.x + (step % wide) * 32u;
    let row0 = ((id / blocks) * share + step / wide) * pb.S + i0;
    let count = min(32u, seers.y - i0);
    var s = mat4x4f();
    var dp = mat4x4f();
    for (var d0 = 0u; d0 < cols; d0 += 8u) {
      let d = d0 + x;
      for (var i = y; i < 32u; i += 8u) {
        own[i * PITCH + x] = vec4f();
        other[i * PITCH + x] = vec4f();
        if (d < cols && i < n) { own[i * PITCH + x] = k4[(first + i) * cols + d]; }
        if (d < cols && i < count) { other[i * PITCH + x] = q4[(row0 + i) * cols + d]; }
      }
      workgroupBarrier();
      s = tile_dots(s, y, x);
      workgroupBarrier();
    }
    for (var d0 = 0u; d0 < cols; d0 += 8u) {
      let d = d0 + x;
      for (var i = y; i < 32u; i += 8u) {
        own[i * PITCH + x] = vec4f();
        other[i * PITCH + x] = vec4f();
        if (d < cols && i < n) { own[i * PITCH + x] = v4[(first + i) * cols + d]; }
        if (d < cols && i < count) { other[i * PITCH + x] = do_at((row0 + i) * (pb.E / 2u), d); }
      }
      workgroupBarrier();
      dp = tile_dots(dp, y, x);
      workgroupBarrier();
    }
    let at = vec4u(4u * x) + vec4u(0u, 1u, 2u, 3u);
    let rows = vec4u(row0) + min(at, vec4u(count - 1u));
    let see = seen_before(vec4u(i0) + at, seers.y, view);
    let e = by_key(s, dp, stats_of(rows * (pb.E / 2u)), (rows % max(pb.L * pb.S, 1u)) * pb.T, see, keys, c, scale);
    tile_keep(e.w, y, x);
    for (var chunk = 0u; chunk < CHUNKS; chunk++) {
      let d = 8u * chunk + x;
      for (var i = y; i < 32u; i += 8u) {
        other[i * PITCH + x] = vec4f();
        if (d < cols && i < count) { other[i * PITCH + x] = do_at((row0 + i) * (pb.E / 2u), d); }
      }
      workgroupBarrier();
      av[chunk] = tile_sums(av[chunk], y, x);
      workgroupBarrier();
    }
    tile_keep(e.ds, y, x);
    for (var chunk = 0u; chunk < CHUNKS; chunk++) {
      let d = 8u * chunk + x;
      for (var i = y; i < 32u; i += 8u) {
        other[i * PITCH + x] = vec4f();
        if (d < cols && i < count) { other[i * PITCH + x] = q4[(row0 + i) * cols + d]; }
      }
      workgroupBarrier();
      ak[chunk] = tile_sums(ak[chunk], y, x);
      workgroupBarrier();
    }
  }
  for (var r = 0u; r < 4u && 4u * y + r < n; r++) {
    for (var chunk = 0u; chunk < CHUNKS; chunk++) {
      if (8u * chunk + x < cols) {
        let at = (first + 4u * y + r) * cols + 8u * chunk + x;
        if (adds(pb.beta_dk)) { dk4[at] = pb.beta_dk * dk4[at] + ak[chunk][r]; } else { dk4[at] = ak[chunk][r]; }
        if (adds(pb.beta_dv)) { dv4[at] = pb.beta_dv * dv4[at] + av[chunk][r]; } else { dv4[at] = av[chunk][r]; }
      }
    }
  }
}

// ---- D a multiple of 4: a thread has four queries by four keys of dbias.

@group(0) @binding(1) var<storage, read> rows2_d: array<vec2f>; // (B,H,S,D/2+1)
@group(0) @binding(2) var<storage, read> q4_d: array<vec4f>;    // (B,H,S,D/4)
@group(0) @binding(3) var<storage, read> k4_d: array<vec4f>;    // (B,G,T,D/4)
@group(0) @binding(4) var<storage, read> v4_d: array<vec4f>;    // (B,G,T,D/4)

fn do_at_d(at: u32, d: u32) -> vec4f {
  return vec4f(rows2_d[at + 2u * d], rows2_d[at + 2u * d + 1u]);
}

@compute @workgroup_size(32)
fn attention_bwd_bias_f32__tiles(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let down = (pd.S + 3u) / 4u;
  let across = (pd.T + 3u) / 4u;
  let id = (w.y * g.x + w.x) * 32u + l;
  if (id >= pd.L * down * across) { return; }
  let i0 = ((id / across) % down) * 4u;
  let j0 = (id % across) * 4u;
  let lead = id / (across * down);
  let cols = pd.D / 4u;
  let c = score_of(pd.scale, pd.D, pd.softcap);
  let view = View(pd.S, pd.T, pd.causal, pd.window);
  let i = min(vec4u(i0, i0 + 1u, i0 + 2u, i0 + 3u), vec4u(pd.S - 1u));
  let j = min(vec4u(j0, j0 + 1u, j0 + 2u, j0 + 3u), vec4u(pd.T - 1u));
  let see = seen_by(i, view);
  let at = (vec4u(lead * pd.S) + i) * pd.T;
  var sum = mat4x4f();
  for (var head = lead; head < pd.B * pd.H; head += pd.L) {
    let rows = vec4u(head * pd.S) + i;
    let qr = rows * cols;
    let dr = rows * (pd.E / 2u);
    let kr = (vec4u(kv_of(head, pd.H, pd.G, pd.T)) + j) * cols;
    var s = mat4x4f();
    var dp = mat4x4f();
    for (var d = 0u; d < cols; d++) {
      let qt = transpose(mat4x4f(q4_d[qr.x + d], q4_d[qr.y + d], q4_d[qr.z + d], q4_d[qr.w + d]));
      let ct = transpose(mat4x4f(do_at_d(dr.x, d), do_at_d(dr.y, d), do_at_d(dr.z, d), do_at_d(dr.w, d)));
      s += qt * mat4x4f(k4_d[kr.x + d], k4_d[kr.y + d], k4_d[kr.z + d], k4_d[kr.w + d]);
      dp += ct * mat4x4f(v4_d[kr.x + d], v4_d[kr.y + d], v4_d[kr.z + d], v4_d[kr.w + d]);
    }
    let last = dr + pd.D / 2u;
    let x = rows2_d[last.x];
    let y = rows2_d[last.y];
    let z = rows2_d[last.z];
    let u = rows2_d[last.w];
    let lse = vec4f(x.x, y.x, z.x, u.x);
    let from_lse = select(lse * LOG2E, vec4f(3e38), bitcast<vec4u>(lse) == vec4u(0xff800000u));
    for (var n = 0u; n < 4u; n++) {
      var t = s[n] * c.factor;
      t = select(t, c.most * tanh_4(t), c.most > 0.0);
      t += LOG2E * vec4f(bias_d[at.x + j[n]], bias_d[at.y + j[n]], bias_d[at.z + j[n]], bias_d[at.w + j[n]]);
      let e = exp2_4(select(t, vec4f(HIDDEN), t < vec4f(HIDDEN)) - from_lse);
      sum[n] += select(vec4f(), e * (dp[n] - vec4f(x.y, y.y, z.y, u.y)), sees(see, j[n]));
    }
  }
  for (var r = 0u; r < 4u && i0 + r < pd.S; r++) {
    for (var n = 0u; n < 4u && j0 + n < pd.T; n++) {
      let to = at[r] + j0 + n;
      if (adds(pd.beta)) { dbias[to] = pd.beta * dbias[to] + sum[n][r]; } else { dbias[to] = sum[n][r]; }
    }
  }
}
