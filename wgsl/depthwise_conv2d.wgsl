//! use index
//! use line
//! use optional
// Depthwise convolutions. First a thread an element of the result. Coordinates below 0 turn into large u32,
// so one comparison sees both ends.

struct P {
  B: u32, C: u32, P: u32, Q: u32, H: u32, W: u32, R: u32, S: u32,
  present: u32,
  stride: u32, pad: u32, dilation: u32, beta: f32,
}
@group(0) @binding(0) var<storage, read_write> y: array<f32>; // (B,C,P,Q), transposed (B,C,H,W)
@group(0) @binding(1) var<storage, read> x: array<f32>;       // (B,C,H,W), transposed (B,C,P,Q)
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
  if (has(p.present)) { sum = bias[c]; }
  for (var r = 0u; r < p.R; r++) {
    let hh = h0 + r * p.dilation;
    if (hh >= p.H) { continue; }
    for (var s = 0u; s < p.S; s++) {
      let ww = w0 + s * p.dilation;
      if (ww < p.W) { sum += x[(plane * p.H + hh) * p.W + ww] * w[(c * p.R + r) * p.S + s]; }
    }
  }
  if (adds(p.beta)) { y[i] = p.beta * y[i] + sum; } else { y[i] = sum; }
}

struct PT {
  B: u32, C: u32, H: u32, W: u32, P: u32, Q: u32, R: u32, S: u32,
  stride: u32, pad: u32, dilation: u32, output_pad_h: u32, output_pad_w: u32, beta: f32,
}
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
      sum += x[(plane * pt.P + ph) * pt.Q + pw] * w[(c * pt.R + r) * pt.S + s];
    }
  }
  if (adds(pt.beta)) { y[i] = pt.beta * y[i] + sum; } else { y[i] = sum; }
}

struct PW {
  C: u32, R: u32, S: u32, B: u32, H: u32, W: u32, P: u32, Q: u32,
  stride: u32, pad: u32, dilation: u32, kernel_h: u32, kernel_w: u32, beta: f32,
}
@group(0) @binding(0) var<storage, read_write> dw: array<f32>; // (C,R,S)
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
        if (ww < pw.W) { sum += dy[(plane * pw.P + p) * pw.Q + q] * x[(plane * pw.H + hh) * pw.W + ww]; }
      }
    }
  }
  if (adds(pw.beta)) { dw[i] = pw.beta * dw[i] + sum; } else { dw[i] = sum; }
}

// ---- by blocks and strips of pixels, for a device on which a load costs many multiplications ---------

// Both directions as one, the transposed convolution with its kernel turned around. Rows of that which are
// `phases` apart meet the same taps, and meet them at consecutive rows of x; columns likewise.
struct Task {
  planes: u32, channels: u32, H: u32, W: u32, P: u32, Q: u32, R: u32, S: u32,
  top: u32, left: u32, // how far before x the window of pixel 0 starts; may wrap below 0
  step: u32, phases: u32, dilation: u32, turned: bool, beta: f32,
}
fn task() -> Task {
  return Task(p.B * p.C, p.C, p.H, p.W, p.P, p.Q, p.R, p.S, p.pad, p.pad, p.stride, 1u, p.dilation, false, p.beta);
}
fn task_t() -> Task {
  return Task(
    pt.B * pt.C, pt.C, pt.P, pt.Q, pt.H, pt.W, pt.R, pt.S, (pt.R - 1u) * pt.dilation - pt.pad,
    (pt.S - 1u) * pt.dilation - pt.pad, 1u, pt.stride, pt.dilation, true, pt.beta,
  );
}
fn tap(t: Task, plane: u32, i: u32) -> f32 {
  let n = t.R * t.S;
  return w[plane % t.channels * n + select(i, n - 1u - i, t.turned)];
}
fn taps3(t: Task, plane: u32, i: u32) -> vec3f {
  return vec3f(tap(t, plane, i), tap(t, plane, i + 1u), tap(t, plane, i + 2u));
}
// What a pixel's sum starts from; the transposed convolution has no bias.
fn biased(plane: u32) -> vec4f {
  if (!has(p.present)) { return vec4f(); }
  return vec4f(bias[plane % p.C]);
}

