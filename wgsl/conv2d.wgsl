//! use index
//! use activation
//! use line
//! use outer
//! use optional
// Convolutions. First a thread an element of the result: a loop over the channels and taps that it meets.
// Coordinates are signed; below 0 they turn into large u32, so one comparison sees both ends.

struct P {
  B: u32, O: u32, P: u32, Q: u32, C: u32, H: u32, W: u32, I: u32, R: u32, S: u32,
  present: u32,
  stride: u32, pad: u32, dilation: u32, groups: u32, act: u32, beta: f32,
}
@group(0) @binding(0) var<storage, read_write> y: array<f32>; // (B,O,P,Q), transposed (B,C,H,W)
@group(0) @binding(1) var<storage, read> x: array<f32>;       // (B,C,H,W), transposed (B,O,P,Q)
@group(0) @binding(2) var<storage, read> w: array<f32>;       // (O,I,R,S)
@group(0) @binding(3) var<storage, read> bias: array<f32>;    // (O), transposed (C)
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
  if (has(p.present)) { sum += bias[o]; }
  let v = activate(p.act, sum);
  if (adds(p.beta)) { y[i] = p.beta * y[i] + v; } else { y[i] = v; }
}

struct PT {
  B: u32, C: u32, H: u32, W: u32, O: u32, P: u32, Q: u32, I: u32, R: u32, S: u32,
  present: u32,
  stride: u32, pad: u32, dilation: u32, groups: u32, output_pad_h: u32, output_pad_w: u32, act: u32, beta: f32,
}
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
        sum += x[at] * w[k];
        at += pt.P * pt.Q;
        k += pt.I * taps;
      }
    }
  }
  if (has(pt.present)) { sum += bias[c]; }
  let v = activate(pt.act, sum);
  if (adds(pt.beta)) { y[i] = pt.beta * y[i] + v; } else { y[i] = v; }
}

struct PW {
  O: u32, I: u32, R: u32, S: u32, B: u32, C: u32, H: u32, W: u32, P: u32, Q: u32,
  stride: u32, pad: u32, dilation: u32, groups: u32, kernel_h: u32, kernel_w: u32, beta: f32,
}
@group(0) @binding(0) var<storage, read_write> dw: array<f32>; // (O,I,R,S)
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
          if (ww < pw.W) { sum += dy[at + q] * x[(plane + hh) * pw.W + ww]; }
        }
      }
      at += pw.Q;
    }
  }
  if (adds(pw.beta)) { dw[i] = pw.beta * dw[i] + sum; } else { dw[i] = sum; }
}

// ---- conv2d and its transpose by blocks of channels and pixels ------------------------------

// Both as one problem, a group of one image at a time: pixel n of channel m of y is the sum over taps and
// planes of w[tap,m,plane] · x[plane, where the tap puts n]. Rows of a transposed convolution that are
// `phases` apart meet the same taps, and meet them at consecutive rows of x; columns likewise.
struct Task {
  planes: u32, H: u32, W: u32,   // of x
  channels: u32, P: u32, Q: u32, // of y
  R: u32, S: u32,
  top: u32, left: u32,           // how far before x the window of pixel 0 starts; may wrap below 0
  step: u32, phases: u32, dilation: u32,
  groups: u32, parts: u32,       // parts: groups of all images
  present: u32, act: u32, beta: f32,
}
fn task() -> Task {
  return Task(
    p.I, p.H, p.W, p.O / p.groups, p.P, p.Q, p.R, p.S, p.pad, p.pad, p.stride, 1u, p.dilation,
    p.groups, p.B * p.groups, p.present, p.act, p.beta,
  );
}
fn task_t() -> Task {
  return Task(
    pt.O / pt.groups, pt.P, pt.Q, pt.I, pt.H, pt.W, pt.R, pt.S,
    (pt.R - 1u) * pt.dilation - pt.pad, (pt.S - 1u) * pt.dilation - pt.pad, 1u, pt.stride, pt.dilation,
    pt.groups, pt.B * pt.groups, pt.present, pt.act, pt.beta,
  );
}

// The kernel (groups, taps, ⌈channels/4⌉, planes) in vectors of four channels, zero past the last; that of
// a transposed convolution turned around. A pass of its own writes it.
@group(0) @binding(5) var<storage, read_write> packed: array<vec4f>;

fn quads(t: Task) -> u32 { return (t.channels + 3u) / 4u; }

// Vector i, from the place of its first number in w, and the steps to the next channel and over all of them.
fn pack(i: u32, m: u32, channels: u32, start: u32, step: u32) {
  var v = vec4f();
  if (m < channels) { v.x = w[start]; }
  if (m + 1u < channels) { v.y = w[start + step]; }
  if (m + 2u < channels) { v.z = w[start + 2u * step]; }
  if (m + 3u < channels) { v.w = w[start + 3u * step]; }
  packed[i] = v;
}

