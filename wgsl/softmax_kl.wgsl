//! use index
//! use math
//! use online
//! use row
//! use optional
// Divergence of softmax(z/T) from softmax(t/T), forward or reverse, skewed by α: a workgroup of 64 a row,
// or slices of rows (`split`).
struct P { R: u32, C: u32, kind: u32, alpha: f32, mixture: u32, temperature: f32 }
@group(0) @binding(0) var<storage, read_write> loss: array<f32>;   // (R)
@group(0) @binding(1) var<storage, read_write> lse_z: array<f32>;  // (R)
@group(0) @binding(2) var<storage, read_write> lse_t: array<f32>;  // (R)
@group(0) @binding(3) var<storage, read_write> centre: array<f32>; // (R)
@group(0) @binding(4) var<storage, read> z: array<f32>;            // (R,C)
@group(0) @binding(5) var<storage, read> t: array<f32>;            // (R,C)
@group(0) @binding(6) var<uniform> p: P;

// Of four elements: shares of the loss, shares of the centre, q; kernels/softmax_kl.ts says what they are.
struct Four { loss: vec4f, centre: vec4f, q: vec4f }

fn element(lq: vec4f, lp: vec4f, kind: u32, alpha: f32, mixture: u32) -> Four {
  let q = exp_4(lq);
  let own = select(q, exp_4(lp), kind == 0u);
  // Forward: d = ln q/p, and the mixture over p; reverse: the other way round. Both are over the larger of
  // 1 and e^d, so that nothing overflows: m = α + (1−α) e^d = e^c inner.
  let d = select(lq - lp, lp - lq, kind == 1u);
  var u = d;
  var rest = vec4f();
  if (alpha > 0.0) {
    let f = exp_4(-abs(d));
    let above = d > vec4f();
    let inner = select(alpha + (1.0 - alpha) * f, alpha * f + (1.0 - alpha), above);
    u = max(d, vec4f()) + log(inner);
    rest = select(select(f, vec4f(1.0), above), select(vec4f(1.0), f, above), kind == 1u) / inner;
  }
  // What has no probability has no share, whatever its logarithm.
  let none = own == vec4f();
  let loss = select(-own * u, vec4f(), none);
  if (kind == 0u) {
    return Four(loss, own * select(rest, vec4f(1.0), alpha == 0.0), q);
  }
  let held = mixture == 1u;
  return Four(loss, select(own * (-u - select(alpha * rest, vec4f(), held)), vec4f(), none), q);
}

// The thread's four columns from c on, 64 apart; c again for those that are not below `to`.
fn columns(c: u32, to: u32) -> vec4u {
  let four = c + vec4u(0u, 64u, 128u, 192u);
  return select(vec4u(c), four, four < vec4u(to));
}

fn z_at(k: f32, o: u32, i: u32, to: u32) -> f32 { return select(LOWEST, k * z[o + min(i, to - 1u)], i < to); }
fn t_at(k: f32, o: u32, i: u32, to: u32) -> f32 { return select(LOWEST, k * t[o + min(i, to - 1u)], i < to); }

// The thread's share of a row of z and of t: every 64th of the numbers from `first` on, below `to`.
fn share(o: u32, first: u32, to: u32) -> vec4f {
  let k = 1.0 / p.temperature;
  var a = NOTHING;
  var b = NOTHING;
  for (var c = first; c < to; c += 1024u) {
    a = online_block(a, mat4x4f(
      z_at(k, o, c, to), z_at(k, o, c + 64u, to), z_at(k, o, c + 128u, to), z_at(k, o, c + 192u, to),
      z_at(k, o, c + 256u, to), z_at(k, o, c + 320u, to), z_at(k, o, c + 384u, to), z_at(k, o, c + 448u, to),
      z_at(k, o, c + 512u, to), z_at(k, o, c + 576u, to), z_at(k, o, c + 640u, to), z_at(k, o, c + 704u, to),
      z_at(k, o, c + 768u, to), z_at(k, o, c + 832u, to), z_at(k, o, c + 896u, to), z_at(k, o, c + 960u, to),
    ));
    b = online_block(b, mat4x4f(
      t_at(k, o, c, to), t_at(k, o, c + 64u, to), t_at(k, o, c + 128u, to), t_at(k, o, c + 192u, to),
      t_at(k, o, c + 256u, to), t_at(k, o, c + 320u, to), t_at(k, o, c + 384u, to), t_at(k, o, c + 448u, to),
      t_at(k, o, c + 512u, to), t_at(k, o, c + 576u, to), t_at(k, o, c + 640u, to), t_at(k, o, c + 704u, to),
      t_at(k, o, c + 768u, to), t_at(k, o, c + 832u, to), t_at(k, o, c + 896u, to), t_at(k, o, c + 960u, to),
    ));
  }
  return vec4f(a, b);
}

// The thread's share of loss and centre, from both lse.
fn terms(o: u32, first: u32, to: u32, lz: f32, lt: f32) -> vec2f {
  let k = 1.0 / p.temperature;
  var loss = vec4f();
  var centre = vec4f();
  for (var c = first; c < to; c += 256u) {
    let i = o + columns(c, to);
    let e = element(
      k * vec4f(z[i.x], z[i.y], z[i.z], z[i.w]) - lz, k * vec4f(t[i.x], t[i.y], t[i.z], t[i.w]) - lt,
      p.kind, p.alpha, p.mixture,
    );
    // Repeats of the first column count once.
    let once = i == o + c + vec4u(0u, 64u, 128u, 192u);
    loss += select(vec4f(), e.loss, once);
    centre += select(vec4f(), e.centre, once);
  }
  return vec2f((loss.x + loss.y) + (loss.z + loss.w), (centre.x + centre.y) + (centre.z + centre.w));
}

