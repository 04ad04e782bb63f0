//! use index
//! use math
//! use online
//! use row
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

// (share of the loss, share of the centre, q); kernels/softmax_kl.ts says what they are.
fn element(lq: f32, lp: f32, kind: u32, alpha: f32, mixture: u32) -> vec3f {
  let q = exp_f(lq);
  let pr = exp_f(lp);
  // Forward: d = ln q/p, and the mixture over p; reverse: the other way round. Both are over the larger of
  // 1 and e^d, so that nothing overflows: m = α + (1−α) e^d = e^c inner.
  let d = select(lq - lp, lp - lq, kind == 1u);
  let f = exp_f(-abs(d));
  let inner = select(fma(1.0 - alpha, f, alpha), fma(alpha, f, 1.0 - alpha), d > 0.0);
  var u = max(d, 0.0) + log(inner);
  if (alpha == 0.0) { u = d; }
  if (kind == 0u) {
    if (pr == 0.0) { return vec3f(0.0, 0.0, q); }
    let share = pr * select(select(f, 1.0, d > 0.0) / inner, 1.0, alpha == 0.0);
    return vec3f(-pr * u, share, q);
  }
  if (q == 0.0) { return vec3f(); }
  let held = mixture == 1u || alpha == 0.0;
  return vec3f(-q * u, q * (-u - select(alpha * select(1.0, f, d > 0.0) / inner, 0.0, held)), q);
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
  var s = vec2f();
  for (var c = first; c < to; c += 64u) {
    s += element(k * z[o + c] - lz, k * t[o + c] - lt, p.kind, p.alpha, p.mixture).xy;
  }
  return s;
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
  loss[row] = total.x;
  centre[row] = total.y;
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
  if (l == 0u && row < p.R) {
    loss[row] = total.x;
    centre[row] = total.y;
  }
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
  for (var c = i % n * RUN + l; c < to; c += 64u) {
    let at = r * pb.C + c;
    let e = element(k * z_b[at] - lse_z_b[r], k * t_b[at] - lse_t_b[r], pb.kind, pb.alpha, pb.mixture);
    let off = e.z * centre_b[r];
    let v = k * dloss[r] * select(e.y - off, (1.0 - pb.alpha) * (off - e.y), pb.kind == 0u);
    if (pb.beta != 0.0) { dz[at] = pb.beta * dz[at] + v; } else { dz[at] = v; }
  }
}