@compute @workgroup_size(64)
fn conv2d_pack_f32(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(wid, grid, l);
  let t = task();
  let taps = t.R * t.S;
  let column = i / t.planes;
  let tap = column / quads(t);
  if (i >= t.groups * taps * quads(t) * t.planes) { return; }
  let m = column % quads(t) * 4u;
  let start = ((tap / taps * t.channels + m) * t.planes + i % t.planes) * taps + tap % taps;
  pack(i, m, t.channels, start, t.planes * taps);
}

@compute @workgroup_size(64)
fn conv_transpose2d_pack_f32(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(wid, grid, l);
  let t = task_t();
  let taps = t.R * t.S;
  let column = i / t.planes;
  let tap = column / quads(t);
  if (i >= t.groups * taps * quads(t) * t.planes) { return; }
  let m = column % quads(t) * 4u;
  let start = ((tap / taps * t.planes + i % t.planes) * t.channels + m) * taps + taps - 1u - tap % taps;
  pack(i, m, t.channels, start, taps);
}

// Written out, for a driver on a CPU takes long over indices and loops, and goes through both sides of an if.
fn put(t: Task, i: u32, writes: bool, v: f32) {
  if (!writes) { return; }
  if (adds(t.beta)) { y[i] = t.beta * y[i] + v; } else { y[i] = v; }
}
// Four pixels, at places in a plane of y, of one channel.
fn put_channel(t: Task, plane: u32, at: vec4u, writes: vec4<bool>, v: vec4f) {
  let i = plane * t.P * t.Q + at;
  put(t, i.x, writes.x, v.x);
  put(t, i.y, writes.y, v.y);
  put(t, i.z, writes.z, v.z);
  put(t, i.w, writes.w, v.w);
}
// … of four channels from m on.
fn put_channels(t: Task, part: u32, m: u32, at: vec4u, writes: vec4<bool>, v: mat4x4f) {
  let plane = part * t.channels + m;
  put_channel(t, plane, at, writes & vec4<bool>(m < t.channels), v[0]);
  put_channel(t, plane + 1u, at, writes & vec4<bool>(m + 1u < t.channels), v[1]);
  put_channel(t, plane + 2u, at, writes & vec4<bool>(m + 2u < t.channels), v[2]);
  put_channel(t, plane + 3u, at, writes & vec4<bool>(m + 3u < t.channels), v[3]);
}
// The bias of four channels, from which their sums start.
fn biases(t: Task, group: u32, m: u32) -> mat4x4f {
  if (!has(t.present)) { return mat4x4f(); }
  let i = group * t.channels + m;
  return mat4x4f(vec4f(bias[i]), vec4f(bias[i + 1u]), vec4f(bias[i + 2u]), vec4f(bias[i + 3u]));
}

// 3×3 kernels without stride or dilation, for a device on which a load costs many multiplications: a thread
// four channels × 8×8 pixels. A row of ten numbers serves three taps of three rows of pixels.

fn taps(x: mat3x4f, w: mat3x4f, sums: mat4x4f) -> mat4x4f {
  return outer(x[0], w[0], outer(x[1], w[1], outer(x[2], w[2], sums)));
}
fn put_line(t: Task, part: u32, m: u32, h: u32, q: u32, a: mat4x4f, b: mat4x4f) {
  let v = vec4u(q) + vec4u(0u, 1u, 2u, 3u);
  let at = h * t.Q + v;
  put_channels(t, part, m, at, (v < vec4u(t.Q)) & vec4<bool>(h < t.P), a);
  put_channels(t, part, m, at + 4u, (v + 4u < vec4u(t.Q)) & vec4<bool>(h < t.P), b);
}

