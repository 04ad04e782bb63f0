import {
  acc,
  type Case,
  defineKernel,
  edges,
  f32,
  flag,
  inp,
  linear,
  nonNegative,
  opt,
  out,
  type Suite,
  u32,
} from "../core/contract.ts";
import { normalPair, threefry2x32 } from "../core/threefry.ts";
import source from "../wgsl/diffusion_step.wgsl";

export {
  alphaBars,
  betas,
  ddim,
  ddpm,
  dpm_solver,
  type Prediction,
  type StepCoefficients,
} from "./lib/diffusion.ts";

/** The linear map of one step, which the forward kernel and its gradient share. */
const coefficients = {
  guidance: f32(1),
  x0_z: f32(),
  x0_e: f32(),
  /** 0: ẑ_0 is not clipped. */
  clip: f32(0, nonNegative),
  a: f32(),
  b: f32(),
  c: f32(0),
};

/**
 * One step of a diffusion sampler in one launch, over N elements:
 *
 *     ê = uncond + guidance · (eps − uncond)             classifier-free guidance; without uncond ê = eps
 *     x0 = clip(x0_z · z + x0_e · ê, ±clip)              clip = 0: as it is
 *     next = a · x0 + b · z + c · x0_prev + sigma · n    n standard normal, the stream of `normal`
 *
 * `ddim`, `ddpm` and `dpm_solver` give the coefficients: `diffusion_step(z, eps, { uncond, guidance: 7.5,
 * ...ddim(ᾱ, ᾱ_prev) })`. The noise of element i is that of `normal` for the same seed, stream and t, the
 * same bits on every backend; with sigma = 0 none is drawn. The gradient takes it for a constant. NaN
 * propagates; Inf is clipped.
 * @throws ValueError for a coefficient that is not finite, or clip < 0
 */
export const diffusion_step = /* @__PURE__ */ defineKernel({
  name: "diffusion_step",
  family: "diffusion",
  args: [
    out("next", "*N"),
    out("x0", "*N"),
    inp("z", "*N"),
    inp("eps", "*N"),
    opt("uncond", "*N"),
    opt("x0_prev", "*N"),
  ],
  params: {
    ...coefficients,
    sigma: f32(0, nonNegative),
    seed: u32(0),
    stream: u32(0),
    t: u32(0),
  },
  ref: ({ next, x0, z, eps, uncond, x0_prev }, { N }, p) => {
    for (let i = 0; i < N; i++) {
      const e = uncond ? uncond[i] + p.guidance * (eps[i] - uncond[i]) : eps[i];
      x0[i] = p.x0_z * z[i] + p.x0_e * e;
      if (p.clip > 0) x0[i] = Math.min(p.clip, Math.max(-p.clip, x0[i]));
      next[i] = p.a * x0[i] + p.b * z[i] + (x0_prev ? p.c * x0_prev[i] : 0);
      if (p.sigma === 0) continue;
      const pair = normalPair(...threefry2x32(p.seed, p.stream, i >> 1, p.t));
      next[i] += p.sigma * pair[i & 1];
    }
  },
  vjp: (g) => {
    const { guidance, x0_z, x0_e, clip, a, b, c } = g.p;
    g.toAll(
      { dz: "z", deps: "eps", duncond: "uncond", dx0_prev: "x0_prev" },
      diffusion_step_bwd,
      [g.out.x0],
      {
        dnext: g.d.next,
        dx0: g.d.x0,
        ...{ guidance, x0_z, x0_e, clip, a, b, c },
        guided: g.in.uncond ? 1 : 0,
      },
    );
  },
  cost: ({ N }) => ({ flops: 72 * N, bytes: 24 * N }),
  webgpu: [{ source, grid: ({ N }) => linear(Math.ceil(N / 2)) }],
  wasm: { tiles: ({ N }) => Math.ceil(N / 1024) },
});

/**
 * What `diffusion_step` owes to its inputs, over N elements, from x0 as it left it and the cotangents dnext and
 * dx0 of its outputs: with d = a · dnext + dx0, and 0 where x0 was clipped,
 *
 *     dz = b · dnext + x0_z · d,  deps = guidance · x0_e · d,  duncond = (1 − guidance) · x0_e · d,  dx0_prev = c · dnext
 *
 * `guided` 0: there was no uncond, and deps = x0_e · d. Has no VJP.
 */
export const diffusion_step_bwd = /* @__PURE__ */ defineKernel({
  name: "diffusion_step_bwd",
  family: "diffusion",
  args: [
    acc("dz", "*N"),
    acc("deps", "*N"),
    acc("duncond", "*N"),
    acc("dx0_prev", "*N"),
    inp("x0", "*N"),
    opt("dnext", "*N"),
    opt("dx0", "*N"),
  ],
  params: { ...coefficients, guided: flag() },
  ref: ({ dz, deps, duncond, dx0_prev, x0, dnext, dx0 }, { N }, p) => {
    for (let i = 0; i < N; i++) {
      const dn = dnext ? dnext[i] : 0;
      const free = p.clip === 0 || Math.abs(x0[i]) < p.clip;
      const d = free ? p.a * dn + (dx0 ? dx0[i] : 0) : 0;
      dz[i] = p.b * dn + p.x0_z * d;
      deps[i] = (p.guided ? p.guidance : 1) * p.x0_e * d;
      duncond[i] = (p.guided ? 1 - p.guidance : 0) * p.x0_e * d;
      dx0_prev[i] = p.c * dn;
    }
  },
  cost: ({ N }) => ({ flops: 8 * N, bytes: 28 * N }),
  webgpu: [{ source, grid: ({ N }) => linear(N) }],
  wasm: { tiles: ({ N }) => Math.ceil(N / 1024) },
});

const step = { x0_z: 1.2, x0_e: -0.7, a: 0.6, b: 0.3, c: -0.2 };
const drawn = { sigma: 0.4, seed: 7, stream: 2, t: 0xffffff00 };
const cases = (): Case[] => [
  ...[...edges(16), 1023, 1025].map((n) => ({
    dims: { N: [n] },
    params: { ...step, ...drawn, guidance: 7.5, clip: 1.5 },
    with: ["uncond", "x0_prev"],
  })),
  { dims: { N: [2, 37] }, params: step },
  { dims: { N: [2, 37] }, params: { ...step, guidance: 3 }, with: ["uncond"] },
  { dims: { N: [37] }, params: { ...step, ...drawn }, with: ["x0_prev"] },
];
const latent = { dims: { N: [8, 4, 64, 64] }, source: "latents of 8 images of 512²" };
const tol = { rel: 1e-5, abs: 2e-6 };

export const diffusionStepSuites: Suite[] = [
  {
    kernel: diffusion_step,
    cases,
    bench: () => [
      { ...latent, params: { ...step, guidance: 7.5, ...drawn }, with: ["uncond"] },
      { ...latent, params: { ...step, guidance: 7.5 }, with: ["uncond", "x0_prev"] },
    ],
    tol: { rel: 1e-5, abs: 1e-5, why: "guidance of 7.5 takes the difference of close numbers" },
  },
  {
    kernel: diffusion_step_bwd,
    cases: () =>
      cases().map(({ dims, params }, i) => ({
        dims,
        params: {
          ...step,
          guidance: params?.guidance ?? 1,
          clip: params?.clip ?? 0,
          guided: i % 2,
        },
        with: [["dnext"], ["dnext", "dx0"], ["dx0"], []][i % 4],
      })),
    bench: () => [{ ...latent, params: { ...step, guidance: 7.5, guided: 1 }, with: ["dnext"] }],
    tol,
  },
];
