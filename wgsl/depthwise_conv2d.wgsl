//! use index
// Depthwise convolutions, a thread an element of the result. Coordinates below 0 turn into large u32,
// so one comparison sees both ends.

struct P {
  B: u32, C: u32, P: u32, Q: u32, H: u32, W: u32, R: u32, S: u32,
  present: u32,
  stride: u32, pad: u32, dilation: u32, beta: f32,
}
@group(0) @binding(0) var<storage, read_write> y: array<f32>; // (B,C,P,Q)
@group(0) @binding(1) var<storage, read> x: array<f32>;       // (B,C,H,W)
@group(0) @binding(2) var<storage, read> w: array<f32>;       // (C,R,S)
@group(0) @binding(3) var<storage, read> bias: array<f32>;    // (C)
@group(0) @binding(4) var<uniform> p: P;

@compute @workgroup_size(64)
fn depthwise_conv2d_f32(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(wid, grid, l);
  if (i >= p.B * p.C * p.P * p.Q) { return; }
  let h0 = (i / p.Q) % p.P * p.stride - p.pad;
  let w0 = i % p.Q * p.stride - p.pad;
  let plane = i / (p.P * p.Q);
  let c = plane % p.C;
  var sum = 0.0;
  if (p.present != 0u) { sum = bias[c]; }
  for (var r = 0u; r < p.R; r++) {
    let hh = h0 + r * p.dilation;
    if (hh >= p.H) { continue; }
    for (var s = 0u; s < p.S; s++) {
      let ww = w0 + s * p.dilation;
      if (ww < p.W) { sum += x[(plane * p.H + hh) * p.W + ww] * w[(c * p.R + r) * p.S + s]; }
    }
  }
  if (p.beta != 0.0) { y[i] = p.beta * y[i] + sum; } else { y[i] = sum; }
}

struct PT {
  B: u32, C: u32, H: u32, W: u32, P: u32, Q: u32, R: u32, S: u32,
  stride: u32, pad: u32, dilation: u32, output_pad_h: u32, output_pad_w: u32, beta: f32,
}
@group(0) @binding(0) var<storage, read_write> y_t: array<f32>; // (B,C,H,W)
@group(0) @binding(1) var<storage, read> x_t: array<f32>;       // (B,C,P,Q)
@group(0) @binding(2) var<storage, read> w_t: array<f32>;       // (C,R,S)
@group(0) @binding(3) var<uniform> pt: PT;

@compute @workgroup_size(64)
fn depthwise_conv_transpose2d_f32(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(wid, grid, l);
  if (i >= pt.B * pt.C * pt.H * pt.W) { return; }
  let h0 = (i / pt.W) % pt.H + pt.pad;
  let w0 = i % pt.W + pt.pad;
  let plane = i / (pt.H * pt.W);
  let c = plane % pt.C;
  var sum = 0.0;
  for (var r = 0u; r < pt.R; r++) {
    let hh = h0 - r * pt.dilation;
    let ph = hh / pt.stride;
    if (h0 < r * pt.dilation || ph * pt.stride != hh || ph >= pt.P) { continue; }
    for (var s = 0u; s < pt.S; s++) {
      let ww = w0 - s * pt.dilation;
      let pw = ww / pt.stride;
      if (w0 < s * pt.dilation || pw * pt.stride != ww || pw >= pt.Q) { continue; }
      sum += x_t[(plane * pt.P + ph) * pt.Q + pw] * w_t[(c * pt.R + r) * pt.S + s];
    }
  }
  if (pt.beta != 0.0) { y_t[i] = pt.beta * y_t[i] + sum; } else { y_t[i] = sum; }
}

struct PW {
  C: u32, R: u32, S: u32, B: u32, H: u32, W: u32, P: u32, Q: u32,
  stride: u32, pad: u32, dilation: u32, kernel_h: u32, kernel_w: u32, beta: f32,
}
@group(0) @binding(0) var<storage, read_write> dw: array<f32>; // (C,R,S)
@group(0) @binding(1) var<storage, read> x_w: array<f32>;      // (B,C,H,W)
@group(0) @binding(2) var<storage, read> dy: array<f32>;       // (B,C,P,Q)
@group(0) @binding(3) var<uniform> pw: PW;

@compute @workgroup_size(64)
fn depthwise_conv2d_bwd_w_f32(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(wid, grid, l);
  if (i >= pw.C * pw.R * pw.S) { return; }
  let w0 = i % pw.S * pw.dilation - pw.pad;
  let h0 = i / pw.S % pw.R * pw.dilation - pw.pad;
  let c = i / (pw.R * pw.S);
  var sum = 0.0;
  for (var b = 0u; b < pw.B; b++) {
    let plane = b * pw.C + c;
    for (var p = 0u; p < pw.P; p++) {
      let hh = h0 + p * pw.stride;
      if (hh >= pw.H) { continue; }
      for (var q = 0u; q < pw.Q; q++) {
        let ww = w0 + q * pw.stride;
        if (ww < pw.W) { sum += dy[(plane * pw.P + p) * pw.Q + q] * x_w[(plane * pw.H + hh) * pw.W + ww]; }
      }
    }
  }
  if (pw.beta != 0.0) { dw[i] = pw.beta * dw[i] + sum; } else { dw[i] = sum; }
}
