//! use math
//! use row
// Σ e^x in one pass: (m, s) with m the largest x so far, s = Σ e^(x − m). Of no numbers m is half the
// lowest: -Inf, which arithmetic on the device may not survive, and LOWEST add e^… = 0 to s.
const NOTHING = vec2f(-1.7014117e38, 0.0);

fn online_merge(a: vec2f, b: vec2f) -> vec2f {
  let m = max_nan(a.x, b.x);
  return vec2f(m, a.y * exp_f(a.x - m) + b.y * exp_f(b.x - m));
}

// Sixteen more; LOWEST where there is no number.
fn online_block(a: vec2f, v: mat4x4f) -> vec2f {
  let t = max(max(v[0], v[1]), max(v[2], v[3]));
  let m = max(a.x, max(max(t.x, t.y), max(t.z, t.w)));
  // A NaN that max() drops is in the sum.
  let e = (exp_4(v[0] - m) + exp_4(v[1] - m)) + (exp_4(v[2] - m) + exp_4(v[3] - m));
  return vec2f(m, a.y * exp_f(a.x - m) + ((e.x + e.y) + (e.z + e.w)));
}

// ln Σ e^x; that of nothing is -Inf. A device's log() may make a number of a NaN.
fn online_lse(a: vec2f) -> f32 {
  if (is_nan(a.y)) { return a.y; }
  return select(a.x + log(a.y), bitcast<f32>(0xff800000u | (bitcast<u32>(a.y) & 0u)), a.y == 0.0);
}

var<workgroup> online_part: array<vec2f, 64>;

// Over the threads of a workgroup of 64, all of which must call it.
fn online_all(v: vec2f, l: u32) -> vec2f {
  workgroupBarrier();
  online_part[l] = v;
  workgroupBarrier();
  for (var s = 32u; s > 0u; s >>= 1u) {
    if (l < s) { online_part[l] = online_merge(online_part[l], online_part[l + s]); }
    workgroupBarrier();
  }
  return online_part[0];
}
