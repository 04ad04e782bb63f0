import {
  acc,
  type Case,
  defineKernel,
  f32,
  flag,
  grid,
  inp,
  linear,
  opt,
  type Suite,
  type Vjp,
} from "../core/contract.ts";
import type { Tensor } from "../core/tensor.ts";
import source from "../wgsl/matmul.wgsl";
import { activation, activations, beforeActivation } from "./lib/activation.ts";
import { sum_leading } from "./reduce.ts";

const ROWS = 32;
/** Multiplications below which a launch costs more than the arithmetic. */
const SMALL = 1048576;

/**
 * y (B,M,N) = beta·y + act(alpha · a·b + bias), with a (B,M,K), or (B,K,M) under `ta`; b (B,K,N), or
 * (B,N,K) under `tb`; bias (N). B is any number of leading axes; an operand without them is shared
 * by all of the batch. act: none, relu, tanh, sigmoid, gelu, silu. f32 accumulation; K = 0 gives
 * act(bias).
 * @throws ShapeError when K or the batches of a and b differ
 */
export const matmul = /* @__PURE__ */ defineKernel({
  name: "matmul",
  family: "matmul",
  args: [
    acc("y", "*B M N"),
    inp("a", (p) => (p.ta ? "*A K M" : "*A M K")),
    inp("b", (p) => (p.tb ? "*C N K" : "*C K N")),
    opt("bias", "N"),
  ],
  params: {
    alpha: f32(1),
    ta: flag(),
    tb: flag(),
    act: activation(),
  },
  derive: (d, runs, _p, fail) => {
    const { A, C } = runs;
    const same = A.length === C.length && A.every((n, i) => n === C[i]);
    if (!same && A.length > 0 && C.length > 0) {
      fail(
        `a and b: batches (${A.join(",")}) and (${C.join(",")}) differ; they agree, or one has none`,
      );
    }
    runs.B = A.length ? A : C;
    d.B = runs.B.reduce((n, v) => n * v, 1);
  },
  ref: ({ y, a, b, bias }, { B, M, N, A, K, C }, { alpha, ta, tb, act }) => {
    for (let i = 0; i < B * M * N; i++) {
      const n = i % N;
      const m = Math.floor(i / N) % M;
      const batch = Math.floor(i / (M * N));
      const oa = A === 1 ? 0 : batch * M * K;
      const ob = C === 1 ? 0 : batch * K * N;
      let s = 0;
      for (let k = 0; k < K; k++) {
        s += a[oa + (ta ? k * M + m : m * K + k)] * b[ob + (tb ? n * K + k : k * N + n)];
      }
      y[i] = activations[act](alpha * s + (bias ? bias[n] : 0));
    }
  },
  vjp: (g) => {
    const { alpha, ta, tb, act } = g.p;
    const { a, b, bias } = g.in;
    const dz = beforeActivation(g, act, () => matmul(a, b, { alpha, ta, tb, bias }));
    // y = a b: da = dz bᵀ, db = aᵀ dz; under a transpose the product comes out transposed.
    operand(
      g,
      "a",
      dz,
      ta ? [b, dz, { alpha, ta: tb, tb: 1 }] : [dz, b, { alpha, tb: tb ? 0 : 1 }],
    );
    operand(
      g,
      "b",
      dz,
      tb ? [dz, a, { alpha, ta: 1, tb: ta }] : [a, dz, { alpha, ta: ta ? 0 : 1 }],
    );
    if (bias && g.needs("bias")) g.to("bias", sum_leading, [dz.reshape([-1, g.dims.N])]);
  },
  cost: ({ B, M, N, K, A, C }) => ({
    flops: 2 * B * M * N * K,
    bytes: 4 * (B * M * N + A * M * K + C * K * N),
  }),
  webgpu: [
    {
      source,
      entry: "matmul_small_f32",
      grid: ({ B, M, N }) => linear(B * M * N),
      when: ({ B, M, N, K }) => B * M * N * K <= SMALL,
    },
    { source, grid: ({ B, M, N }) => [Math.ceil(N / 16), Math.ceil(M / 16), B] },
  ],
  wasm: {
    tiles: ({ B, M, N }) => (N === 0 ? 0 : B * Math.ceil(M / ROWS)),
    scratch: ({ K }) => 64 + 32 * K,
  },
});

/** Gradient of an operand; one that the batch shares is summed over it. */
function operand(g: Vjp, name: "a" | "b", dz: Tensor, [x, y, p]: [Tensor, Tensor, object]): void {
  if (!g.needs(name)) return;
  const own = g.in[name];
  const shared = dz.shape.length > own.shape.length;
  if (!shared) g.to(name, matmul, [x, y], p);
  else if (name === "b" && !g.p.ta && !g.p.tb) {
    // Batch and rows fold into one long contraction.
    const { K, N } = g.dims;
    g.to("b", matmul, [g.in.a.reshape([-1, K]), dz.reshape([-1, N])], { ...p, ta: 1 });
  } else {
    const each = matmul(x, y, p);
    g.to(name, sum_leading, [each.reshape([-1, own.size])]);
  }
}

const sizes = (): Case[] => [
  ...grid({ A: [[]], C: [[]], M: [1, 4, 31, 33], N: [1, 7, 8, 17], K: [1, 16, 37] }),
];
const options = [
  { ta: 1 },
  { tb: 1 },
  { ta: 1, tb: 1, alpha: -0.5 },
  { act: "relu" },
  { act: "tanh", tb: 1 },
  { act: "sigmoid" },
  { act: "gelu" },
  { act: "silu", ta: 1 },
];

export const matmulSuite: Suite = {
  kernel: matmul,
  tol: { rel: 1e-5, abs: 1e-5 },
  cases: () => [
    ...sizes(),
    ...options.map((params) => ({
      dims: { A: [], C: [], M: 9, N: 11, K: 5 },
      params,
      with: ["bias"],
    })),
    { dims: { A: [2, 3], C: [2, 3], M: 5, N: 6, K: 7 } },
    { dims: { A: [3], C: [], M: 5, N: 9, K: 4 }, with: ["bias"] },
    { dims: { A: [], C: [4], M: 5, N: 9, K: 4 }, params: { ta: 1 } },
    { dims: { A: [3], C: [], M: 5, N: 9, K: 4 }, params: { tb: 1 } },
    { dims: { A: [], C: [], M: 3, N: 4, K: 0 }, with: ["bias"] },
    // Past what is small, off the edges of tiles.
    ...[{}, { ta: 1 }, { tb: 1 }, { ta: 1, tb: 1, act: "tanh" }].map((params) => ({
      dims: { A: [2], C: [2], M: 65, N: 81, K: 101 },
      params,
      with: ["bias"],
    })),
    { dims: { A: [], C: [], M: 0, N: 4, K: 2 } },
  ],
  bench: () => [
    { dims: { A: [], C: [], M: 256, N: 256, K: 256 }, source: "square 256" },
    {
      dims: { A: [], C: [], M: 128, N: 256, K: 784 },
      source: "first layer of 784-256-128-10, batch 128",
    },
    {
      dims: { A: [], C: [], M: 10, N: 256, K: 784 },
      params: { tb: 1 },
      source: "analog FCN, batch 10",
    },
  ],
};