// Written out, for a driver on a CPU takes long over indices and loops.
fn put(t: Task, plane: u32, h: u32, q: u32, v: f32) {
  if (h >= t.P || q >= t.Q) { return; }
  let i = (plane * t.P + h) * t.Q + q;
  if (adds(t.beta)) { y[i] = t.beta * y[i] + v; } else { y[i] = v; }
}
fn put4(t: Task, plane: u32, h: u32, q: u32, v: vec4f) {
  put(t, plane, h, q, v.x);
  put(t, plane, h, q + 1u, v.y);
  put(t, plane, h, q + 2u, v.z);
  put(t, plane, h, q + 3u, v.w);
}

// 3×3 kernels without stride or dilation: a thread 8×8 pixels. A row of ten numbers serves three rows of pixels.
fn blocks(t: Task) -> u32 { return (t.Q + 7u) / 8u * ((t.P + 7u) / 8u); }
fn rows(t: Task, i: u32, sum: vec4f) {
  let across = (t.Q + 7u) / 8u;
  let down = (t.P + 7u) / 8u;
  let plane = i / blocks(t);
  if (plane >= t.planes) { return; }
  let q = i % across * 8u;
  let h = i / across % down * 8u;
  let W = t.W;
  let H = t.H;
  let column = vec4u(q - t.left) + vec4u(0u, 1u, 2u, 3u);
  let first = column < vec4u(W);
  let second = column + 4u < vec4u(W);
  let third = column.xy + 8u < vec2u(W);
  let top = h - t.top;
  let at = (plane * H + top) * W + q - t.left;
  let w0 = taps3(t, plane, 0u);
  let w1 = taps3(t, plane, 3u);
  let w2 = taps3(t, plane, 6u);
  let x0 = line(at, top < H, first, second, third);
  let x1 = line(at + W, top + 1u < H, first, second, third);
  let x2 = line(at + 2u * W, top + 2u < H, first, second, third);
  put4(t, plane, h, q, sum + x0.a * w0 + x1.a * w1 + x2.a * w2);
  put4(t, plane, h, q + 4u, sum + x0.b * w0 + x1.b * w1 + x2.b * w2);
  let x3 = line(at + 3u * W, top + 3u < H, first, second, third);
  put4(t, plane, h + 1u, q, sum + x1.a * w0 + x2.a * w1 + x3.a * w2);
  put4(t, plane, h + 1u, q + 4u, sum + x1.b * w0 + x2.b * w1 + x3.b * w2);
  let x4 = line(at + 4u * W, top + 4u < H, first, second, third);
  put4(t, plane, h + 2u, q, sum + x2.a * w0 + x3.a * w1 + x4.a * w2);
  put4(t, plane, h + 2u, q + 4u, sum + x2.b * w0 + x3.b * w1 + x4.b * w2);
  let x5 = line(at + 5u * W, top + 5u < H, first, second, third);
  put4(t, plane, h + 3u, q, sum + x3.a * w0 + x4.a * w1 + x5.a * w2);
  put4(t, plane, h + 3u, q + 4u, sum + x3.b * w0 + x4.b * w1 + x5.b * w2);
  let x6 = line(at + 6u * W, top + 6u < H, first, second, third);
  put4(t, plane, h + 4u, q, sum + x4.a * w0 + x5.a * w1 + x6.a * w2);
  put4(t, plane, h + 4u, q + 4u, sum + x4.b * w0 + x5.b * w1 + x6.b * w2);
  let x7 = line(at + 7u * W, top + 7u < H, first, second, third);
  put4(t, plane, h + 5u, q, sum + x5.a * w0 + x6.a * w1 + x7.a * w2);
  put4(t, plane, h + 5u, q + 4u, sum + x5.b * w0 + x6.b * w1 + x7.b * w2);
  let x8 = line(at + 8u * W, top + 8u < H, first, second, third);
  put4(t, plane, h + 6u, q, sum + x6.a * w0 + x7.a * w1 + x8.a * w2);
  put4(t, plane, h + 6u, q + 4u, sum + x6.b * w0 + x7.b * w1 + x8.b * w2);
  let x9 = line(at + 9u * W, top + 9u < H, first, second, third);
  put4(t, plane, h + 7u, q, sum + x7.a * w0 + x8.a * w1 + x9.a * w2);
  put4(t, plane, h + 7u, q + 4u, sum + x7.b * w0 + x8.b * w1 + x9.b * w2);
}

