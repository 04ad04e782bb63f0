import {
  acc,
  type Case,
  defineKernel,
  edges,
  grid,
  inp,
  linear,
  type Suite,
} from "../core/contract.ts";
import source from "../wgsl/transpose.wgsl";

/** Blocks of 16×16: a cache line, or a workgroup of 256. */
const SIDE = 16;

/** y (B,N,M) = x (B,M,N) with its last two axes swapped. NaN and Inf are copied. */
export const transpose = /* @__PURE__ */ defineKernel({
  name: "transpose",
  family: "indexing",
  args: [acc("y", "*B N M"), inp("x", "*B M N")],
  ref: ({ y, x }, { B, N, M }) => {
    for (let b = 0; b < B * M * N; b += M * N)
      for (let m = 0; m < M; m++) for (let n = 0; n < N; n++) y[b + n * M + m] = x[b + m * N + n];
  },
  vjp: (g) => g.to("x", transpose, [g.d.y]),
  cost: ({ B, N, M }) => ({ flops: 0, bytes: 8 * B * N * M }),
  webgpu: [
    {
      source,
      grid: ({ B, N, M }) => linear(B * Math.ceil(N / SIDE) * Math.ceil(M / SIDE), 1),
    },
  ],
  wasm: {
    tiles: ({ B, N }) => B * Math.ceil(N / SIDE),
    // One block.
    scratch: () => 4 * SIDE * SIDE,
  },
});

export const transposeSuite: Suite = {
  kernel: transpose,
  cases: (): Case[] => [
    ...grid({ B: [[], [2]], N: edges(SIDE), M: edges(SIDE) }),
    { dims: { B: [2, 3], N: 4, M: 5 } },
    { dims: { B: [0], N: 4, M: 5 } },
    { dims: { B: [2], N: 0, M: 5 } },
  ],
  bench: () => [
    { dims: { B: [], N: 1024, M: 1024 }, source: "a matrix of 1 M" },
    { dims: { B: [96], N: 64, M: 1024 }, source: "keys of GPT-2: 8 sequences, 12 heads" },
  ],
  tol: { rel: 0, abs: 0 },
};
