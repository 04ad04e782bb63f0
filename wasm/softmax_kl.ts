import { put, put4, take } from "./lib/accumulate";
import { exp4, hsum, log4 } from "./lib/math";
import { ROWS, rowAt, rowLse } from "./lib/row";

// Divergence of softmax(z/T) from softmax(t/T), forward or reverse, skewed by α, and its gradient.

/** Of the last `element`: shares of the loss and of the centre, and q. kernels/softmax_kl.ts says what they are. */
let ofLoss: v128 = f32x4.splat(0);
let ofCentre: v128 = f32x4.splat(0);
let student: v128 = f32x4.splat(0);

/** Four elements from their log-probabilities. */
function element(lq: v128, lp: v128, kind: u32, alpha: f32, mixture: u32): void {
  const zero = f32x4.splat(0);
  const q = exp4(lq);
  const forward = kind == 0;
  const d = forward ? f32x4.sub(lq, lp) : f32x4.sub(lp, lq);
  const weight = forward ? exp4(lp) : q;
  let u = d;
  let share = weight;
  if (alpha != 0) {
    // Out of the logarithm: what is above e^0.
    const c = f32x4.pmax(zero, d);
    const a = f32x4.mul(f32x4.splat(alpha), exp4(f32x4.neg(c)));
    u = f32x4.add(c, log4(f32x4.add(a, f32x4.mul(f32x4.splat(1 - alpha), exp4(f32x4.sub(d, c))))));
    if (forward) share = f32x4.mul(weight, exp4(f32x4.sub(d, u)));
  }
  const loss = f32x4.neg(f32x4.mul(weight, u));
  if (!forward) {
    share = loss;
    if (mixture == 0 && alpha != 0)
      share = f32x4.sub(share, f32x4.mul(weight, f32x4.mul(f32x4.splat(alpha), exp4(f32x4.neg(u)))));
  }
  // What has no probability has no share, whatever infinity it is multiplied with.
  const none = f32x4.eq(weight, zero);
  ofLoss = v128.andnot(loss, none);
  ofCentre = v128.andnot(share, none);
  student = q;
}

export function softmax_kl_f32(
  loss: usize, lse_z: usize, lse_t: usize, centre: usize, z: usize, t: usize,
  R: u32, C: u32, kind: u32, alpha: f32, mixture: u32, temperature: f32, lo: u32, hi: u32,
): void {
  const k = <f32>1 / temperature;
  const vk = f32x4.splat(k);
  const end = min(hi * ROWS, R);
  for (let r = lo * ROWS; r < end; r++) {
    let pz = rowAt(z, r, C);
    let pt = rowAt(t, r, C);
    const lz = rowLse(pz, k, C);
    const lt = rowLse(pt, k, C);
    const vz = f32x4.splat(lz);
    const vt = f32x4.splat(lt);
    let s = f32x4.splat(0);
    let m = s;
    let i: u32 = 0;
    for (; i + 4 <= C; i += 4) {
      element(f32x4.sub(f32x4.mul(vk, v128.load(pz)), vz), f32x4.sub(f32x4.mul(vk, v128.load(pt)), vt), kind, alpha, mixture);
      s = f32x4.add(s, ofLoss);
      m = f32x4.add(m, ofCentre);
      pz += 16;
      pt += 16;
    }
    if (i < C) {
      const pad: f32 = -Infinity;
      element(
        f32x4.sub(f32x4.mul(vk, take(pz, C - i, pad)), vz), f32x4.sub(f32x4.mul(vk, take(pt, C - i, pad)), vt),
        kind, alpha, mixture,
      );
      s = f32x4.add(s, ofLoss);
      m = f32x4.add(m, ofCentre);
    }
    const at = (<usize>r) << 2;
    store<f32>(loss + at, hsum(s));
    store<f32>(centre + at, hsum(m));
    store<f32>(lse_z + at, lz);
    store<f32>(lse_t + at, lt);
  }
}

export function softmax_kl_bwd_f32(
  dz: usize, dloss: usize, z: usize, t: usize, lse_z: usize, lse_t: usize, centre: usize,
  R: u32, C: u32, kind: u32, alpha: f32, mixture: u32, temperature: f32, beta: f32, lo: u32, hi: u32,
): void {
  const k = <f32>1 / temperature;
  const vk = f32x4.splat(k);
  const end = min(hi * ROWS, R);
  for (let r = lo * ROWS; r < end; r++) {
    const at = (<usize>r) << 2;
    let pz = rowAt(z, r, C);
    let pt = rowAt(t, r, C);
    let po = rowAt(dz, r, C);
    const vz = f32x4.splat(load<f32>(lse_z + at));
    const vt = f32x4.splat(load<f32>(lse_t + at));
    const mid = f32x4.splat(load<f32>(centre + at));
    // Forward takes what there is off the centre, reverse the centre off it.
    const d = f32x4.splat(k * load<f32>(dloss + at) * (kind == 0 ? alpha - 1 : 1));
    let i: u32 = 0;
    for (; i + 4 <= C; i += 4) {
      element(f32x4.sub(f32x4.mul(vk, v128.load(pz)), vz), f32x4.sub(f32x4.mul(vk, v128.load(pt)), vt), kind, alpha, mixture);
      put4(po, f32x4.mul(d, f32x4.sub(ofCentre, f32x4.mul(student, mid))), beta);
      pz += 16;
      pt += 16;
      po += 16;
    }
    if (i < C) {
      element(
        f32x4.sub(f32x4.mul(vk, take(pz, C - i, 0)), vz), f32x4.sub(f32x4.mul(vk, take(pt, C - i, 0)), vt),
        kind, alpha, mixture,
      );
      put(po, f32x4.mul(d, f32x4.sub(ofCentre, f32x4.mul(student, mid))), C - i, beta);
    }
  }
}
