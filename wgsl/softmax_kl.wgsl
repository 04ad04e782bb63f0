//! use index
//! use math
//! use online
//! use row
// Divergence of softmax(z/T) from softmax(t/T), forward or reverse, skewed by α: a workgroup of 64 a row.
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
  // Forward: d = ln q/p, and the log of the mixture over p; reverse: the other way round.
  let d = select(lq - lp, lp - lq, kind == 1u);
  // Out of the logarithm: what is above e^0.
  let c = max(d, 0.0);
  var u = c + log(alpha * exp_f(-c) + (1.0 - alpha) * exp_f(d - c));
  if (alpha == 0.0) { u = d; }
  if (kind == 0u) {
    if (pr == 0.0) { return vec3f(0.0, 0.0, q); }
    let share = pr * select(exp_f(d - u), 1.0, alpha == 0.0);
    return vec3f(-pr * u, share, q);
  }
  if (q == 0.0) { return vec3f(); }
  return vec3f(-q * u, q * (-u - select(alpha * exp_f(-u), 0.0, mixture == 1u || alpha == 0.0)), q);
}

@compute @workgroup_size(64)
fn softmax_kl_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = w.y * g.x + w.x;
  let inside = row < p.R;
  let o = select(0u, row, inside) * p.C;
  let k = 1.0 / p.temperature;
  var a = NOTHING;
  var b = NOTHING;
  for (var c = l; c < p.C; c += 64u) {
    a = online_merge(a, vec2f(k * z[o + c], 1.0));
    b = online_merge(b, vec2f(k * t[o + c], 1.0));
  }
  let lz = online_lse(online_all(a, l));
  let lt = online_lse(online_all(b, l));
  var s = vec2f();
  for (var c = l; c < p.C; c += 64u) {
    s += element(k * z[o + c] - lz, k * t[o + c] - lt, p.kind, p.alpha, p.mixture).xy;
  }
  let total = vec2f(row_all_sum(s.x, l), row_all_sum(s.y, l));
  if (l != 0u || !inside) { return; }
  loss[row] = total.x;
  centre[row] = total.y;
  lse_z[row] = lz;
  lse_t[row] = lt;
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
