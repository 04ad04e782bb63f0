//! use index
//! use math
//! use random
// Stochastic pulse trains and the update they make, see wasm/pulse.ts for the layout.
struct PS { S: u32, I: u32, O: u32, lr: f32, granularity: f32, bl: u32, um: u32, ublm: u32 }
@group(0) @binding(0) var<storage, read_write> scales: array<f32>; // (S,4)
@group(0) @binding(1) var<storage, read> xs: array<f32>;           // (S,I)
@group(0) @binding(2) var<storage, read> ds: array<f32>;           // (S,O)
@group(0) @binding(3) var<uniform> ps: PS;

@compute @workgroup_size(64)
fn pulse_scales_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let s = linear_index(w, g, l);
  if (s >= ps.S) { return; }
  var xm = 0.0;
  var dm = 0.0;
  for (var i = 0u; i < ps.I; i++) { xm = max(xm, abs(xs[s * ps.I + i])); }
  for (var i = 0u; i < ps.O; i++) { dm = max(dm, abs(ds[s * ps.O + i])); }
  let k = ps.lr * xm * dm / ps.granularity;
  var b = 0.0;
  var a = 0.0;
  var slots = 0.0;
  if (k > 0.0) {
    let most = f32(ps.bl);
    slots = select(most, min(ceil(k), most), ps.ublm != 0u);
    a = sqrt(ps.lr / (ps.granularity * slots));
    b = a;
    if (ps.um != 0u) {
      let dv = select(dm, dm * most / k, k > most);
      a *= sqrt(xm / dv);
      b *= sqrt(dv / xm);
    }
  }
  scales[4u * s] = b;
  scales[4u * s + 1u] = a;
  scales[4u * s + 2u] = slots;
  scales[4u * s + 3u] = select(0.0, k, k > 0.0);
}

struct PT { S: u32, L: u32, side: u32, seed: u32, stream: u32, t: u32 }
@group(0) @binding(0) var<storage, read_write> words: array<u32>; // (S,L)
@group(0) @binding(1) var<storage, read> v: array<f32>;           // (S,L)
@group(0) @binding(2) var<storage, read> sc: array<f32>;          // (S,4)
@group(0) @binding(3) var<uniform> pt: PT;

@compute @workgroup_size(64)
fn pulse_trains_u32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let e = linear_index(w, g, l);
  if (e >= pt.S * pt.L) { return; }
  let s = e / pt.L;
  let p = min(sc[4u * s + pt.side] * abs(v[e]), 1.0);
  let slots = u32(sc[4u * s + 2u]);
  let q = u32(p * 16777216.0);
  var word = 0u;
  if (slots > 0u && q != 0u) {
    for (var k = 0u; k < 24u; k += 2u) {
      let x = threefry2x32(vec2u(pt.seed, pt.stream), vec2u(e % pt.L, (pt.t * pt.S + s) * 12u + (k >> 1u)));
      word = select(word & x.x, word | x.x, ((q >> k) & 1u) == 1u);
      word = select(word & x.y, word | x.y, ((q >> (k + 1u)) & 1u) == 1u);
    }
    if (q >= 16777216u) { word = 0xffffffffu; }
    if (slots < 32u) { word &= (1u << slots) - 1u; }
  }
  words[e] = word;
}

struct PU {
  O: u32, I: u32, S: u32, K: u32, present: u32,
  model: u32, additive: u32, sigma: f32, sigma_add: f32, sigma_slope: f32,
  g_up: f32, g_down: f32, a_up: f32, a_down: f32, a: f32, b: f32,
  seed: u32, stream: u32, t: u32,
}
@group(0) @binding(0) var<storage, read_write> weight: array<f32>; // (O,I)
@group(0) @binding(1) var<storage, read> xw: array<u32>;           // (S,I)
@group(0) @binding(2) var<storage, read> dw: array<u32>;           // (S,O)
@group(0) @binding(3) var<storage, read> x: array<f32>;            // (S,I)
@group(0) @binding(4) var<storage, read> d: array<f32>;            // (S,O)
@group(0) @binding(5) var<storage, read> dev: array<f32>;          // (7,O,I): su sd ku kd M m r
@group(0) @binding(6) var<storage, read> nodes: array<f32>;        // (2,K)
@group(0) @binding(7) var<uniform> pu: PU;

// Pipeline constants, so that a driver keeps one branch: the model, and whether there is noise.
override MODEL: u32 = 0;
override NOISE: bool = true;

fn pulse_size(up: bool, v: f32, s: f32, k: f32, hi: f32, lo: f32) -> f32 {
  let g = select(pu.g_down, pu.g_up, up);
  switch (MODEL) {
    case 0u: { return s + k * v; }
    case 1u: {
      let u = select(v - lo, hi - v, up) / (hi - lo);
      return s * select(0.0, exp_f(g * log(u)), u > 0.0);
    }
    case 2u: {
      let z = 2.0 * pu.a * v / (hi - lo) + pu.b;
      return s * max(0.0, 1.0 - select(pu.a_down, pu.a_up, up) * exp_f(select(-g, g, up) * z));
    }
    case 4u: {
      let last = pu.K - 1u;
      let x = f32(last) * clamp((v - lo) / (hi - lo), 0.0, 1.0);
      let i = min(u32(x), last);
      let row = select(pu.K, 0u, up);
      let left = nodes[row + i];
      return s * (left + (x - f32(i)) * (nodes[row + min(i + 1u, last)] - left));
    }
    default: {
      let u = max(0.0, 1.0 - v / select(lo, hi, up));
      return s * (exp_f(g * u) - 1.0) / (exp_f(g) - 1.0);
    }
  }
}

@compute @workgroup_size(64)
fn pulse_update_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let e = linear_index(w, g, l);
  let n = pu.O * pu.I;
  if (e >= n) { return; }
  let o = e / pu.I;
  let i = e % pu.I;
  let M = dev[4u * n + e];
  let m = dev[5u * n + e];
  let r = dev[6u * n + e];
  var v = weight[e] + r;
  for (var s = 0u; s < pu.S; s++) {
    let count = countOneBits(dw[s * pu.O + o] & xw[s * pu.I + i]);
    if (count == 0u) { continue; }
    let up = d[s * pu.O + o] * x[s * pu.I + i] < 0.0;
    let step = select(dev[n + e], dev[e], up);
    let slope = select(-dev[3u * n + e], dev[2u * n + e], up);
    for (var k = 0u; k < count; k++) {
      var size = pulse_size(up, v, step, slope, M, m);
      if (NOISE && pu.sigma > 0.0) {
        let noise = pu.sigma * normal_pair(threefry2x32(vec2u(pu.seed, pu.stream), vec2u(e, (pu.t * pu.S + s) * 32u + k))).x;
        if (pu.sigma_add + pu.sigma_slope > 0.0) {
          size += (abs(size) + pu.sigma_add + pu.sigma_slope * abs(v)) * noise;
        } else {
          size = select(size * (1.0 + noise), size + step * noise, pu.additive != 0u);
        }
      }
      v = clamp(v + select(-size, size, up), m, M);
    }
  }
  weight[e] = v - r;
}