@compute @workgroup_size(16)
fn depthwise_conv2d_f32__rows(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = (wid.y * grid.x + wid.x) * 16u + l;
  rows(task(), i, biased(i / blocks(task())));
}
@compute @workgroup_size(16)
fn depthwise_conv_transpose2d_f32__rows(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) l: u32) {
  rows(task_t(), (wid.y * grid.x + wid.x) * 16u + l, vec4f());
}

// Any kernel without stride or dilation: a thread 16 pixels of a row, past which the numbers of x move by one
// a tap.
fn strips(t: Task) -> u32 { return (t.Q + 15u) / 16u * t.P; }
fn strip(t: Task, i: u32, sum: vec4f) {
  let across = (t.Q + 15u) / 16u;
  let plane = i / strips(t);
  if (plane >= t.planes) { return; }
  let q = i % across * 16u;
  let h = i / across % t.P;
  let column = vec4u(q - t.left) + vec4u(0u, 1u, 2u, 3u);
  var a = sum;
  var b = sum;
  var c = sum;
  var d = sum;
  for (var r = 0u; r < t.R; r++) {
    let row = h - t.top + r;
    let inside = vec4<bool>(row < t.H);
    let at = (plane * t.H + row) * t.W + column;
    var x0 = load4(at, inside & (column < vec4u(t.W)));
    var x1 = load4(at + 4u, inside & (column + 4u < vec4u(t.W)));
    var x2 = load4(at + 8u, inside & (column + 8u < vec4u(t.W)));
    var x3 = load4(at + 12u, inside & (column + 12u < vec4u(t.W)));
    for (var s = 0u; s < t.S; s++) {
      let k = tap(t, plane, r * t.S + s);
      a += k * x0;
      b += k * x1;
      c += k * x2;
      d += k * x3;
      let next = select(0.0, x[at.x + 16u + s], inside.x && column.x + 16u + s < t.W);
      x0 = vec4f(x0.yzw, x1.x);
      x1 = vec4f(x1.yzw, x2.x);
      x2 = vec4f(x2.yzw, x3.x);
      x3 = vec4f(x3.yzw, next);
    }
  }
  put4(t, plane, h, q, a);
  put4(t, plane, h, q + 4u, b);
  put4(t, plane, h, q + 8u, c);
  put4(t, plane, h, q + 12u, d);
}
fn load4(at: vec4u, inside: vec4<bool>) -> vec4f {
  return select(vec4f(), vec4f(x[at.x], x[at.y], x[at.z], x[at.w]), inside);
}

@compute @workgroup_size(16)
fn depthwise_conv2d_f32__strip(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = (wid.y * grid.x + wid.x) * 16u + l;
  strip(task(), i, biased(i / strips(task())));
}
@compute @workgroup_size(16)
fn depthwise_conv_transpose2d_f32__strip(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) l: u32) {
  strip(task_t(), (wid.y * grid.x + wid.x) * 16u + l, vec4f());
}

// Any stride and dilation: a thread eight pixels of one phase of a row.
fn runs(t: Task) -> u32 { return ((t.Q + t.phases - 1u) / t.phases + 7u) / 8u * min(t.phases, t.Q) * t.P; }

// From pixel to row (or column) of x, where the phase meets the tap at all.
struct Shift { meets: bool, by: u32 }
fn shift(t: Task, start: u32, i: u32, before: u32) -> Shift {
  let by = i32(start + i * t.dilation - before);
  return Shift(by % i32(t.phases) == 0, u32(by / i32(t.phases)));
}

