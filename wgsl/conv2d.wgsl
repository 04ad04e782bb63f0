//! use index
//! use activation
// Convolutions, a thread an element of the result: a loop over the channels and taps that it meets.
// Coordinates are signed; below 0 they turn into large u32, so one comparison sees both ends.

struct P {
  B: u32, O: u32, P: u32, Q: u32, C: u32, H: u32, W: u32, I: u32, R: u32, S: u32,
  present: u32,
  stride: u32, pad: u32, dilation: u32, groups: u32, act: u32, beta: f32,
}
@group(0) @binding(0) var<storage, read_write> y: array<f32>; // (B,O,P,Q)
@group(0) @binding(1) var<storage, read> x: array<f32>;       // (B,C,H,W)
@group(0) @binding(2) var<storage, read> w: array<f32>;       // (O,I,R,S)
@group(0) @binding(3) var<storage, read> bias: array<f32>;    // (O)
@group(0) @binding(4) var<uniform> p: P;

@compute @workgroup_size(64)
fn conv2d_f32(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(wid, grid, l);
  if (i >= p.B * p.O * p.P * p.Q) { return; }
  let h0 = (i / p.Q) % p.P * p.stride - p.pad;
  let w0 = i % p.Q * p.stride - p.pad;
  let o = i / (p.P * p.Q) % p.O;
  let b = i / (p.O * p.P * p.Q);
  var plane = (b * p.C + o / (p.O / p.groups) * p.I) * p.H;
  var k = o * p.I * p.R * p.S;
  var sum = 0.0;
  for (var c = 0u; c < p.I; c++) {
    for (var r = 0u; r < p.R; r++) {
      let hh = h0 + r * p.dilation;
      if (hh < p.H) {
        for (var s = 0u; s < p.S; s++) {
          let ww = w0 + s * p.dilation;
          if (ww < p.W) { sum += x[(plane + hh) * p.W + ww] * w[k + s]; }
        }
      }
      k += p.S;
    }
    plane += p.H;
  }
  if (p.present != 0u) { sum += bias[o]; }
  let v = activate(p.act, sum);
  if (p.beta != 0.0) { y[i] = p.beta * y[i] + v; } else { y[i] = v; }
}

struct PT {
  B: u32, C: u32, H: u32, W: u32, O: u32, P: u32, Q: u32, I: u32, R: u32, S: u32,
  present: u32,
  stride: u32, pad: u32, dilation: u32, groups: u32, output_pad_h: u32, output_pad_w: u32, act: u32, beta: f32,
}
@group(0) @binding(0) var<storage, read_write> y_t: array<f32>; // (B,C,H,W)
@group(0) @binding(1) var<storage, read> x_t: array<f32>;       // (B,O,P,Q)
@group(0) @binding(2) var<storage, read> w_t: array<f32>;       // (O,I,R,S)
@group(0) @binding(3) var<storage, read> bias_t: array<f32>;    // (C)
@group(0) @binding(4) var<uniform> pt: PT;

@compute @workgroup_size(64)
fn conv_transpose2d_f32(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(wid, grid, l);
  if (i >= pt.B * pt.C * pt.H * pt.W) { return; }
  let h0 = (i / pt.W) % pt.H + pt.pad;
  let w0 = i % pt.W + pt.pad;
  let c = i / (pt.H * pt.W) % pt.C;
  let b = i / (pt.C * pt.H * pt.W);
  let depth = pt.O / pt.groups;
  let o0 = c / pt.I * depth;
  let taps = pt.R * pt.S;
  var sum = 0.0;
  for (var r = 0u; r < pt.R; r++) {
    let hh = h0 - r * pt.dilation;
    let ph = hh / pt.stride;
    if (h0 < r * pt.dilation || ph * pt.stride != hh || ph >= pt.P) { continue; }
    for (var s = 0u; s < pt.S; s++) {
      let ww = w0 - s * pt.dilation;
      let pw = ww / pt.stride;
      if (w0 < s * pt.dilation || pw * pt.stride != ww || pw >= pt.Q) { continue; }
      var at = ((b * pt.O + o0) * pt.P + ph) * pt.Q + pw;
      var k = (o0 * pt.I + c % pt.I) * taps + r * pt.S + s;
      for (var o = 0u; o < depth; o++) {
        sum += x_t[at] * w_t[k];
        at += pt.P * pt.Q;
        k += pt.I * taps;
      }
    }
  }
  if (pt.present != 0u) { sum += bias_t[c]; }
  let v = activate(pt.act, sum);
  if (pt.beta != 0.0) { y_t[i] = pt.beta * y_t[i] + v; } else { y_t[i] = v; }
}

struct PW {
  O: u32, I: u32, R: u32, S: u32, B: u32, C: u32, H: u32, W: u32, P: u32, Q: u32,
  stride: u32, pad: u32, dilation: u32, groups: u32, kernel_h: u32, kernel_w: u32, beta: f32,
}
@group(0) @binding(0) var<storage, read_write> dw: array<f32>; // (O,I,R,S)
@group(0) @binding(1) var<storage, read> x_w: array<f32>;      // (B,C,H,W)
@group(0) @binding(2) var<storage, read> dy: array<f32>;       // (B,O,P,Q)
@group(0) @binding(3) var<uniform> pw: PW;

@compute @workgroup_size(64)
fn conv2d_bwd_w_f32(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(wid, grid, l);
  if (i >= pw.O * pw.I * pw.R * pw.S) { return; }
  let w0 = i % pw.S * pw.dilation - pw.pad;
  let h0 = i / pw.S % pw.R * pw.dilation - pw.pad;
  let o = i / (pw.I * pw.R * pw.S);
  let c = o / (pw.O / pw.groups) * pw.I + i / (pw.R * pw.S) % pw.I;
  var sum = 0.0;
  for (var b = 0u; b < pw.B; b++) {
    let plane = (b * pw.C + c) * pw.H;
    var at = (b * pw.O + o) * pw.P * pw.Q;
    for (var p = 0u; p < pw.P; p++) {
      let hh = h0 + p * pw.stride;
      if (hh < pw.H) {
        for (var q = 0u; q < pw.Q; q++) {
          let ww = w0 + q * pw.stride;
          if (ww < pw.W) { sum += dy[at + q] * x_w[(plane + hh) * pw.W + ww]; }
        }
      }
      at += pw.Q;
    }
  }
  if (pw.beta != 0.0) { dw[i] = pw.beta * dw[i] + sum; } else { dw[i] = sum; }
}
