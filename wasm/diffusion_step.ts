import { put, put4, take } from "./lib/accumulate";
import { normal4, threefry8, x0 as words0, x1 as words1, y0, y1 } from "./lib/random";

// A step of a diffusion sampler: guidance, ẑ_0, update and noise, over tiles of 1024 elements; and its gradient.

const TILE: u32 = 1024;

// @ts-ignore: decorator
@inline
function at(p: usize, o: usize, left: u32): v128 {
  return left >= 4 ? v128.load(p + o) : take(p + o, left, 0);
}

// @ts-ignore: decorator
@inline
function store(p: usize, o: usize, v: v128, left: u32, beta: f32): void {
  if (left >= 4) put4(p + o, v, beta);
  else put(p + o, v, left, beta);
}

/** Up to four elements at byte o; `noise` is 0 where none is drawn. */
function four(
  next: usize, x0: usize, z: usize, eps: usize, uncond: usize, x0_prev: usize, o: usize, left: u32, noise: v128,
  guidance: f32, x0_z: f32, x0_e: f32, clip: f32, a: f32, b: f32, c: f32, sigma: f32,
): void {
  let e = at(eps, o, left);
  if (uncond) {
    const u = at(uncond, o, left);
    e = f32x4.add(u, f32x4.mul(f32x4.splat(guidance), f32x4.sub(e, u)));
  }
  const vz = at(z, o, left);
  let x = f32x4.add(f32x4.mul(f32x4.splat(x0_z), vz), f32x4.mul(f32x4.splat(x0_e), e));
  if (clip > 0) x = f32x4.max(f32x4.splat(-clip), f32x4.min(f32x4.splat(clip), x));
  let y = f32x4.add(f32x4.mul(f32x4.splat(a), x), f32x4.mul(f32x4.splat(b), vz));
  if (x0_prev) y = f32x4.add(y, f32x4.mul(f32x4.splat(c), at(x0_prev, o, left)));
  if (sigma != 0) y = f32x4.add(y, f32x4.mul(f32x4.splat(sigma), noise));
  store(x0, o, x, left, 0);
  store(next, o, y, left, 0);
}

export function diffusion_step_f32(
  next: usize, x0: usize, z: usize, eps: usize, uncond: usize, x0_prev: usize, N: u32, present: u32,
  guidance: f32, x0_z: f32, x0_e: f32, clip: f32, a: f32, b: f32, c: f32,
  sigma: f32, seed: u32, stream: u32, t: u32, lo: u32, hi: u32,
): void {
  const end = min(hi * TILE, N);
  const zero = f32x4.splat(0);
  if (sigma == 0) {
    for (let i = lo * TILE; i < end; i += 4)
      four(next, x0, z, eps, uncond, x0_prev, (<usize>i) << 2, end - i, zero, guidance, x0_z, x0_e, clip, a, b, c, 0);
    return;
  }
  const time = i32x4.splat(t);
  for (let i = lo * TILE; i < end; i += 16) {
    threefry8(seed, stream, i32x4.add(i32x4.splat(i >> 1), i32x4(0, 1, 2, 3)), time);
    let u = words0;
    let v = words1;
    const u1 = y0;
    const v1 = y1;
    // The two normals of a counter are neighbours: eight elements a half.
    for (let j: u32 = i; j < min(i + 16, end); j += 8) {
      normal4(u, v);
      const low = i8x16.shuffle(words0, words1, 0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
      const high = i8x16.shuffle(words0, words1, 8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
      const o = (<usize>j) << 2;
      four(next, x0, z, eps, uncond, x0_prev, o, end - j, low, guidance, x0_z, x0_e, clip, a, b, c, sigma);
      if (end - j > 4)
        four(next, x0, z, eps, uncond, x0_prev, o + 16, end - j - 4, high, guidance, x0_z, x0_e, clip, a, b, c, sigma);
      u = u1;
      v = v1;
    }
  }
}

export function diffusion_step_bwd_f32(
  dz: usize, deps: usize, duncond: usize, dx0_prev: usize, x0: usize, dnext: usize, dx0: usize, N: u32, present: u32,
  guidance: f32, x0_z: f32, x0_e: f32, clip: f32, a: f32, b: f32, c: f32, guided: u32,
  beta_dz: f32, beta_deps: f32, beta_duncond: f32, beta_dx0_prev: f32, lo: u32, hi: u32,
): void {
  const end = min(hi * TILE, N);
  const ofEps = f32x4.splat((guided ? guidance : 1) * x0_e);
  const ofUncond = f32x4.splat((guided ? 1 - guidance : 0) * x0_e);
  const va = f32x4.splat(a);
  const vb = f32x4.splat(b);
  const vc = f32x4.splat(c);
  const vz = f32x4.splat(x0_z);
  const bound = f32x4.splat(clip);
  for (let i = lo * TILE; i < end; i += 4) {
    const o = (<usize>i) << 2;
    const left = end - i;
    const dn = dnext ? at(dnext, o, left) : f32x4.splat(0);
    let d = f32x4.mul(va, dn);
    if (dx0) d = f32x4.add(d, at(dx0, o, left));
    if (clip > 0) d = v128.and(d, f32x4.lt(f32x4.abs(at(x0, o, left)), bound));
    store(dz, o, f32x4.add(f32x4.mul(vb, dn), f32x4.mul(vz, d)), left, beta_dz);
    store(deps, o, f32x4.mul(ofEps, d), left, beta_deps);
    store(duncond, o, f32x4.mul(ofUncond, d), left, beta_duncond);
    store(dx0_prev, o, f32x4.mul(vc, dn), left, beta_dx0_prev);
  }
}