fn rows(t: Task, i: u32) {
  let across = (t.Q + 7u) / 8u;
  let down = (t.P + 7u) / 8u;
  let part = i / (across * down * quads(t));
  if (part >= t.parts) { return; }
  let q = i % across * 8u;
  let h = i / across % down * 8u;
  let m = i / (across * down) % quads(t);
  let W = t.W;
  let H = t.H;
  let column = vec4u(q - t.left) + vec4u(0u, 1u, 2u, 3u);
  let first = column < vec4u(W);
  let second = column + 4u < vec4u(W);
  let third = column.xy + 8u < vec2u(W);
  let top = h - t.top;
  let group = part % t.groups;
  let d = quads(t) * t.planes;
  var k = (group * 9u * quads(t) + m) * t.planes;
  var at = (part * t.planes * H + top) * W + q - t.left;
  let sum0 = biases(t, group, 4u * m);
  var a0 = sum0; var a1 = sum0; var a2 = sum0; var a3 = sum0;
  var a4 = sum0; var a5 = sum0; var a6 = sum0; var a7 = sum0;
  var b0 = sum0; var b1 = sum0; var b2 = sum0; var b3 = sum0;
  var b4 = sum0; var b5 = sum0; var b6 = sum0; var b7 = sum0;
  for (let end = k + t.planes; k < end; k++) {
    let w0 = mat3x4f(packed[k], packed[k + d], packed[k + 2u * d]);
    let w1 = mat3x4f(packed[k + 3u * d], packed[k + 4u * d], packed[k + 5u * d]);
    let w2 = mat3x4f(packed[k + 6u * d], packed[k + 7u * d], packed[k + 8u * d]);
    let x0 = line(at, top < H, first, second, third);
    a0 = taps(x0.a, w0, a0); b0 = taps(x0.b, w0, b0);
    let x1 = line(at + W, top + 1u < H, first, second, third);
    a0 = taps(x1.a, w1, a0); b0 = taps(x1.b, w1, b0);
    a1 = taps(x1.a, w0, a1); b1 = taps(x1.b, w0, b1);
    let x2 = line(at + 2u * W, top + 2u < H, first, second, third);
    a0 = taps(x2.a, w2, a0); b0 = taps(x2.b, w2, b0);
    a1 = taps(x2.a, w1, a1); b1 = taps(x2.b, w1, b1);
    a2 = taps(x2.a, w0, a2); b2 = taps(x2.b, w0, b2);
    let x3 = line(at + 3u * W, top + 3u < H, first, second, third);
    a1 = taps(x3.a, w2, a1); b1 = taps(x3.b, w2, b1);
    a2 = taps(x3.a, w1, a2); b2 = taps(x3.b, w1, b2);
    a3 = taps(x3.a, w0, a3); b3 = taps(x3.b, w0, b3);
    let x4 = line(at + 4u * W, top + 4u < H, first, second, third);
    a2 = taps(x4.a, w2, a2); b2 = taps(x4.b, w2, b2);
    a3 = taps(x4.a, w1, a3); b3 = taps(x4.b, w1, b3);
    a4 = taps(x4.a, w0, a4); b4 = taps(x4.b, w0, b4);
    let x5 = line(at + 5u * W, top + 5u < H, first, second, third);
    a3 = taps(x5.a, w2, a3); b3 = taps(x5.b, w2, b3);
    a4 = taps(x5.a, w1, a4); b4 = taps(x5.b, w1, b4);
    a5 = taps(x5.a, w0, a5); b5 = taps(x5.b, w0, b5);
    let x6 = line(at + 6u * W, top + 6u < H, first, second, third);
    a4 = taps(x6.a, w2, a4); b4 = taps(x6.b, w2, b4);
    a5 = taps(x6.a, w1, a5); b5 = taps(x6.b, w1, b5);
    a6 = taps(x6.a, w0, a6); b6 = taps(x6.b, w0, b6);
    let x7 = line(at + 7u * W, top + 7u < H, first, second, third);
    a5 = taps(x7.a, w2, a5); b5 = taps(x7.b, w2, b5);
    a6 = taps(x7.a, w1, a6); b6 = taps(x7.b, w1, b6);
    a7 = taps(x7.a, w0, a7); b7 = taps(x7.b, w0, b7);
    let x8 = line(at + 8u * W, top + 8u < H, first, second, third);
    a6 = taps(x8.a, w2, a6); b6 = taps(x8.b, w2, b6);
    a7 = taps(x8.a, w1, a7); b7 = taps(x8.b, w1, b7);
    let x9 = line(at + 9u * W, top + 9u < H, first, second, third);
    a7 = taps(x9.a, w2, a7); b7 = taps(x9.b, w2, b7);
    at += H * W;
  }
  // One activation in a loop, for a driver on a CPU goes through each that is written down, needed or not.
  var all = array<mat4x4f, 16>(a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, b4, b5, b6, b7);
  for (var j = 0u; j < select(0u, 256u, t.act != 0u); j++) {
    all[j / 16u][j / 4u % 4u][j % 4u] = activate(t.act, all[j / 16u][j / 4u % 4u][j % 4u]);
  }
  put_line(t, part, 4u * m, h, q, all[0], all[8]);
  put_line(t, part, 4u * m, h + 1u, q, all[1], all[9]);
  put_line(t, part, 4u * m, h + 2u, q, all[2], all[10]);
  put_line(t, part, 4u * m, h + 3u, q, all[3], all[11]);
  put_line(t, part, 4u * m, h + 4u, q, all[4], all[12]);
  put_line(t, part, 4u * m, h + 5u, q, all[5], all[13]);
  put_line(t, part, 4u * m, h + 6u, q, all[6], all[14]);
  put_line(t, part, 4u * m, h + 7u, q, all[7], all[15]);
}