fn run(t: Task, i: u32, sum: vec4f) {
  let plane = i / runs(t);
  if (plane >= t.planes) { return; }
  let across = ((t.Q + t.phases - 1u) / t.phases + 7u) / 8u;
  let start = i / across % min(t.phases, t.Q);
  let h = i / (across * min(t.phases, t.Q)) % t.P;
  let n = vec4u(i % across * 8u) + vec4u(0u, 1u, 2u, 3u);
  var a = sum;
  var b = sum;
  for (var r = 0u; r < t.R; r++) {
    let down = shift(t, h % t.phases, r, t.top);
    let row = h / t.phases * t.step + down.by;
    let inside = down.meets && row < t.H;
    let at = (plane * t.H + row) * t.W;
    for (var s = 0u; s < t.S; s++) {
      let right = shift(t, start, s, t.left);
      let meets = vec4<bool>(inside && right.meets);
      let k = tap(t, plane, r * t.S + s);
      let v = n * t.step + right.by;
      let u = v + 4u * t.step;
      a += k * load4(at + v, meets & (v < vec4u(t.W)));
      b += k * load4(at + u, meets & (u < vec4u(t.W)));
    }
  }
  let q = n * t.phases + start;
  put(t, plane, h, q.x, a.x);
  put(t, plane, h, q.y, a.y);
  put(t, plane, h, q.z, a.z);
  put(t, plane, h, q.w, a.w);
  put(t, plane, h, q.x + 4u * t.phases, b.x);
  put(t, plane, h, q.y + 4u * t.phases, b.y);
  put(t, plane, h, q.z + 4u * t.phases, b.z);
  put(t, plane, h, q.w + 4u * t.phases, b.w);
}

@compute @workgroup_size(16)
fn depthwise_conv2d_f32__run(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = (wid.y * grid.x + wid.x) * 16u + l;
  run(task(), i, biased(i / runs(task())));
}
@compute @workgroup_size(16)
fn depthwise_conv_transpose2d_f32__run(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) l: u32) {
  run(task_t(), (wid.y * grid.x + wid.x) * 16u + l, vec4f());
}

// ---- depthwise_conv2d_bwd_w in chunks of rows of dy ---------------------------------------------------

// Weights are few and their sums long: each chunk of rows (b,p) adds up what it has into partial sums of its
// own, and a second pass adds the chunks in their order. A thread has UNIT × UNIT taps of a channel; there are
// as many chunks as make TARGET threads, or as there are rows.
override UNIT: u32 = 4u;
override TARGET: u32 = 256u;
@group(0) @binding(4) var<storage, read_write> partial: array<f32>; // (chunks, C, R, S)

fn down_taps() -> u32 { return (pw.R + UNIT - 1u) / UNIT; }
fn across_taps() -> u32 { return (pw.S + UNIT - 1u) / UNIT; }
fn units() -> u32 { return pw.C * down_taps() * across_taps(); }
fn chunks() -> u32 { return max(min((TARGET + units() - 1u) / units(), pw.B * pw.P), 1u); }

@compute @workgroup_size(64)
fn depthwise_conv2d_bwd_w_sum_f32(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(wid, grid, l);
  let n = pw.C * pw.R * pw.S;
  if (i >= n) { return; }
  var sum = 0.0;
  for (var c = 0u; c < chunks(); c++) { sum += partial[c * n + i]; }
  if (adds(pw.beta)) { dw[i] = pw.beta * dw[i] + sum; } else { dw[i] = sum; }
}

// Taps from (r, s) on of channel c, over the rows [first, past) of a chunk.
struct Unit { chunk: u32, c: u32, r: u32, s: u32, first: u32, past: u32 }
fn unit(i: u32) -> Unit {
  let rows = pw.B * pw.P;
  let each = (rows + chunks() - 1u) / chunks();
  let chunk = i / units();
  let c = i % units() / (down_taps() * across_taps());
  return Unit(
    chunk, c, i / across_taps() % down_taps() * UNIT, i % across_taps() * UNIT,
    min(chunk * each, rows), min((chunk + 1u) * each, rows),
  );
}
fn put_w(u: Unit, r: u32, s: u32, v: f32) {
  if (r < pw.R && s < pw.S) { partial[((u.chunk * pw.C + u.c) * pw.R + r) * pw.S + s] = v; }
}

