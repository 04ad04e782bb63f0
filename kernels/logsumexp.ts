import {
  type Case,
  defineKernel,
  edges,
  f32,
  grid,
  inp,
  linear,
  out,
  positive,
  type Suite,
} from "../core/contract.ts";
import source from "../wgsl/logsumexp.wgsl";
import { mul } from "./binary.ts";
import { rowGrid, rowTiles } from "./lib/rows.ts";
import { expand } from "./reduce.ts";
import { softmax_bwd } from "./softmax.ts";
import { scale } from "./unary.ts";

/**
 * The smooth maximum y (R) = τ ln Σ_c e^(x/τ) of rows x (R,C), τ = `tau`, and its gradient, the weights
 * w (R,C) = softmax(x/τ). max <= y <= max + τ ln C. A row with a NaN gives NaN.
 * @throws ValueError unless tau is finite and > 0
 */
export const logsumexp = /* @__PURE__ */ defineKernel({
  name: "logsumexp",
  family: "softmax",
  cut: () => ["R"],
  args: [out("y", "*R"), out("w", "*R C"), inp("x", "*R C")],
  params: { tau: f32(1, positive) },
  ref: ({ y, w, x }, { R, C }, { tau }) => {
    for (let r = 0; r < R; r++) {
      const row = x.subarray(r * C, (r + 1) * C);
      const m = Math.max(...row);
      let s = 0;
      for (const v of row) s += Math.exp((v - m) / tau);
      y[r] = m + tau * Math.log(s);
      for (let c = 0; c < C; c++) w[r * C + c] = Math.exp((row[c] - m) / tau) / s;
    }
  },
  vjp: (g) => {
    const { y: dy, w: dw } = g.d;
    if (dy) g.to("x", mul, [expand(dy, { size: g.dims.C }), g.out.w]);
    if (dw) g.to("x", softmax_bwd, [scale(dw, { by: 1 / g.p.tau }), g.out.w]);
  },
  cost: ({ R, C }) => ({ flops: 28 * R * C, bytes: 4 * (2 * R * C + R) }),
  webgpu: [
    {
      name: "short",
      source,
      grid: ({ R }) => linear(R),
      prefer: ({ C }) => C <= 32,
    },
    { source, grid: rowGrid },
  ],
  // The exponentials of a row, in whole vectors.
  wasm: { ...rowTiles, scratch: ({ C }) => 16 * Math.ceil(C / 4) },
});

const cases = (): Case[] => [
  ...grid({ R: [[1], [9], [2, 5], []], C: [...edges(4), 31, 32, 33, 130] })
    .filter((c) => c.dims.C !== 0)
    .map((c) => ({ ...c, params: { tau: 0.5 } })),
  { dims: { R: [3], C: 5 }, params: { tau: 0.02 } },
  { dims: { R: [65], C: 2 } },
];

export const logsumexpSuite: Suite = {
  kernel: logsumexp,
  cases,
  bench: () => [
    { dims: { R: [1024], C: 1024 }, source: "rows of 1024" },
    { dims: { R: [45], C: 2 }, params: { tau: 0.05 }, source: "FOOPS, 45 runs of 2 objectives" },
  ],
  tol: { rel: 1e-5, abs: 1e-6 },
};