@compute @workgroup_size(16)
fn conv2d_f32__rows(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) l: u32) {
  rows(task(), (wid.y * grid.x + wid.x) * 16u + l);
}
@compute @workgroup_size(16)
fn conv_transpose2d_f32__rows(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) l: u32) {
  rows(task_t(), (wid.y * grid.x + wid.x) * 16u + l);
}

// Pixels of one phase, numbered by rows.
struct Phase { h: u32, q: u32, width: u32, pixels: u32 }
fn phase(t: Task, i: u32) -> Phase {
  let columns = min(t.phases, t.Q);
  let h = i / columns;
  let q = i % columns;
  let width = (t.Q - q + t.phases - 1u) / t.phases;
  return Phase(h, q, width, (t.P - h + t.phases - 1u) / t.phases * width);
}
fn phases(t: Task) -> u32 { return min(t.phases, t.P) * min(t.phases, t.Q); }
// Of the phase that has most.
fn most_pixels(t: Task) -> u32 { return ((t.P + t.phases - 1u) / t.phases) * ((t.Q + t.phases - 1u) / t.phases); }

// From pixel to row (or column) of x, where the phase meets the tap at all.
struct Shift { meets: bool, by: u32 }
fn shift(t: Task, start: u32, tap: u32, before: u32) -> Shift {
  let by = i32(start + tap * t.dilation - before);
  return Shift(by % i32(t.phases) == 0, u32(by / i32(t.phases)));
}

struct Quad { at: vec4u, inside: vec4<bool> }
// Where four pixels stand in a plane of x.
fn quad(t: Task, n: vec4u, f: Phase, down: u32, right: u32) -> Quad {
  let h = n / f.width * t.step + down;
  let v = n % f.width * t.step + right;
  let inside = (n < vec4u(f.pixels)) & (h < vec4u(t.H)) & (v < vec4u(t.W));
  return Quad(select(vec4u(), h * t.W + v, inside), inside);
}
fn load_quad(at: vec4u, inside: vec4<bool>) -> vec4f {
  return select(vec4f(), vec4f(x[at.x], x[at.y], x[at.z], x[at.w]), inside);
}
fn put_quad(t: Task, part: u32, m: u32, n: u32, f: Phase, sums: mat4x4f) {
  let pixel = vec4u(n) + vec4u(0u, 1u, 2u, 3u);
  let at = (pixel / f.width * t.phases + f.h) * t.Q + pixel % f.width * t.phases + f.q;
  put_channels(t, part, m, at, pixel < vec4u(f.pixels), sums);
}

// Any kernel, for such a device: a thread eight channels × 16 pixels.
fn blocks(t: Task, i: u32) {
  let spans = (most_pixels(t) + 15u) / 16u;
  let eights = (t.channels + 7u) / 8u;
  let part = i / (spans * phases(t) * eights);
  if (part >= t.parts) { return; }
  let f = phase(t, i / spans % phases(t));
  let n = i % spans * 16u;
  if (n >= f.pixels) { return; }
  let m = i / (spans * phases(t)) % eights * 2u;
  let n0 = vec4u(n) + vec4u(0u, 1u, 2u, 3u);
  let group = part % t.groups;
  let d = select(t.planes, 0u, m + 1u == quads(t));
  let plane = t.H * t.W;
  let start = part * t.planes * plane;
  let sum_a = biases(t, group, 4u * m);
  let sum_b = biases(t, group, 4u * m + 4u);
  var a0 = sum_a; var a1 = sum_a; var a2 = sum_a; var a3 = sum_a;
  var b0 = sum_b; var b1 = sum_b; var b2 = sum_b; var b3 = sum_b;
  for (var r = 0u; r < t.R; r++) {
    let down = shift(t, f.h, r, t.top);
    if (!down.meets) { continue; }
    for (var s = 0u; s < t.S; s++) {
      let right = shift(t, f.q, s, t.left);
      if (!right.meets) { continue; }
      let q0 = quad(t, n0, f, down.by, right.by);
      let q1 = quad(t, n0 + 4u, f, down.by, right.by);
      let q2 = quad(t, n0 + 8u, f, down.by, right.by);
      let q3 = quad(t, n0 + 12u, f, down.by, right.by);
      var k = (((group * t.R + r) * t.S + s) * quads(t) + m) * t.planes;
      var at = start;
      for (let end = k + t.planes; k < end; k++) {
        let u = packed[k];
        let v = packed[k + d];
        let x0 = load_quad(q0.at + at, q0.inside);
        a0 = outer(x0, u, a0); b0 = outer(x0, v, b0);
        let x1 = load_quad(q1.at + at, q1.inside);
        a1 = outer(x1, u, a1); b1 = outer(x1, v, b1);
        let x2 = load_quad(q2.at + at, q2.inside);
        a2 = outer(x2, u, a2); b2 = outer(x2, v, b2);
        let x3 = load_quad(q3.at + at, q3.inside);
        a3 = outer(x3, u, a3); b3 = outer(x3, v, b3);
        at += plane;
      }
    }
  }
  var all = array<mat4x4f, 8>(a0, a1, a2, a3, b0, b1, b2, b3);
  for (var j = 0u; j < select(0u, 128u, t.act != 0u); j++) {
    all[j / 16u][j / 4u % 4u][j % 4u] = activate(t.act, all[j / 16u][j / 4u % 4u][j % 4u]);
  }
  put_quad(t, part, 4u * m, n, f, all[0]); put_quad(t, part, 4u * m + 4u, n, f, all[4]);
  put_quad(t, part, 4u * m, n + 4u, f, all[1]); put_quad(t, part, 4u * m + 4u, n + 4u, f, all[5]);
  put_quad(t, part, 4u * m, n + 8u, f, all[2]); put_quad(t, part, 4u * m + 4u, n + 8u, f, all[6]);
  put_quad(t, part, 4u * m, n + 12u, f, all[3]); put_quad(t, part, 4u * m + 4u, n + 12u, f, all[7]);
}

