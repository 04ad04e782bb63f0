import {
  defineKernel,
  edges,
  f32,
  flag,
  inout,
  inp,
  linear,
  nonNegative,
  type Suite,
} from "../core/contract.ts";
import source from "../wgsl/sgd.wgsl";

/**
 * One SGD step in place over p and its momentum m (N) with gradient g (N):
 * d = g + weight_decay·p, m ← momentum·m + d, p ← p − lr·(nesterov ? d + momentum·m : m).
 * @throws ValueError for a learning rate that is NaN or negative
 */
export const sgd = /* @__PURE__ */ defineKernel({
  name: "sgd",
  family: "optimiser",
  cut: () => ["N"],
  args: [inout("p", "*N"), inout("m", "*N"), inp("g", "*N")],
  params: {
    lr: f32(undefined, nonNegative),
    momentum: f32(0, nonNegative),
    weight_decay: f32(0, nonNegative),
    nesterov: flag(),
  },
  ref: ({ p, m, g }, { N }, { lr, momentum, weight_decay, nesterov }) => {
    for (let i = 0; i < N; i++) {
      const d = g[i] + weight_decay * p[i];
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
  ],
  bench: () => [
    { dims: { N: [235_146] }, params: { lr: 0.1 }, source: "784-256-128-10 as one slab" },
  ],
  tol: { rel: 1e-6, abs: 1e-6 },
};
