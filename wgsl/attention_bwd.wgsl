//! use index
//! use math
//! use attention
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
    if ((pr.present & 1u) != 0u) {
      c = do_r[i * pr.D + d];
      delta += c * o_r[i * pr.D + d];
    }
    rows_out[i * pr.E + d] = c;
  }
  if ((pr.present & 2u) != 0u) { delta -= dlse_r[i]; }
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
  if (pb.present == 0u) { return 0.0; }
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
      if (pb.beta_dq != 0.0) { dq[at] *= pb.beta_dq; } else { dq[at] = 0.0; }
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
      if (pb.beta_dk != 0.0) { dk[at] *= pb.beta_dk; } else { dk[at] = 0.0; }
      if (pb.beta_dv != 0.0) { dv[at] *= pb.beta_dv; } else { dv[at] = 0.0; }
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
  if (pd.beta != 0.0) { sum += pd.beta * dbias[at]; }
  dbias[at] = sum;
}