@compute @workgroup_size(16)
fn conv2d_f32__blocks(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) l: u32) {
  blocks(task(), (wid.y * grid.x + wid.x) * 16u + l);
}
@compute @workgroup_size(16)
fn conv_transpose2d_f32__blocks(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) l: u32) {
  blocks(task_t(), (wid.y * grid.x + wid.x) * 16u + l);
}

// For a GPU: a product of tiles, 64 channels × 64 pixels a workgroup, 8 × 4 a thread, over 16 planes of one
// tap at a time. A thread gathers the four pixels that it computes; rows are 17 vectors apart, for threads
// write some tiles across.
var<workgroup> tile_x: array<vec4f, 272>; // (plane, pixels / 4)
var<workgroup> tile_w: array<vec4f, 272>; // (plane, channels / 4)

fn tiles(t: Task, tile: u32, l: u32) {
  let spans = (most_pixels(t) + 63u) / 64u;
  let slabs = (t.channels + 63u) / 64u;
  let part = tile / (spans * phases(t) * slabs);
  if (part >= t.parts) { return; }
  let f = phase(t, tile / spans % phases(t));
  let group = part % t.groups;
  let m0 = tile / (spans * phases(t)) % slabs * 16u;
  let lane = l % 16u;
  let row = l / 16u;
  let n = tile % spans * 64u + 4u * lane;
  let plane = t.H * t.W;
  var a = biases(t, group, 4u * m0 + 8u * row);
  var b = biases(t, group, 4u * m0 + 8u * row + 4u);
  for (var r = 0u; r < t.R; r++) {
    let down = shift(t, f.h, r, t.top);
    if (!down.meets) { continue; }
    for (var s = 0u; s < t.S; s++) {
      let right = shift(t, f.q, s, t.left);
      if (!right.meets) { continue; }
      let spot = quad(t, vec4u(n) + vec4u(0u, 1u, 2u, 3u), f, down.by, right.by);
      let k = ((group * t.R + r) * t.S + s) * quads(t);
      for (var c0 = 0u; c0 < t.planes; c0 += 16u) {
        workgroupBarrier();
        for (var j = 0u; j < 16u; j += 8u) {
          let c = c0 + row + j;
          tile_x[(row + j) * 17u + lane] = load_quad(spot.at + (part * t.planes + c) * plane, spot.inside & vec4<bool>(c < t.planes));
          let m = m0 + row + j;
          var v = vec4f();
          if (m < quads(t) && c0 + lane < t.planes) { v = packed[(k + m) * t.planes + c0 + lane]; }
          tile_w[lane * 17u + row + j] = v;
        }
        workgroupBarrier();
        for (var j = 0u; j < 16u; j++) {
          let v = tile_x[j * 17u + lane];
          a = outer(v, tile_w[j * 17u + 2u * row], a);
          b = outer(v, tile_w[j * 17u + 2u * row + 1u], b);
        }
      }
    }
  }
  var all = array<mat4x4f, 2>(a, b);
  for (var j = 0u; j < select(0u, 32u, t.act != 0u); j++) {
    all[j / 16u][j / 4u % 4u][j % 4u] = activate(t.act, all[j / 16u][j / 4u % 4u][j % 4u]);
  }
  put_quad(t, part, 4u * m0 + 8u * row, n, f, all[0]);
  put_quad(t, part, 4u * m0 + 8u * row + 4u, n, f, all[1]);
}

@compute @workgroup_size(128)
fn conv2d_f32__tiles(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) l: u32) {
  tiles(task(), wid.y * grid.x + wid.x, l);
}
@compute @workgroup_size(128)
fn conv_transpose2d_f32__tiles(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) l: u32) {
  tiles(task_t(), wid.y * grid.x + wid.x, l);
}

