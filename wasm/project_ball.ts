import { hsum } from "./lib/math";

// Projection on a ball: two sums over everything in one piece, then the elements in tiles of 1024. A block of 4096 is
// summed by two vectors a sum, the blocks in f64, so that a million terms keep f32 accuracy.

const TILE: u32 = 1024;
const BLOCK: u32 = 4096;

export function ball_sums_f32(sums: usize, p: usize, c: usize, m: usize, N: u32, lo: u32, hi: u32): void {
  if (lo >= hi) return;
  let square: f64 = 0;
  let along: f64 = 0;
  let o: usize = 0;
  for (let at: u32 = 0; at < N; at += BLOCK) {
    const n = min(BLOCK, N - at);
    let s0 = f32x4.splat(0);
    let s1 = s0;
    let a0 = s0;
    let a1 = s0;
    let i: u32 = 0;
    for (; i + 8 <= n; i += 8) {
      const d0 = f32x4.sub(v128.load(p + o), v128.load(c + o));
      const d1 = f32x4.sub(v128.load(p + o, 16), v128.load(c + o, 16));
      s0 = f32x4.add(s0, f32x4.mul(d0, d0));
      s1 = f32x4.add(s1, f32x4.mul(d1, d1));
      a0 = f32x4.add(a0, f32x4.mul(d0, v128.load(m + o)));
      a1 = f32x4.add(a1, f32x4.mul(d1, v128.load(m + o, 16)));
      o += 32;
    }
    let s: f32 = 0;
    let a: f32 = 0;
    for (; i < n; i++) {
      const d = load<f32>(p + o) - load<f32>(c + o);
      s += d * d;
      a += d * load<f32>(m + o);
      o += 4;
    }
    square += <f64>(hsum(f32x4.add(s0, s1)) + s);
    along += <f64>(hsum(f32x4.add(a0, a1)) + a);
  }
  store<f32>(sums, <f32>square);
  store<f32>(sums, <f32>along, 4);
}

export function project_ball_f32(p: usize, m: usize, c: usize, sums: usize, N: u32, radius: f32, lo: u32, hi: u32): void {
  const square = load<f32>(sums);
  const norm = sqrt<f32>(square);
  if (norm <= radius) return;
  const begin = lo * TILE;
  const end = min(hi * TILE, N);
  // radius 0 is c itself: c + 0·d would turn −0 into 0
  const to = radius / norm;
  const dot = load<f32>(sums, 4);
  const by: f32 = dot < 0 ? dot / square : 0;
  const s = f32x4.splat(to);
  const a = f32x4.splat(by);
  let i = begin;
  let o = (<usize>i) << 2;
  for (; i + 4 <= end; i += 4) {
    const v = v128.load(c + o);
    const d = f32x4.sub(v128.load(p + o), v);
    v128.store(m + o, f32x4.sub(v128.load(m + o), f32x4.mul(a, d)));
    v128.store(p + o, radius == 0 ? v : f32x4.add(v, f32x4.mul(s, d)));
    o += 16;
  }
  for (; i < end; i++) {
    const v = load<f32>(c + o);
    const d = load<f32>(p + o) - v;
    store<f32>(m + o, load<f32>(m + o) - by * d);
    store<f32>(p + o, radius == 0 ? v : v + to * d);
    o += 4;
  }
}
