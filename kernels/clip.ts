import {
  defineKernel,
  edges,
  f32,
  grid,
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

/**
 * Where `probe` (K) holds a NaN or ±Inf, the step is off: g (N) ← 0 and `skipped` () goes up by one.
 * Otherwise nothing changes.
 */
export const skip_nonfinite = /* @__PURE__ */ defineKernel({
  name: "skip_nonfinite",
  family: "optimiser",
  args: [inout("g", "*N"), inout("skipped", ""), inp("probe", "*K")],
  ref: ({ g, skipped, probe }) => {
    if (probe.every(Number.isFinite)) return;
    g.fill(0);
    skipped[0]++;
  },
  cost: ({ N, K }) => ({ flops: K, bytes: 4 * K + 4 * N }),
  webgpu: [{ source, grid: ({ N }) => linear(N) }],
  wasm: {},
});

const clipCases: Suite = {
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

export const clipSuites: Suite[] = [
  clipCases,
  {
    kernel: skip_nonfinite,
    // A probe of three or more has a NaN or an infinity in it.
    cases: () => grid({ N: [[1], [37], [1025]], K: [[1], [2], [3], [5, 7]] }),
    bench: () => [{ dims: { N: [20], K: [2] }, source: "FOOPS, 20 parameters, 2 objectives" }],
    tol: { rel: 0, abs: 0 },
    fill: {
      probe: (u, i) => (i === 2 ? (u < 0.5 ? Number.NaN : Number.NEGATIVE_INFINITY) : u),
    },
  },
];