// ---- conv2d_bwd_w in chunks of rows of dy ---------------------------------------------------

// Sums over a whole batch are long and weights may be few: each chunk of rows (b,p) adds up what it has into
// partial sums of its own, and a second pass adds the chunks in their order. A unit of work is UNIT_O ×
// UNIT_N weights; there are as many chunks as make TARGET units, or as there are rows.
override UNIT_O: u32 = 8u;
override UNIT_N: u32 = 8u;
override TARGET: u32 = 256u;
@group(0) @binding(4) var<storage, read_write> partial: array<f32>; // (chunks, O, I, R, S)

fn across_o() -> u32 { return (pw.O / pw.groups + UNIT_O - 1u) / UNIT_O; }
fn across_n() -> u32 { return (pw.I * pw.R * pw.S + UNIT_N - 1u) / UNIT_N; }
fn chunks() -> u32 {
  let units = pw.groups * across_o() * across_n();
  return max(min((TARGET + units - 1u) / units, pw.B * pw.P), 1u);
}

@compute @workgroup_size(64)
fn conv2d_bwd_w_sum_f32(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(wid, grid, l);
  let n = pw.O * pw.I * pw.R * pw.S;
  if (i >= n) { return; }
  var sum = 0.0;
  for (var c = 0u; c < chunks(); c++) { sum += partial[c * n + i]; }
  if (adds(pw.beta)) { dw[i] = pw.beta * dw[i] + sum; } else { dw[i] = sum; }
}

// A unit of one chunk: weights from (o, n) on, n counting (channel, tap), of a group; rows [first, past).
struct Unit { valid: bool, group: u32, o: u32, n: u32, chunk: u32, first: u32, past: u32 }
fn unit(i: u32) -> Unit {
  let rows = pw.B * pw.P;
  let each = (rows + chunks() - 1u) / chunks();
  let chunk = i / (across_n() * across_o() * pw.groups);
  return Unit(
    chunk < chunks(), i / (across_n() * across_o()) % pw.groups, i / across_n() % across_o() * UNIT_O,
    i % across_n() * UNIT_N, chunk, min(chunk * each, rows), min((chunk + 1u) * each, rows),
  );
}

// One column of weights, of four output channels from o on.
fn put_w(u: Unit, o: u32, n: u32, v: vec4f) {
  let columns = pw.I * pw.R * pw.S;
  let most = pw.O / pw.groups;
  if (n >= columns) { return; }
  let i = ((u.chunk * pw.groups + u.group) * most + o) * columns + n;
  if (o < most) { partial[i] = v.x; }
  if (o + 1u < most) { partial[i + columns] = v.y; }
  if (o + 2u < most) { partial[i + 2u * columns] = v.z; }
  if (o + 3u < most) { partial[i + 3u * columns] = v.w; }
}

// Four pixels of dy from `at` on, a column each, of four channels; zero where the pixels have ended.
fn load_dy(at: u32, inside: vec4<bool>) -> mat4x4f {
  let d = pw.P * pw.Q;
  return transpose(mat4x4f(
    select(vec4f(), vec4f(dy[at], dy[at + 1u], dy[at + 2u], dy[at + 3u]), inside),
    select(vec4f(), vec4f(dy[at + d], dy[at + d + 1u], dy[at + d + 2u], dy[at + d + 3u]), inside),
    select(vec4f(), vec4f(dy[at + 2u * d], dy[at + 2u * d + 1u], dy[at + 2u * d + 2u], dy[at + 2u * d + 3u]), inside),
    select(vec4f(), vec4f(dy[at + 3u * d], dy[at + 3u * d + 1u], dy[at + 3u * d + 2u], dy[at + 3u * d + 3u]), inside),
  ));
}

// 3×3 kernels without stride or dilation, for a device on which a load costs many multiplications: a thread
// the nine taps of two channels by eight output channels, four pixels at a time.

// What four pixels meet at the three taps of a row.
fn meet(at: u32, row: bool, first: vec4<bool>, second: vec2<bool>, inside: vec4<bool>) -> mat3x4f {
  let l = select(vec4f(), vec4f(x[at], x[at + 1u], x[at + 2u], x[at + 3u]), first & vec4<bool>(row));
  let r = select(vec2f(), vec2f(x[at + 4u], x[at + 5u]), second & vec2<bool>(row));
  return mat3x4f(
    select(vec4f(), l, inside), select(vec4f(), vec4f(l.yzw, r.x), inside), select(vec4f(), vec4f(l.zw, r), inside),
  );
}