// A thread a tap, for a GPU.
@compute @workgroup_size(64)
fn depthwise_conv2d_bwd_w_f32__split(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) l: u32) {
  let u = unit(linear_index(wid, grid, l));
  if (u.chunk >= chunks()) { return; }
  let v0 = u.s * pw.dilation - pw.pad;
  var sum = 0.0;
  for (var row = u.first; row < u.past; row++) {
    let plane = row / pw.P * pw.C + u.c;
    let h = row % pw.P * pw.stride + u.r * pw.dilation - pw.pad;
    if (h >= pw.H) { continue; }
    let to = (plane * pw.P + row % pw.P) * pw.Q;
    let at = (plane * pw.H + h) * pw.W;
    for (var q = 0u; q < pw.Q; q++) {
      let v = v0 + q * pw.stride;
      if (v < pw.W) { sum += dy[to + q] * x[at + v]; }
    }
  }
  put_w(u, u.r, u.s, sum);
}

// Without stride or dilation, for a device on which a load costs many multiplications: a thread 4×4 taps,
// four pixels at a time.

// What four pixels meet at four neighbouring taps: seven numbers of x.
fn meet(at: u32, row: bool, first: vec4<bool>, second: vec3<bool>, inside: vec4<bool>) -> mat4x4f {
  let l = select(vec4f(), vec4f(x[at], x[at + 1u], x[at + 2u], x[at + 3u]), first & vec4<bool>(row));
  let r = select(vec3f(), vec3f(x[at + 4u], x[at + 5u], x[at + 6u]), second & vec3<bool>(row));
  return mat4x4f(
    select(vec4f(), l, inside), select(vec4f(), vec4f(l.yzw, r.x), inside),
    select(vec4f(), vec4f(l.zw, r.xy), inside), select(vec4f(), vec4f(l.w, r), inside),
  );
}

@compute @workgroup_size(16)
fn depthwise_conv2d_bwd_w_f32__blocks(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) l: u32) {
  let u = unit((wid.y * grid.x + wid.x) * 16u + l);
  if (u.chunk >= chunks()) { return; }
  let H = pw.H;
  let W = pw.W;
  let Q = pw.Q;
  var a = vec4f();
  var b = vec4f();
  var c = vec4f();
  var d = vec4f();
  for (var row = u.first; row < u.past; row++) {
    let plane = row / pw.P * pw.C + u.c;
    let h = row % pw.P + u.r - pw.pad;
    let to = (plane * pw.P + row % pw.P) * Q;
    let at = (plane * H + h) * W + u.s - pw.pad;
    for (var q = 0u; q < Q; q += 4u) {
      let inside = vec4u(q) + vec4u(0u, 1u, 2u, 3u) < vec4u(Q);
      let v = vec4u(q + u.s - pw.pad) + vec4u(0u, 1u, 2u, 3u);
      let first = v < vec4u(W);
      let second = v.xyz + 4u < vec3u(W);
      let e = select(vec4f(), vec4f(dy[to + q], dy[to + q + 1u], dy[to + q + 2u], dy[to + q + 3u]), inside);
      // A row times a matrix: at each tap the sum over the four pixels.
      a += e * meet(at + q, h < H, first, second, inside);
      b += e * meet(at + q + W, h + 1u < H, first, second, inside);
      c += e * meet(at + q + 2u * W, h + 2u < H, first, second, inside);
      d += e * meet(at + q + 3u * W, h + 3u < H, first, second, inside);
    }
  }
  let all = array<vec4f, 4>(a, b, c, d);
  for (var j = 0u; j < 16u; j++) { put_w(u, u.r + j / 4u, u.s + j % 4u, all[j / 4u][j % 4u]); }
}
