import {
  defineKernel,
  edges,
  f32,
  inout,
  inp,
  linear,
  nonNegative,
  opt,
  positive,
  type Suite,
} from "../core/contract.ts";
import source from "../wgsl/adamw.wgsl";
import { clipScale, clipsWhole, maxNorm } from "./lib/clip.ts";

const decay = ["in [0, 1)", (v: number) => v >= 0 && v < 1] as const;

/**
 * One AdamW step in place over p, m, v (N) with gradient g (N). `t` is the number of the step, from
 * 1. Decoupled weight decay (Loshchilov and Hutter 2019, Alg. 2, with lr for α and η = 1).
 * With `sumsq` (), the square of a norm, g is clipped to `max_norm` on the way, as by `clip_by_norm`.
 * @throws ValueError for a learning rate that is NaN or negative, β outside [0,1), t < 1; ShapeError for sumsq
 * without max_norm
 */
export const adamw = /* @__PURE__ */ defineKernel({
  name: "adamw",
  family: "optimiser",
  cut: () => ["N"],
  args: [inout("p", "*N"), inout("m", "*N"), inout("v", "*N"), inp("g", "*N"), opt("sumsq", "")],
  params: {
    lr: f32(undefined, nonNegative),
    beta1: f32(0.9, decay),
    beta2: f32(0.999, decay),
    eps: f32(1e-8, nonNegative),
    weight_decay: f32(0, nonNegative),
    t: f32(undefined, positive),
    ...maxNorm(),
  },
  check: (_d, p, has) => clipsWhole(p, has),
  ref: ({ p, m, v, g, sumsq }, { N }, { lr, beta1, beta2, eps, weight_decay, t, ...clip }) => {
    const s = clipScale(sumsq, clip);
    for (let i = 0; i < N; i++) {
      const d = s * g[i];
      m[i] = beta1 * m[i] + (1 - beta1) * d;
      v[i] = beta2 * v[i] + (1 - beta2) * d * d;
      const u = m[i] / (1 - beta1 ** t) / (Math.sqrt(v[i] / (1 - beta2 ** t)) + eps);
      p[i] -= lr * (u + weight_decay * p[i]);
    }
  },
  cost: ({ N }) => ({ flops: 16 * N, bytes: 28 * N }),
  webgpu: [{ source, grid: ({ N }) => linear(N, 256) }],
  wasm: { tiles: ({ N }) => Math.ceil(N / 1024) },
});

export const adamwSuite: Suite = {
  kernel: adamw,
  cases: () => [
    ...edges(1024).map((n) => ({
      dims: { N: [n] },
      params: { lr: 0.01, t: 3, weight_decay: 0.1 },
    })),
    { dims: { N: [37] }, params: { lr: 0.1, t: 1000, beta1: 0, eps: 1e-3 } },
    ...[0.5, 9].map((max_norm) => ({
      dims: { N: [1025] },
      params: { lr: 0.01, t: 3, max_norm },
      with: ["sumsq"],
    })),
  ],
  bench: () => [
    { dims: { N: [235_146] }, params: { lr: 1e-3, t: 10 }, source: "784-256-128-10 as one slab" },
  ],
  tol: { rel: 1e-4, abs: 2e-6, why: "1 − βᵗ cancels in f32 for small t" },
  fill: { v: (u) => u, sumsq: (u) => 4 + u },
};
