import { type Case, defineKernel, inout, inp, linear, type Suite } from "../core/contract.ts";
import source from "../wgsl/kv_append.wgsl";

/**
 * Writes kn, vn (B,G,N,D) into the caches k, v (B,G,T,D) as their entries length[b] … length[b] + N − 1;
 * length (B) is i32, how many entries are valid so far, and stays as it is. An entry outside 0 … T−1 is
 * dropped. Has no VJP.
 * @throws ShapeError when more rows come than a cache has room for
 */
export const kv_append = /* @__PURE__ */ defineKernel({
  name: "kv_append",
  family: "attention",
  args: [
    inout("k", "B G T D"),
    inout("v", "B G T D"),
    inp("kn", "B G N D"),
    inp("vn", "B G N D"),
    inp("length", "B", "i32"),
  ],
  check: ({ N, T }) => (N <= T ? undefined : `kn: ${N} rows for caches of ${T}`),
  ref: ({ k, v, kn, vn, length }, { B, G, T, D, N }) => {
    for (let row = 0; row < B * G * N; row++) {
      const head = Math.floor(row / N);
      const at = length[Math.floor(head / G)] + (row % N);
      if (at < 0 || at >= T) continue;
      for (let c = 0; c < D; c++) {
        k[(head * T + at) * D + c] = kn[row * D + c];
        v[(head * T + at) * D + c] = vn[row * D + c];
      }
    }
  },
  cost: ({ B, G, N, D }) => ({ flops: 0, bytes: 16 * B * G * N * D }),
  webgpu: [{ source, grid: ({ B, G, N, D }) => linear(B * G * N * D) }],
  wasm: { tiles: ({ B, G }) => B * G },
});

const cases = (): Case[] =>
  [
    [1, 1, 1, 1, 1],
    [5, 2, 9, 8, 1],
    [7, 3, 6, 5, 4],
    [6, 1, 5, 4, 5],
    [2, 2, 0, 4, 0],
    [2, 2, 3, 4, 0],
    [2, 2, 3, 0, 1],
    [0, 2, 3, 4, 1],
  ].map(([B, G, T, D, N]) => ({ dims: { B, G, T, D, N } }));

export const kvAppendSuite: Suite = {
  kernel: kv_append,
  cases,
  bench: () => [
    { dims: { B: 1, G: 12, T: 4096, D: 64, N: 1 }, source: "GPT-2 small heads, one token" },
  ],
  tol: { rel: 0, abs: 0 },
  // In the middle, at either end and beyond it, partly outside, and as far out as numbers go.
  fill: {
    length: (_u, i, { T }) => [T >> 1, T - 1, 0, -1, T - 2, T, -(2 ** 31), 2 ** 31 - 1][i % 8],
  },
};
