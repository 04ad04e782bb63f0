import {
  defineKernel,
  edges,
  f32,
  inout,
  inp,
  linear,
  nonNegative,
  type Suite,
} from "../core/contract.ts";
import source from "../wgsl/ema.wgsl";

/**
 * Exponential moving average in place: y (N) ← d·y + (1 − d)·x with d = decay, or with `t` > 0, the number of the
 * step, d = min(decay, (1 + t)/(10 + t)), which follows closely at first. Over slabs: one launch.
 * @throws ValueError for a decay outside [0, 1], t < 0
 */
export const ema = /* @__PURE__ */ defineKernel({
  name: "ema",
  family: "optimiser",
  cut: () => ["N"],
  args: [inout("y", "*N"), inp("x", "*N")],
  params: { decay: f32(undefined, ["in [0, 1]", (v) => v >= 0 && v <= 1]), t: f32(0, nonNegative) },
  ref: ({ y, x }, { N }, { decay, t }) => {
    const d = t > 0 ? Math.min(decay, (1 + t) / (10 + t)) : decay;
    for (let i = 0; i < N; i++) y[i] = d * y[i] + (1 - d) * x[i];
  },
  cost: ({ N }) => ({ flops: 3 * N, bytes: 12 * N }),
  webgpu: [{ source, grid: ({ N }) => linear(N) }],
  wasm: { tiles: ({ N }) => Math.ceil(N / 1024) },
});

export const emaSuite: Suite = {
  kernel: ema,
  cases: () => [
    ...edges(1024).map((n) => ({ dims: { N: [n] }, params: { decay: 0.99 } })),
    ...[1, 5000].map((t) => ({ dims: { N: [37] }, params: { decay: 0.99, t } })),
    { dims: { N: [5] }, params: { decay: 1 } },
    { dims: { N: [5] }, params: { decay: 0 } },
  ],
  bench: () => [
    { dims: { N: [235_146] }, params: { decay: 0.999 }, source: "784-256-128-10 as one slab" },
  ],
  tol: { rel: 1e-6, abs: 1e-6 },
};
