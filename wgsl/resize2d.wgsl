//! use index
//! use optional
// Resizing of images, a thread an element of the result; a gradient gathers from the pixels that its own
// has a part in. Coordinates are fractions in integers, exact on every device.

struct Nearest { B: u32, C: u32, P: u32, Q: u32, H: u32, W: u32, height: u32, width: u32, beta: f32 }
struct NearestBwd { B: u32, C: u32, H: u32, W: u32, P: u32, Q: u32, height: u32, width: u32, beta: f32 }
struct Bilinear { B: u32, C: u32, P: u32, Q: u32, H: u32, W: u32, height: u32, width: u32, align_corners: u32, beta: f32 }
struct BilinearBwd { B: u32, C: u32, H: u32, W: u32, P: u32, Q: u32, height: u32, width: u32, align_corners: u32, beta: f32 }
@group(0) @binding(0) var<storage, read_write> y: array<f32>; // y (B,C,P,Q) or dx (B,C,H,W)
@group(0) @binding(1) var<storage, read> x: array<f32>;       // x (B,C,H,W) or dy (B,C,P,Q)
@group(0) @binding(2) var<uniform> pn: Nearest;
@group(0) @binding(2) var<uniform> pnb: NearestBwd;
@group(0) @binding(2) var<uniform> pb: Bilinear;
@group(0) @binding(2) var<uniform> pbb: BilinearBwd;

fn put(i: u32, v: f32, beta: f32) {
  if (adds(beta)) { y[i] = beta * y[i] + v; } else { y[i] = v; }
}

@compute @workgroup_size(64)
fn resize_nearest2d_f32(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(wid, g, l);
  if (i >= pn.B * pn.C * pn.P * pn.Q) { return; }
  let h = i / pn.Q % pn.P * pn.H / pn.P;
  let w = i % pn.Q * pn.W / pn.Q;
  put(i, x[(i / (pn.P * pn.Q) * pn.H + h) * pn.W + w], pn.beta);
}

@compute @workgroup_size(64)
fn resize_nearest2d_bwd_f32(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(wid, g, l);
  if (i >= pnb.B * pnb.C * pnb.H * pnb.W) { return; }
  let h = i / pnb.W % pnb.H;
  let w = i % pnb.W;
  // ⌊p·H/P⌋ = h from the first p with p·H >= h·P to the last before the same of h + 1.
  let past_p = ((h + 1u) * pnb.P + pnb.H - 1u) / pnb.H;
  let first_q = (w * pnb.Q + pnb.W - 1u) / pnb.W;
  let past_q = ((w + 1u) * pnb.Q + pnb.W - 1u) / pnb.W;
  let plane = i / (pnb.H * pnb.W) * pnb.P;
  var sum = 0.0;
  for (var p = (h * pnb.P + pnb.H - 1u) / pnb.H; p < past_p; p++) {
    for (var q = first_q; q < past_q; q++) { sum += x[(plane + p) * pnb.Q + q]; }
  }
  put(i, sum, pnb.beta);
}

// The coordinate of pixel i of `to` among `size`: numerator and denominator.
fn coordinate(i: u32, to: u32, size: u32, aligned: u32) -> vec2u {
  if (aligned != 0u) { return vec2u(i * (size - 1u), max(to, 2u) - 1u); }
  return vec2u(max((2u * i + 1u) * size, to) - to, 2u * to);
}

// The first of its two neighbours, the second, and the weight of that.
struct Spot { first: u32, second: u32, t: f32 }
fn spot(i: u32, to: u32, size: u32, aligned: u32) -> Spot {
  let at = coordinate(i, to, size, aligned);
  let first = at.x / at.y;
  return Spot(first, min(first + 1u, size - 1u), f32(at.x - first * at.y) / f32(at.y));
}

// The part that pixel i of `to` takes of pixel k of `size`: one less the distance; past the last pixel, all.
fn part(i: u32, k: u32, to: u32, size: u32, aligned: u32) -> f32 {
  let at = coordinate(i, to, size, aligned);
  let past = i32(at.x) - i32(k * at.y);
  let weight = max(0.0, 1.0 - f32(abs(past)) / f32(at.y));
  return select(weight, 1.0, past > 0 && k == size - 1u);
}

// The first pixel of `to` whose coordinate is k or more.
fn reach(k: u32, to: u32, size: u32, aligned: u32) -> u32 {
  if (aligned != 0u) {
    if (size == 1u) { return select(to, 0u, k == 0u); }
    return min((k * (max(to, 2u) - 1u) + size - 2u) / (size - 1u), to);
  }
  if (k == 0u) { return 0u; }
  // (2p + 1)·size − to >= 2·k·to
  return min((max((2u * k + 1u) * to, size) - size + 2u * size - 1u) / (2u * size), to);
}

@compute @workgroup_size(64)
fn resize_bilinear2d_f32(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(wid, g, l);
  if (i >= pb.B * pb.C * pb.P * pb.Q) { return; }
  let h = spot(i / pb.Q % pb.P, pb.P, pb.H, pb.align_corners);
  let w = spot(i % pb.Q, pb.Q, pb.W, pb.align_corners);
  let plane = i / (pb.P * pb.Q) * pb.H;
  let above = (plane + h.first) * pb.W;
  let below = (plane + h.second) * pb.W;
  let a = (1.0 - h.t) * x[above + w.first] + h.t * x[below + w.first];
  let b = (1.0 - h.t) * x[above + w.second] + h.t * x[below + w.second];
  put(i, (1.0 - w.t) * a + w.t * b, pb.beta);
}

@compute @workgroup_size(64)
fn resize_bilinear2d_bwd_f32(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(wid, g, l);
  if (i >= pbb.B * pbb.C * pbb.H * pbb.W) { return; }
  let h = i / pbb.W % pbb.H;
  let w = i % pbb.W;
  let past_p = reach(h + 1u, pbb.P, pbb.H, pbb.align_corners);
  let first_q = reach(max(w, 1u) - 1u, pbb.Q, pbb.W, pbb.align_corners);
  let past_q = reach(w + 1u, pbb.Q, pbb.W, pbb.align_corners);
  let plane = i / (pbb.H * pbb.W) * pbb.P;
  var sum = 0.0;
  for (var p = reach(max(h, 1u) - 1u, pbb.P, pbb.H, pbb.align_corners); p < past_p; p++) {
    let a = part(p, h, pbb.P, pbb.H, pbb.align_corners);
    for (var q = first_q; q < past_q; q++) {
      sum += a * part(q, w, pbb.Q, pbb.W, pbb.align_corners) * x[(plane + p) * pbb.Q + q];
    }
  }
  put(i, sum, pbb.beta);
}
