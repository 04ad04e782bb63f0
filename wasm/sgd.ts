import { clipScale } from "./lib/clip";

// SGD with momentum in place over tiles of 1024: m ← μm + g + λp, p ← p − lr (nesterov ? g + λp + μm : m).

const TILE: u32 = 1024;

export function sgd_f32(
  p: usize, m: usize, g: usize, sumsq: usize, N: u32, present: u32,
  lr: f32, momentum: f32, weight_decay: f32, nesterov: u32, max_norm: f32, lo: u32, hi: u32,
): void {
  const end = min(hi * TILE, N);
  const s = clipScale(sumsq, max_norm);
  const vs = f32x4.splat(s);
  const vlr = f32x4.splat(lr);
  const vmu = f32x4.splat(momentum);
  const vwd = f32x4.splat(weight_decay);
  let i = lo * TILE;
  let o = (<usize>i) << 2;
  for (; i + 4 <= end; i += 4) {
    const w = v128.load(p + o);
    const d = f32x4.add(f32x4.mul(vs, v128.load(g + o)), f32x4.mul(vwd, w));
    const nm = f32x4.add(f32x4.mul(vmu, v128.load(m + o)), d);
    v128.store(m + o, nm);
    const u = nesterov ? f32x4.add(d, f32x4.mul(vmu, nm)) : nm;
    v128.store(p + o, f32x4.sub(w, f32x4.mul(vlr, u)));
    o += 16;
  }
  for (; i < end; i++) {
    const w = load<f32>(p + o);
    const d = s * load<f32>(g + o) + weight_decay * w;
    const nm = momentum * load<f32>(m + o) + d;
    store<f32>(m + o, nm);
    store<f32>(p + o, w - lr * (nesterov ? d + momentum * nm : nm));
    o += 4;
  }
}
