//! use math
//! use random
// The analog product of wasm/analog_mvm.ts: a workgroup of 64 a sample. The quantised input is not
// kept but made again where it is used: a sample may be longer than workgroup memory.
struct P {
  S: u32, O: u32, I: u32,
  tr: u32, perfect: u32, nm: u32, bm: u32,
  inp_bound: f32, inp_res: f32, inp_noise: f32, out_bound: f32, out_res: f32, out_noise: f32, w_noise: f32,
  max_bm: f32, seed: u32, stream: u32, t: u32,
}
@group(0) @binding(0) var<storage, read_write> y: array<f32>; // (S,O)
@group(0) @binding(1) var<storage, read> x: array<f32>;       // (S,I)
@group(0) @binding(2) var<storage, read> w: array<f32>;       // (O,I) or (I,O)
@group(0) @binding(3) var<uniform> p: P;

var<workgroup> part: array<f32, 64>;

fn rint(v: f32, quantum: f32) -> f32 {
  if (quantum > 0.0) { return round(v / quantum) * quantum; }
  return v;
}

fn draw(stream: u32, c0: u32, c1: u32) -> f32 {
  return normal_pair(threefry2x32(vec2u(p.seed, stream), vec2u(c0, c1))).x;
}

fn input(s: u32, i: u32, scale: f32, time: u32) -> f32 {
  var v = clamp(rint(x[s * p.I + i] / scale, p.inp_res * 2.0 * p.inp_bound), -p.inp_bound, p.inp_bound);
  if (p.inp_noise > 0.0) { v += p.inp_noise * draw(p.stream, i, time); }
  return v;
}

fn weight(o: u32, i: u32) -> f32 {
  if (p.tr != 0u) { return w[i * p.O + o]; }
  return w[o * p.I + i];
}

fn all_max(v: f32, l: u32) -> f32 {
  workgroupBarrier();
  part[l] = v;
  workgroupBarrier();
  for (var k = 32u; k > 0u; k >>= 1u) {
    if (l < k) { part[l] = max(part[l], part[l + k]); }
    workgroupBarrier();
  }
  return workgroupUniformLoad(&part[0]);
}

fn all_sum(v: f32, l: u32) -> f32 {
  workgroupBarrier();
  part[l] = v;
  workgroupBarrier();
  for (var k = 32u; k > 0u; k >>= 1u) {
    if (l < k) { part[l] += part[l + k]; }
    workgroupBarrier();
  }
  return workgroupUniformLoad(&part[0]);
}

@compute @workgroup_size(64)
fn analog_mvm_f32(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let s = wid.y * g.x + wid.x;
  // Uniform over the workgroup: it depends on the workgroup's id alone.
  if (s >= p.S) { return; }
  if (p.perfect != 0u) {
    for (var o = l; o < p.O; o += 64u) {
      var v = 0.0;
      for (var i = 0u; i < p.I; i++) { v += x[s * p.I + i] * weight(o, i); }
      y[s * p.O + o] = v;
    }
    return;
  }
  var a = 0.0;
  for (var i = l; i < p.I; i += 64u) { a = max(a, abs(x[s * p.I + i])); }
  a = all_max(a, l);
  if (p.nm == 0u) { a = 1.0; }
  if (a == 0.0) {
    for (var o = l; o < p.O; o += 64u) { y[s * p.O + o] = 0.0; }
    return;
  }
  let adc = p.out_res * 2.0 * p.out_bound;
  var b = 1.0;
  var turn = 0u;
  loop {
    let time = (p.t * p.S + s) * 16u + turn;
    var norm = 0.0;
    if (p.w_noise > 0.0) {
      for (var i = l; i < p.I; i += 64u) { let v = input(s, i, a * b, time); norm += v * v; }
      norm = sqrt(all_sum(norm, l));
    }
    var over = 0.0;
    for (var o = l; o < p.O; o += 64u) {
      var v = 0.0;
      for (var i = 0u; i < p.I; i++) { v += input(s, i, a * b, time) * weight(o, i); }
      if (p.w_noise > 0.0) { v += p.w_noise * norm * draw(p.stream + 1u, o, time); }
      if (p.out_noise > 0.0) { v += p.out_noise * draw(p.stream + 2u, o, time); }
      v = rint(v, adc);
      if (abs(v) > p.out_bound) {
        over = 1.0;
        v = clamp(v, -p.out_bound, p.out_bound);
      }
      y[s * p.O + o] = v * a * b;
    }
    let again = all_max(over, l) > 0.0 && p.bm != 0u && b * 2.0 <= p.max_bm;
    if (!again) { break; }
    b *= 2.0;
    turn += 1u;
  }
}
