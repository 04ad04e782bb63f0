import {
  acc,
  type Case,
  choice,
  defineKernel,
  f32,
  grid,
  inp,
  linear,
  opt,
  out,
  type Suite,
} from "../core/contract.ts";
import source from "../wgsl/matmul_bwd_params.wgsl";
import subgroups from "../wgsl/matmul_bwd_params__subgroups.wgsl";

/** Slopes of the activations from their output. */
const slopes: Record<string, (y: number) => number> = {
  none: () => 1,
  relu: (y) => (y > 0 ? 1 : 0),
  tanh: (y) => 1 - y * y,
  sigmoid: (y) => y * (1 - y),
};

/** Activations whose slope their output tells, and whose gradient needs nothing else. */
export const hasSlopeFromOutput = (act: string): boolean => act in slopes;

/**
 * Gradients of y = act(alpha · a·w + bias) by the parameters, from the cotangent dy (R,N):
 * dz (R,N) = dy ∘ act'(y), dw (K,N) = alpha · aᵀ·dz and db (N) = Σ_r dz, with a (R,K). The output y (R,N) of the
 * product is needed unless act is none. What is left of its backward pass is da = alpha · dz·wᵀ, a `matmul`.
 * f32 accumulation. Has no VJP; `matmul` takes other kernels where its gradient is to be differentiated.
 * @throws ShapeError when R, K or N differ, or y is missing
 */
export const matmul_bwd_params = /* @__PURE__ */ defineKernel({
  name: "matmul_bwd_params",
  family: "matmul",
  cut: () => ["R", "N"],
  args: [
    acc("dw", "K N"),
    acc("db", "N"),
    out("dz", "R N"),
    inp("a", "R K"),
    inp("dy", "R N"),
    opt("y", "R N"),
  ],
  params: { alpha: f32(1), act: choice(...Object.keys(slopes)) },
  check: (_d, { act }, has) =>
    act === "none" || has("y") ? undefined : `y: is required for the slope of ${act}`,
  ref: ({ dw, db, dz, a, dy, y }, { K, N, R }, { alpha, act }) => {
    for (let i = 0; i < R * N; i++) {
      const n = i % N;
      dz[i] = act === "none" ? dy[i] : dy[i] * slopes[act](y[i]);
      db[n] += dz[i];
      for (let k = 0; k < K; k++) dw[k * N + n] += alpha * a[Math.floor(i / N) * K + k] * dz[i];
    }
  },
  cost: ({ K, N, R }) => ({
    flops: 2 * R * K * N + 3 * R * N,
    bytes: 4 * (K * N + N + R * K + 3 * R * N),
  }),
  webgpu: [
    {
      name: "quads",
      source: subgroups,
      requires: ["subgroups"],
      grid: ({ K, N }) => linear(4 * Math.max(1, Math.ceil(K / 16)) * Math.ceil(N / 16)),
      prefer: (_d, _p, c) => c.software,
    },
    {
      source,
      grid: ({ K, N }) => linear(Math.max(1, Math.ceil(K / 4)) * Math.ceil(N / 4)),
    },
  ],
  wasm: {
    // 64 columns each; the scratch is that of wasm/lib/gemm.ts for an a that is not packed, or is.
    tiles: ({ N }) => Math.ceil(N / 64),
    scratch: ({ K }) => 140032 + (K >= 1024 ? 990720 : 0),
  },
});

export const matmulBwdParamsSuite: Suite = {
  kernel: matmul_bwd_params,
  tol: { rel: 1e-5, abs: 3e-5, why: "sums of 1025 terms in f32" },
  cases: (): Case[] => [
    ...grid({ K: [1, 4, 17, 33], N: [1, 3, 8, 17, 66], R: [1, 2, 7] }),
    ...["relu", "tanh", "sigmoid"].flatMap((act) => [
      { dims: { K: 5, N: 11, R: 9 }, params: { act, alpha: -0.5 }, with: ["y"] },
      { dims: { K: 18, N: 70, R: 5 }, params: { act }, with: ["y"] },
    ]),
    { dims: { K: 1027, N: 9, R: 33 }, params: { act: "relu" }, with: ["y"] },
    { dims: { K: 67, N: 129, R: 1025 }, params: { act: "tanh" }, with: ["y"] },
    { dims: { K: 0, N: 5, R: 3 } },
    { dims: { K: 3, N: 5, R: 0 } },
    { dims: { K: 3, N: 0, R: 2 } },
  ],
  bench: () => [
    {
      dims: { K: 784, N: 256, R: 128 },
      params: { act: "relu" },
      with: ["y"],
      source: "first layer of 784-256-128-10, batch 128",
    },
  ],
};
