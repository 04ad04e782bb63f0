import {
  defineKernel,
  edges,
  f32,
  inout,
  inp,
  linear,
  positive,
  type Suite,
} from "../core/contract.ts";
import source from "../wgsl/clip.wgsl";

/**
 * g (N) ← g · min(1, max_norm / ‖·‖) in place, where sumsq () = ‖·‖², from `sum_squares`: a global
 * norm over one slab or several. A NaN norm makes g NaN.
 * @throws ValueError unless max_norm is finite and > 0
 */
export const clip_by_norm = /* @__PURE__ */ defineKernel({
  name: "clip_by_norm",
  family: "optimiser",
  cut: () => ["N"],
  args: [inout("g", "*N"), inp("sumsq", "")],
  params: { max_norm: f32(undefined, positive) },
  ref: ({ g, sumsq }, { N }, { max_norm }) => {
    const norm = Math.sqrt(sumsq[0]);
    const s = norm <= max_norm ? 1 : max_norm / norm;
    for (let i = 0; i < N; i++) g[i] *= s;
  },
  cost: ({ N }) => ({ flops: N, bytes: 8 * N }),
  webgpu: [{ source, grid: ({ N }) => linear(N) }],
  wasm: { tiles: ({ N }) => Math.ceil(N / 1024) },
});

export const clipSuite: Suite = {
  kernel: clip_by_norm,
  cases: () => [
    ...edges(1024).map((n) => ({ dims: { N: [n] }, params: { max_norm: 0.5 } })),
    { dims: { N: [5] }, params: { max_norm: 1e6 } },
  ],
  bench: () => [
    { dims: { N: [235_146] }, params: { max_norm: 1 }, source: "784-256-128-10 as one slab" },
  ],
  tol: { rel: 1e-6, abs: 1e-7 },
  fill: { sumsq: (u) => 4 + u },
};
