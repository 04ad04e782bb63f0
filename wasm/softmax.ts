import { put1, put4 } from "./lib/accumulate";
import { exp4, hsum } from "./lib/math";
import { ROWS, rowAt, rowDot, rowMax } from "./lib/row";

// Softmax of rows and its two derivatives. A row whose maximum is -Inf has nothing in it: zeros.

export function softmax_f32(y: usize, x: usize, R: u32, C: u32, beta: f32, lo: u32, hi: u32): void {
  const end = min(hi * ROWS, R);
  for (let r = lo * ROWS; r < end; r++) {
    const px = rowAt(x, r, C);
    const py = rowAt(y, r, C);
    const m = rowMax(px, C);
    const empty = m == -Infinity;
    const vm = f32x4.splat(empty ? 0 : m);
    let s = f32x4.splat(0);
    let tail: f32 = 0;
    let i: u32 = 0;
    let p: usize = 0;
    for (; i + 4 <= C; i += 4) {
      s = f32x4.add(s, exp4(f32x4.sub(v128.load(px + p), vm)));
      p += 16;
    }
    for (; i < C; i++) {
      tail += f32x4.extract_lane(exp4(f32x4.sub(v128.load32_splat(px + p), vm)), 0);
      p += 4;
    }
    const inv = f32x4.splat(empty ? 0 : 1 / (hsum(s) + tail));
    p = 0;
    for (i = 0; i + 4 <= C; i += 4) {
      put4(py + p, f32x4.mul(exp4(f32x4.sub(v128.load(px + p), vm)), inv), beta);
      p += 16;
    }
    for (; i < C; i++) {
      put1(py + p, f32x4.extract_lane(f32x4.mul(exp4(f32x4.sub(v128.load32_splat(px + p), vm)), inv), 0), beta);
      p += 4;
    }
  }
}

export function softmax_bwd_f32(dx: usize, dy: usize, y: usize, R: u32, C: u32, beta: f32, lo: u32, hi: u32): void {
  const end = min(hi * ROWS, R);
  for (let r = lo * ROWS; r < end; r++) {
    const pd = rowAt(dy, r, C);
    const py = rowAt(y, r, C);
    const po = rowAt(dx, r, C);
    const s = rowDot(pd, py, C);
    let i: u32 = 0;
    let p: usize = 0;
    for (; i + 4 <= C; i += 4) {
      put4(po + p, f32x4.mul(v128.load(py + p), f32x4.sub(v128.load(pd + p), f32x4.splat(s))), beta);
      p += 16;
    }
    for (; i < C; i++) {
      put1(po + p, load<f32>(py + p) * (load<f32>(pd + p) - s), beta);
      p += 4;
    }
  }
}

export function softmax_bwd_bwd_y_f32(gy: usize, u: usize, dy: usize, y: usize, R: u32, C: u32, beta: f32, lo: u32, hi: u32): void {
  const end = min(hi * ROWS, R);
  for (let r = lo * ROWS; r < end; r++) {
    const pu = rowAt(u, r, C);
    const pd = rowAt(dy, r, C);
    const py = rowAt(y, r, C);
    const po = rowAt(gy, r, C);
    const s = rowDot(pd, py, C);
    const t = rowDot(pu, py, C);
    for (let i: u32 = 0; i < C; i++) {
      const p = (<usize>i) << 2;
      const d = load<f32>(pd + p);
      put1(po + p, load<f32>(pu + p) * (d - s) - d * t, beta);
    }
  }
}