fn endless(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) >= 0x7f800000u; }

// A row whose lse is no number has no divergence; a device's log() may make a number of a NaN. The centre of
// forward has no logarithm in it.
fn put_loss(row: u32, s: vec2f, lz: f32, lt: f32) {
  let bad = p.C > 0u && (endless(lz) || endless(lt));
  let total = select(s, vec2f(bitcast<f32>(0x7fc00000u + (p.R & 0u))), vec2(bad, bad && p.kind == 1u));
  loss[row] = total.x;
  centre[row] = total.y;
}

@compute @workgroup_size(64)
fn softmax_kl_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = w.y * g.x + w.x;
  let inside = row < p.R;
  let o = select(0u, row, inside) * p.C;
  let a = share(o, l, p.C);
  let lz = online_lse(online_all(a.xy, l));
  let lt = online_lse(online_all(a.zw, l));
  let s = terms(o, l, p.C, lz, lt);
  let total = vec2f(row_all_sum(s.x, l), row_all_sum(s.y, l));
  if (l != 0u || !inside) { return; }
  put_loss(row, total, lz, lt);
  lse_z[row] = lz;
  lse_t[row] = lt;
}

// ---- slices of SLICE numbers: shares of the lse, both lse, shares of the loss, the loss ---------------

const SLICE = 4096u;
@group(0) @binding(7) var<storage, read_write> scratch: array<vec4f>; // (R, slices, 64)

fn slices() -> u32 { return (p.C + SLICE - 1u) / SLICE; }

@compute @workgroup_size(64)
fn softmax_kl_f32__split(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let n = slices();
  let i = w.y * g.x + w.x;
  if (i >= p.R * n) { return; }
  let first = i % n * SLICE;
  scratch[i * 64u + l] = share(i / n * p.C, first + l, min(first + SLICE, p.C));
}

@compute @workgroup_size(64)
fn softmax_kl_split_lse(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = w.y * g.x + w.x;
  let n = slices();
  var a = NOTHING;
  var b = NOTHING;
  if (row < p.R) {
    for (var i = 0u; i < n; i++) {
      let v = scratch[(row * n + i) * 64u + l];
      a = online_merge(a, v.xy);
      b = online_merge(b, v.zw);
    }
  }
  let lz = online_lse(online_all(a, l));
  let lt = online_lse(online_all(b, l));
  if (l == 0u && row < p.R) {
    lse_z[row] = lz;
    lse_t[row] = lt;
  }
}

@compute @workgroup_size(64)
fn softmax_kl_split_terms(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let n = slices();
  let i = w.y * g.x + w.x;
  if (i >= p.R * n) { return; }
  let row = i / n;
  let first = i % n * SLICE;
  let s = terms(row * p.C, first + l, min(first + SLICE, p.C), lse_z[row], lse_t[row]);
  scratch[i * 64u + l] = vec4f(s, 0.0, 0.0);
}

@compute @workgroup_size(64)
fn softmax_kl_split_total(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = w.y * g.x + w.x;
  let n = slices();
  var s = vec2f();
  if (row < p.R) {
    for (var i = 0u; i < n; i++) { s += scratch[(row * n + i) * 64u + l].xy; }
  }
  let total = vec2f(row_all_sum(s.x, l), row_all_sum(s.y, l));
  if (l == 0u && row < p.R) { put_loss(row, total, lse_z[row], lse_t[row]); }
}

struct PB { R: u32, C: u32, kind: u32, alpha: f32, mixture: u32, temperature: f32, beta: f32 }
@group(0) @binding(0) var<storage, read_write> dz: array<f32>;    // (R,C)
@group(0) @binding(1) var<storage, read> dloss: array<f32>;       // (R)
@group(0) @binding(2) var<storage, read> z_b: array<f32>;         // (R,C)
@group(0) @binding(3) var<storage, read> t_b: array<f32>;         // (R,C)
@group(0) @binding(4) var<storage, read> lse_z_b: array<f32>;     // (R)
@group(0) @binding(5) var<storage, read> lse_t_b: array<f32>;     // (R)
@group(0) @binding(6) var<storage, read> centre_b: array<f32>;    // (R)
@group(0) @binding(7) var<uniform> pb: PB;

// Runs of RUN numbers of a row: a workgroup a run.
const RUN = 1024u;

@compute @workgroup_size(64)
fn softmax_kl_bwd_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let n = (pb.C + RUN - 1u) / RUN;
  let i = w.y * g.x + w.x;
  if (i >= pb.R * n) { return; }
  let r = i / n;
  let k = 1.0 / pb.temperature;
  let to = min(i % n * RUN + RUN, pb.C);
  for (var c = i % n * RUN + l; c < to; c += 256u) {
    let j = r * pb.C + columns(c, to);
    let e = element(
      k * vec4f(z_b[j.x], z_b[j.y], z_b[j.z], z_b[j.w]) - lse_z_b[r],
      k * vec4f(t_b[j.x], t_b[j.y], t_b[j.z], t_b[j.w]) - lse_t_b[r],
      pb.kind, pb.alpha, pb.mixture,
    );
    let off = e.q * centre_b[r];
    let v = k * dloss[r] * select(e.centre - off, (1.0 - pb.alpha) * (off - e.centre), pb.kind == 0u);
    var old = vec4f();
    if (adds(pb.beta)) { old = pb.beta * vec4f(dz[j.x], dz[j.y], dz[j.z], dz[j.w]); }
    let sum = select(v, old + v, adds(pb.beta));
    // Repeats of the first column have its value.
    dz[j.x] = sum.x;
    dz[j.y] = sum.y;
    dz[j.z] = sum.z;
    dz[j.w] = sum.w;
  }
}
