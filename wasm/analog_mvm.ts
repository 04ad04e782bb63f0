import { normal4, threefry4, x0, x1 } from "./lib/random";

// y (S,O) = analog product of x (S,I) and w (O,I), or (I,O) under `tr`: noise management, DAC, product,
// noise, ADC, bound management. A tile is one sample; scratch holds its quantised input.

// @ts-ignore: decorator
@inline
function rint(v: f32, quantum: f32): f32 {
  return quantum > 0 ? nearest<f32>(v / quantum) * quantum : v;
}

/** One standard normal for (element, time). */
function draw(seed: u32, stream: u32, c0: u32, c1: u32): f32 {
  threefry4(seed, stream, i32x4.splat(c0), i32x4.splat(c1));
  normal4(x0, x1);
  return f32x4.extract_lane(x0, 0);
}

function dot(x: usize, w: usize, I: u32, stride: usize): f32 {
  let s: f32 = 0;
  let i: u32 = 0;
  if (stride == 4) {
    let v = f32x4.splat(0);
    for (; i + 4 <= I; i += 4) {
      v = f32x4.add(v, f32x4.mul(v128.load(x), v128.load(w)));
      x += 16;
      w += 16;
    }
    s = f32x4.extract_lane(v, 0) + f32x4.extract_lane(v, 1) + (f32x4.extract_lane(v, 2) + f32x4.extract_lane(v, 3));
  }
  for (; i < I; i++) {
    s += load<f32>(x) * load<f32>(w);
    x += 4;
    w += stride;
  }
  return s;
}

export function analog_mvm_f32(
  y: usize, x: usize, w: usize, S: u32, O: u32, I: u32,
  tr: u32, perfect: u32, nm: u32, bm: u32,
  inp_bound: f32, inp_res: f32, inp_noise: f32, out_bound: f32, out_res: f32, out_noise: f32, w_noise: f32,
  max_bm: f32, seed: u32, stream: u32, t: u32, scratch: usize, lo: u32, hi: u32,
): void {
  const stride: usize = tr ? (<usize>O) << 2 : 4;
  const column: usize = tr ? 4 : (<usize>I) << 2;
  const dac: f32 = inp_res * 2 * inp_bound;
  const adc: f32 = out_res * 2 * out_bound;
  for (let s = lo; s < hi; s++) {
    const px = x + ((<usize>s * I) << 2);
    const py = y + ((<usize>s * O) << 2);
    if (perfect) {
      for (let o: u32 = 0; o < O; o++) store<f32>(py + ((<usize>o) << 2), dot(px, w + <usize>o * column, I, stride));
      continue;
    }
    let a: f32 = 1;
    if (nm) {
      a = 0;
      for (let i: u32 = 0; i < I; i++) a = max<f32>(a, abs<f32>(load<f32>(px + ((<usize>i) << 2))));
    }
    if (a == 0) {
      memory.fill(py, 0, (<usize>O) << 2);
      continue;
    }
    let round: u32 = 0;
    let b: f32 = 1;
    for (;;) {
      const time = (t * S + s) * 16 + round;
      let norm: f32 = 0;
      for (let i: u32 = 0; i < I; i++) {
        let v = rint(load<f32>(px + ((<usize>i) << 2)) / (a * b), dac);
        v = min<f32>(inp_bound, max<f32>(-inp_bound, v));
        if (inp_noise > 0) v += inp_noise * draw(seed, stream, i, time);
        norm += v * v;
        store<f32>(scratch + ((<usize>i) << 2), v);
      }
      norm = sqrt<f32>(norm);
      let clipped = false;
      for (let o: u32 = 0; o < O; o++) {
        let v = dot(scratch, w + <usize>o * column, I, stride);
        if (w_noise > 0) v += w_noise * norm * draw(seed, stream + 1, o, time);
        if (out_noise > 0) v += out_noise * draw(seed, stream + 2, o, time);
        v = rint(v, adc);
        if (abs<f32>(v) > out_bound) {
          clipped = true;
          v = v > 0 ? out_bound : -out_bound;
        }
        store<f32>(py + ((<usize>o) << 2), v * a * b);
      }
      if (!clipped || !bm || b * 2 > max_bm) break;
      b *= 2;
      round++;
    }
  }
}