@compute @workgroup_size(16)
fn conv2d_bwd_w_f32__rows(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) l: u32) {
  let u = unit((wid.y * grid.x + wid.x) * 16u + l);
  if (!u.valid) { return; }
  let H = pw.H;
  let W = pw.W;
  let Q = pw.Q;
  let next = select(H * W, 0u, u.n + 9u >= 9u * pw.I);
  var a0 = mat3x4f(); var a1 = mat3x4f(); var a2 = mat3x4f(); // channel 0, rows of taps, o … o + 3
  var b0 = mat3x4f(); var b1 = mat3x4f(); var b2 = mat3x4f(); // channel 1
  var c0 = mat3x4f(); var c1 = mat3x4f(); var c2 = mat3x4f(); // channel 0, o + 4 … o + 7
  var d0 = mat3x4f(); var d1 = mat3x4f(); var d2 = mat3x4f(); // channel 1
  for (var row = u.first; row < u.past; row++) {
    let b = row / pw.P;
    let h = row % pw.P - pw.pad;
    var to = ((b * pw.O + u.group * (pw.O / pw.groups) + u.o) * pw.P + row % pw.P) * Q;
    var at = ((b * pw.C + u.group * pw.I + u.n / 9u) * H + h) * W - pw.pad;
    for (var q = 0u; q < Q; q += 4u) {
      let inside = vec4u(q) + vec4u(0u, 1u, 2u, 3u) < vec4u(Q);
      let v = vec4u(q - pw.pad) + vec4u(0u, 1u, 2u, 3u);
      let first = v < vec4u(W);
      let second = v.xy + 4u < vec2u(W);
      let e = load_dy(to, inside);
      let f = load_dy(to + 4u * pw.P * Q, inside);
      let x0 = meet(at, h < H, first, second, inside);
      let x1 = meet(at + W, h + 1u < H, first, second, inside);
      let x2 = meet(at + 2u * W, h + 2u < H, first, second, inside);
      a0 += e * x0; a1 += e * x1; a2 += e * x2;
      c0 += f * x0; c1 += f * x1; c2 += f * x2;
      let y0 = meet(at + next, h < H, first, second, inside);
      let y1 = meet(at + next + W, h + 1u < H, first, second, inside);
      let y2 = meet(at + next + 2u * W, h + 2u < H, first, second, inside);
      b0 += e * y0; b1 += e * y1; b2 += e * y2;
      d0 += f * y0; d1 += f * y1; d2 += f * y2;
      to += 4u;
      at += 4u;
    }
  }
  let low = array<mat3x4f, 6>(a0, a1, a2, b0, b1, b2);
  let high = array<mat3x4f, 6>(c0, c1, c2, d0, d1, d2);
  for (var j = 0u; j < 18u; j++) {
    put_w(u, u.o, u.n + j, low[j / 3u][j % 3u]);
    put_w(u, u.o + 4u, u.n + j, high[j / 3u][j % 3u]);
  }
}

// Four columns (channel, tap): their planes of x, and where their taps stand; past the last one the last.
struct Columns { plane: vec4u, h: vec4u, v: vec4u }
fn columns(u: Unit, n: u32) -> Columns {
  let i = min(vec4u(n) + vec4u(0u, 1u, 2u, 3u), vec4u(pw.I * pw.R * pw.S - 1u));
  let tap = i % (pw.R * pw.S);
  return Columns(
    u.group * pw.I + i / (pw.R * pw.S), tap / pw.S * pw.dilation - pw.pad, tap % pw.S * pw.dilation - pw.pad,
  );
}

// What four pixels of one row meet in one column.
fn meet_column(b: u32, plane: u32, h: u32, v: vec4u, inside: vec4<bool>) -> vec4f {
  let at = ((b * pw.C + plane) * pw.H + h) * pw.W + v;
  return load_quad(at, inside & (v < vec4u(pw.W)) & vec4<bool>(h < pw.H));
}

