import {
  acc,
  type Case,
  choice,
  defineKernel,
  flag,
  inp,
  linear,
  type Params,
  type Suite,
} from "../core/contract.ts";
import source from "../wgsl/dct.wgsl";

/** Factor of frequency k. */
const factor = (k: number, N: number, { ortho }: Params) =>
  ortho ? Math.sqrt((k === 0 ? 1 : 2) / N) : 1;

/**
 * Discrete cosine transform of rows of x (R,N), along the last axis. Type II: y_k = f_k Σ_n x_n cos(π k (2n+1)/2N);
 * type III, its transpose: y_k = Σ_n f_n x_n cos(π n (2k+1)/2N). f = 1, or with `ortho` √(1/N) for frequency 0
 * and √(2/N) for the others, when the two are each other's inverse. (SciPy's unscaled type II is twice this.)
 * O(N²) a row.
 */
export const dct = /* @__PURE__ */ defineKernel({
  name: "dct",
  family: "transform",
  cut: () => ["R"],
  args: [acc("y", "*R N"), inp("x", "*R N")],
  params: { kind: choice("II", "III"), ortho: flag() },
  ref: ({ y, x }, { R, N }, p) => {
    for (let o = 0; o < R * N; o += N) {
      for (let k = 0; k < N; k++) {
        for (let n = 0; n < N; n++) {
          const [frequency, place] = p.kind === "II" ? [k, n] : [n, k];
          const turn = (frequency * (2 * place + 1)) % (4 * N);
          y[o + k] += factor(frequency, N, p) * x[o + n] * Math.cos((Math.PI * turn) / (2 * N));
        }
      }
    }
  },
  vjp: (g) => g.to("x", dct, [g.d.y], { kind: g.p.kind === "II" ? "III" : "II", ortho: g.p.ortho }),
  cost: ({ R, N }) => ({ flops: 2 * R * N * N, bytes: 8 * R * N }),
  webgpu: [
    {
      source,
      grid: ({ N }) => linear(4 * N),
      // cos of all multiples of a quarter of 1/N of a turn.
      scratch: ({ N }) => 16 * N,
      further: [{ entry: "dct_rows", grid: ({ R, N }) => linear(R * N) }],
    },
  ],
  wasm: { tiles: ({ R }) => R, scratch: ({ N }) => 32 * N },
});

const cases = (): Case[] => [
  ...[1, 2, 3, 4, 5, 8, 31, 64, 65].flatMap((N) => [
    { dims: { R: [3], N }, params: { kind: "II" } },
    { dims: { R: [3], N }, params: { kind: "III", ortho: 1 } },
  ]),
  { dims: { R: [2, 2], N: 16 }, params: { kind: "II", ortho: 1 } },
  { dims: { R: [], N: 300 }, params: { kind: "III" } },
];

export const dctSuite: Suite = {
  kernel: dct,
  cases,
  bench: () => [{ dims: { R: [4096], N: 8 }, source: "8×8 blocks of 512²" }],
  tol: { rel: 1e-5, abs: 1e-5, why: "sums of N terms that cancel, in f32" },
};
