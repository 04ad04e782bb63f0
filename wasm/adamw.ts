import { clipScale } from "./lib/clip";
import { exp4, log4 } from "./lib/math";

// AdamW in place over tiles of 1024: m ← β₁m + (1−β₁)g, v ← β₂v + (1−β₂)g²,
// p ← p − lr (m̂ / (√v̂ + ε) + λ p), with the bias corrections 1 − βᵗ.

const TILE: u32 = 1024;

function power(b: f32, t: f32): f32 {
  return b == 0 ? 0 : f32x4.extract_lane(exp4(f32x4.mul(f32x4.splat(t), log4(f32x4.splat(b)))), 0);
}

export function adamw_f32(
  p: usize, m: usize, v: usize, g: usize, sumsq: usize, N: u32, present: u32,
  lr: f32, beta1: f32, beta2: f32, eps: f32, weight_decay: f32, t: f32, max_norm: f32, lo: u32, hi: u32,
): void {
  const end = min(hi * TILE, N);
  const c1: f32 = 1 / (1 - power(beta1, t));
  const c2: f32 = 1 / (1 - power(beta2, t));
  const s = clipScale(sumsq, max_norm);
  const vs = f32x4.splat(s);
  const vlr = f32x4.splat(lr);
  const vb1 = f32x4.splat(beta1);
  const vb2 = f32x4.splat(beta2);
  const va1 = f32x4.splat(1 - beta1);
  const va2 = f32x4.splat(1 - beta2);
  const vc1 = f32x4.splat(c1);
  const vc2 = f32x4.splat(c2);
  const veps = f32x4.splat(eps);
  const vwd = f32x4.splat(weight_decay);
  let i = lo * TILE;
  let o = (<usize>i) << 2;
  for (; i + 4 <= end; i += 4) {
    const vg = f32x4.mul(vs, v128.load(g + o));
    const nm = f32x4.add(f32x4.mul(vb1, v128.load(m + o)), f32x4.mul(va1, vg));
    const nv = f32x4.add(f32x4.mul(vb2, v128.load(v + o)), f32x4.mul(va2, f32x4.mul(vg, vg)));
    v128.store(m + o, nm);
    v128.store(v + o, nv);
    const w = v128.load(p + o);
    const u = f32x4.div(f32x4.mul(nm, vc1), f32x4.add(f32x4.sqrt(f32x4.mul(nv, vc2)), veps));
    v128.store(p + o, f32x4.sub(w, f32x4.mul(vlr, f32x4.add(u, f32x4.mul(vwd, w)))));
    o += 16;
  }
  for (; i < end; i++) {
    const sg = s * load<f32>(g + o);
    const nm = beta1 * load<f32>(m + o) + (1 - beta1) * sg;
    const nv = beta2 * load<f32>(v + o) + (1 - beta2) * (sg * sg);
    store<f32>(m + o, nm);
    store<f32>(v + o, nv);
    const w = load<f32>(p + o);
    store<f32>(p + o, w - lr * ((nm * c1) / (sqrt<f32>(nv * c2) + eps) + weight_decay * w));
    o += 4;
  }
}