// Any kernel, for such a device: a thread eight output channels × eight columns.
@compute @workgroup_size(16)
fn conv2d_bwd_w_f32__blocks(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) l: u32) {
  let u = unit((wid.y * grid.x + wid.x) * 16u + l);
  if (!u.valid) { return; }
  let Q = pw.Q;
  let m = columns(u, u.n);
  let n = columns(u, u.n + 4u);
  var a0 = vec4f(); var a1 = vec4f(); var a2 = vec4f(); var a3 = vec4f();
  var a4 = vec4f(); var a5 = vec4f(); var a6 = vec4f(); var a7 = vec4f();
  var b0 = vec4f(); var b1 = vec4f(); var b2 = vec4f(); var b3 = vec4f();
  var b4 = vec4f(); var b5 = vec4f(); var b6 = vec4f(); var b7 = vec4f();
  for (var row = u.first; row < u.past; row++) {
    let b = row / pw.P;
    let h = row % pw.P * pw.stride;
    var to = ((b * pw.O + u.group * (pw.O / pw.groups) + u.o) * pw.P + row % pw.P) * Q;
    for (var q = 0u; q < Q; q += 4u) {
      let pixel = vec4u(q) + vec4u(0u, 1u, 2u, 3u);
      let inside = pixel < vec4u(Q);
      let v = pixel * pw.stride;
      let e = load_dy(to, inside);
      let f = load_dy(to + 4u * pw.P * Q, inside);
      let x0 = meet_column(b, m.plane.x, h + m.h.x, v + m.v.x, inside); a0 += e * x0; b0 += f * x0;
      let x1 = meet_column(b, m.plane.y, h + m.h.y, v + m.v.y, inside); a1 += e * x1; b1 += f * x1;
      let x2 = meet_column(b, m.plane.z, h + m.h.z, v + m.v.z, inside); a2 += e * x2; b2 += f * x2;
      let x3 = meet_column(b, m.plane.w, h + m.h.w, v + m.v.w, inside); a3 += e * x3; b3 += f * x3;
      let x4 = meet_column(b, n.plane.x, h + n.h.x, v + n.v.x, inside); a4 += e * x4; b4 += f * x4;
      let x5 = meet_column(b, n.plane.y, h + n.h.y, v + n.v.y, inside); a5 += e * x5; b5 += f * x5;
      let x6 = meet_column(b, n.plane.z, h + n.h.z, v + n.v.z, inside); a6 += e * x6; b6 += f * x6;
      let x7 = meet_column(b, n.plane.w, h + n.h.w, v + n.v.w, inside); a7 += e * x7; b7 += f * x7;
      to += 4u;
    }
  }
  let low = array<vec4f, 8>(a0, a1, a2, a3, a4, a5, a6, a7);
  let high = array<vec4f, 8>(b0, b1, b2, b3, b4, b5, b6, b7);
  for (var j = 0u; j < 8u; j++) {
    put_w(u, u.o, u.n + j, low[j]);
    put_w(u, u.o + 4u, u.n + j, high[j]);
  }
}

// For a GPU: tiles of 64 output channels × 64 columns, 8 × 4 a thread, over 16 pixels at a time.
@compute @workgroup_size(128)
fn conv2d_bwd_w_f32__tiles(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) l: u32) {
  let u = unit(wid.y * grid.x + wid.x);
  if (!u.valid) { return; }
  let lane = l % 16u;
  let row = l / 16u;
  let most = pw.O / pw.groups;
  let pixels = pw.P * pw.Q;
  let m = columns(u, u.n + 4u * row);
  let n = columns(u, u.n + 32u + 4u * row);
  var a = mat4x4f();
  var b = mat4x4f();
  let past = u.past * pw.Q;
  for (var k = u.first * pw.Q; k < past; k += 16u) {
    let pixel = k + lane;
    let image = pixel / pixels;
    let h = pixel % pixels / pw.Q * pw.stride;
    let v = pixel % pw.Q * pw.stride;
    let inside = pixel < past;
    workgroupBarrier();
    for (var j = 0u; j < 16u; j += 8u) {
      let o = u.o + 4u * (row + j);
      let at = (image * pw.O + u.group * most + o) * pixels + pixel % pixels;
      var d = vec4f();
      if (inside && o < most) { d.x = dy[at]; }
      if (inside && o + 1u < most) { d.y = dy[at + pixels]; }
      if (inside && o + 2u < most) { d.z = dy[at + 2u * pixels]; }
      if (inside && o + 3u < most) { d.w = dy[at + 3u * pixels]; }
      tile_w[lane * 17u + row + j] = d;
    }
    tile_x[lane * 17u + row] = meet_pixel(image, m, h, v, inside);
    tile_x[lane * 17u + row + 8u] = meet_pixel(image, n, h, v, inside);
    workgroupBarrier();
    for (var j = 0u; j < 16u; j++) {
      let w = tile_x[j * 17u + lane];
      a = outer(tile_w[j * 17u + 2u * row], w, a);
      b = outer(tile_w[j * 17u + 2u * row + 1u], w, b);
    }
  }
  let o = u.o + 8u * row;
  for (var j = 0u; j < 4u; j++) {
    put_w(u, o, u.n + 4u * lane + j, a[j]);
    put_w(u, o + 4u, u.n + 4u * lane + j, b[j]);
  }
}

// What one pixel meets in four columns.
fn meet_pixel(b: u32, m: Columns, h: u32, v: u32, inside: bool) -> vec4f {
  let at = ((b * pw.C + m.plane) * pw.H + m.h + h) * pw.W + m.v + v;
  return load_quad(at, (m.h + h < vec4u(pw.H)) & (m.v + v < vec4u(pw.W)) & vec4<bool>(inside));
}
