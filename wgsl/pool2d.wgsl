//! use index
//! use math
//! use optional
// Pooling, a thread an element of the result; a gradient gathers from the windows that hold its pixel.
// Coordinates below 0 turn into large u32.

struct PM { B: u32, C: u32, P: u32, Q: u32, H: u32, W: u32, kernel_h: u32, kernel_w: u32, stride: u32, pad: u32 }
@group(0) @binding(0) var<storage, read_write> y: array<f32>;     // (B,C,P,Q)
@group(0) @binding(1) var<storage, read_write> index: array<i32>; // (B,C,P,Q)
@group(0) @binding(2) var<storage, read> x: array<f32>;           // (B,C,H,W)
@group(0) @binding(3) var<uniform> pm: PM;

// Windows [first, past) of n hold pixel i.
struct Run { first: u32, past: u32 }
fn holding(i: u32, taps: u32, stride: u32, pad: u32, n: u32) -> Run {
  let past = min((i + pad) / stride + 1u, n);
  return Run((max(i + pad + 1u, taps) - taps + stride - 1u) / stride, past);
}
// Pixels [first, past) of `size` are in window n.
fn held(n: u32, taps: u32, stride: u32, pad: u32, size: u32) -> Run {
  let end = n * stride + taps;
  return Run(max(n * stride, pad) - pad, min(max(end, pad) - pad, size));
}

@compute @workgroup_size(64)
fn max_pool2d_f32(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(wid, g, l);
  if (i >= pm.B * pm.C * pm.P * pm.Q) { return; }
  let rows = held(i / pm.Q % pm.P, pm.kernel_h, pm.stride, pm.pad, pm.H);
  let columns = held(i % pm.Q, pm.kernel_w, pm.stride, pm.pad, pm.W);
  let plane = i / (pm.P * pm.Q) * pm.H * pm.W;
  var at = rows.first * pm.W + columns.first;
  var best = x[plane + at];
  for (var h = rows.first; h < rows.past; h++) {
    for (var w = columns.first; w < columns.past; w++) {
      let v = x[plane + h * pm.W + w];
      if (!is_nan(best) && (v > best || is_nan(v))) {
        best = v;
        at = h * pm.W + w;
      }
    }
  }
  y[i] = best;
  index[i] = i32(at);
}

struct PMB {
  B: u32, C: u32, H: u32, W: u32, P: u32, Q: u32,
  height: u32, width: u32, kernel_h: u32, kernel_w: u32, stride: u32, pad: u32, beta: f32,
}
@group(0) @binding(1) var<storage, read> dy: array<f32>;      // (B,C,P,Q)
@group(0) @binding(2) var<storage, read> index_b: array<i32>; // (B,C,P,Q)
@group(0) @binding(3) var<uniform> pmb: PMB;

fn put(i: u32, v: f32, beta: f32) {
  if (adds(beta)) { y[i] = beta * y[i] + v; } else { y[i] = v; }
}

@compute @workgroup_size(64)
fn max_pool2d_bwd_f32(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(wid, g, l);
  let pixels = pmb.H * pmb.W;
  if (i >= pmb.B * pmb.C * pixels) { return; }
  let rows = holding(i / pmb.W % pmb.H, pmb.kernel_h, pmb.stride, pmb.pad, pmb.P);
  let columns = holding(i % pmb.W, pmb.kernel_w, pmb.stride, pmb.pad, pmb.Q);
  let plane = i / pixels * pmb.P;
  let here = i32(i % pixels);
  var sum = 0.0;
  for (var p = rows.first; p < rows.past; p++) {
    for (var q = columns.first; q < columns.past; q++) {
      let at = (plane + p) * pmb.Q + q;
      if (index_b[at] == here) { sum += dy[at]; }
    }
  }
  put(i, sum, pmb.beta);
}

struct PA {
  B: u32, C: u32, P: u32, Q: u32, H: u32, W: u32,
  kernel_h: u32, kernel_w: u32, stride: u32, pad: u32, count_include_pad: u32, beta: f32,
}
@group(0) @binding(1) var<storage, read> x_a: array<f32>; // (B,C,H,W)
@group(0) @binding(2) var<uniform> pa: PA;

@compute @workgroup_size(64)
fn avg_pool2d_f32(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(wid, g, l);
  if (i >= pa.B * pa.C * pa.P * pa.Q) { return; }
  let rows = held(i / pa.Q % pa.P, pa.kernel_h, pa.stride, pa.pad, pa.H);
  let columns = held(i % pa.Q, pa.kernel_w, pa.stride, pa.pad, pa.W);
  let plane = i / (pa.P * pa.Q) * pa.H;
  var sum = 0.0;
  for (var h = rows.first; h < rows.past; h++) {
    for (var w = columns.first; w < columns.past; w++) { sum += x_a[(plane + h) * pa.W + w]; }
  }
  let pixels = (rows.past - rows.first) * (columns.past - columns.first);
  put(i, sum / f32(select(pixels, pa.kernel_h * pa.kernel_w, pa.count_include_pad != 0u)), pa.beta);
}

struct PAB {
  B: u32, C: u32, H: u32, W: u32, P: u32, Q: u32,
  height: u32, width: u32, kernel_h: u32, kernel_w: u32, stride: u32, pad: u32, count_include_pad: u32, beta: f32,
}
@group(0) @binding(2) var<uniform> pab: PAB;

@compute @workgroup_size(64)
fn avg_pool2d_bwd_f32(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(wid, g, l);
  if (i >= pab.B * pab.C * pab.H * pab.W) { return; }
  let rows = holding(i / pab.W % pab.H, pab.kernel_h, pab.stride, pab.pad, pab.P);
  let columns = holding(i % pab.W, pab.kernel_w, pab.stride, pab.pad, pab.Q);
  let plane = i / (pab.H * pab.W) * pab.P;
  var sum = 0.0;
  for (var p = rows.first; p < rows.past; p++) {
    let r = held(p, pab.kernel_h, pab.stride, pab.pad, pab.H);
    for (var q = columns.first; q < columns.past; q++) {
      let c = held(q, pab.kernel_w, pab.stride, pab.pad, pab.W);
      let pixels = (r.past - r.first) * (c.past - c.first);
      sum += dy[(plane + p) * pab.Q + q] / f32(select(pixels, pab.kernel_h * pab.kernel_w, pab.count_include_pad != 0u));
    }
  }
  put(i, sum, pab.beta);
}
