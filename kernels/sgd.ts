import {
  defineKernel,
  edges,
  f32,
  flag,
  inout,
  inp,
  linear,
  nonNegative,
  opt,
  type Suite,
} from "../core/contract.ts";
import source from "../wgsl/sgd.wgsl";
import { clipScale, clipsWhole, maxNorm } from "./lib/clip.ts";

/**
 * One SGD step in place over p and its momentum m (N) with gradient g (N):
 * d = g + weight_decay·p, m ← momentum·m + d, p ← p − lr·(nesterov ? d + momentum·m : m). With `sumsq` (), the
 * square of a norm, g is clipped to `max_norm` on the way, as by `clip_by_norm`.
 * @throws ValueError for a learning rate that is NaN or negative; ShapeError for sumsq without max_norm
 */
export const sgd = /* @__PURE__ */ defineKernel({
  name: "sgd",
  family: "optimiser",
  cut: () => ["N"],
  args: [inout("p", "*N"), inout("m", "*N"), inp("g", "*N"), opt("sumsq", "")],
  params: {
    lr: f32(undefined, nonNegative),
    momentum: f32(0, nonNegative),
    weight_decay: f32(0, nonNegative),
    nesterov: flag(),
    ...maxNorm(),
  },
  check: (_d, p, has) => clipsWhole(p, has),
  ref: ({ p, m, g, sumsq }, { N }, { lr, momentum, weight_decay, nesterov, ...clip }) => {
    const s = clipScale(sumsq, clip);
    for (let i = 0; i < N; i++) {
      const d = s * g[i] + weight_decay * p[i];
      m[i] = momentum * m[i] + d;
      p[i] -= lr * (nesterov ? d + momentum * m[i] : m[i]);
    }
  },
  cost: ({ N }) => ({ flops: 6 * N, bytes: 20 * N }),
  webgpu: [{ source, grid: ({ N }) => linear(N) }],
  wasm: { tiles: ({ N }) => Math.ceil(N / 1024) },
});

export const sgdSuite: Suite = {
  kernel: sgd,
  cases: () => [
    ...edges(1024).map((n) => ({ dims: { N: [n] }, params: { lr: 0.1, momentum: 0.9 } })),
    { dims: { N: [37] }, params: { lr: 0.1, momentum: 0.5, weight_decay: 0.01, nesterov: 1 } },
    ...[0.5, 9].map((max_norm) => ({
      dims: { N: [1025] },
      params: { lr: 0.1, momentum: 0.9, max_norm },
      with: ["sumsq"],
    })),
  ],
  fill: { sumsq: (u) => 4 + u },
  bench: () => [
    { dims: { N: [235_146] }, params: { lr: 0.1 }, source: "784-256-128-10 as one slab" },
  ],
  tol: { rel: 1e-6, abs: 1e-6 },
};
