import {
  acc,
  type Case,
  defineKernel,
  f32,
  inp,
  out,
  positive,
  type Suite,
} from "../core/contract.ts";
import source from "../wgsl/rmsnorm.wgsl";
import {
  columnGrid,
  columnTiles,
  positiveFill,
  rowCases,
  rowGrid,
  rowTiles,
  splitColumns,
  threadRows,
} from "./lib/rows.ts";

/**
 * y (R,C) = x·rstd·weight over the last axis of x (R,C), weight (C); also rstd (R) = 1/√(mean x² + eps).
 * Zhang and Sennrich, arXiv:1910.07467.
 * @throws ValueError unless eps > 0
 */
export const rmsnorm = /* @__PURE__ */ defineKernel({
  name: "rmsnorm",
  family: "normalisation",
  cut: () => ["R"],
  args: [out("y", "*R C"), out("rstd", "*R"), inp("x", "*R C"), inp("weight", "C")],
  params: { eps: f32(1e-6, positive) },
  ref: ({ y, rstd, x, weight }, { R, C }, { eps }) => {
    for (let r = 0; r < R; r++) {
      let s = 0;
      for (let c = 0; c < C; c++) s += x[r * C + c] ** 2 / C;
      rstd[r] = 1 / Math.sqrt(s + eps);
      for (let c = 0; c < C; c++) y[r * C + c] = x[r * C + c] * rstd[r] * weight[c];
    }
  },
  vjp: (g) => {
    // rstd is a by-product: its own gradient is not carried.
    if (!g.d.y) return;
    g.to("x", rmsnorm_bwd, [g.d.y, g.in.x, g.in.weight, g.out.rstd]);
    g.to("weight", rmsnorm_bwd_weight, [g.d.y, g.in.x, g.out.rstd]);
  },
  cost: ({ R, C }) => ({ flops: 4 * R * C, bytes: 8 * R * C }),
  webgpu: [threadRows(source), { source, grid: rowGrid }],
  wasm: rowTiles,
});

/** dx (R,C) = rstd (h − x̂ Σh·x̂/C) with h = dy·weight and x̂ = x·rstd. Has no VJP. */
export const rmsnorm_bwd = /* @__PURE__ */ defineKernel({
  name: "rmsnorm_bwd",
  family: "normalisation",
  cut: () => ["R"],
  args: [
    acc("dx", "*R C"),
    inp("dy", "*R C"),
    inp("x", "*R C"),
    inp("weight", "C"),
    inp("rstd", "*R"),
  ],
  ref: ({ dx, dy, x, weight, rstd }, { R, C }) => {
    for (let r = 0; r < R; r++) {
      let dot = 0;
      for (let c = 0; c < C; c++) dot += (dy[r * C + c] * weight[c] * x[r * C + c] * rstd[r]) / C;
      for (let c = 0; c < C; c++)
        dx[r * C + c] = rstd[r] * (dy[r * C + c] * weight[c] - x[r * C + c] * rstd[r] * dot);
    }
  },
  cost: ({ R, C }) => ({ flops: 7 * R * C, bytes: 12 * R * C }),
  webgpu: [threadRows(source), { source, grid: rowGrid }],
  wasm: rowTiles,
});

/** dweight (C) = Σ_r dy·x·rstd. Has no VJP. */
export const rmsnorm_bwd_weight = /* @__PURE__ */ defineKernel({
  name: "rmsnorm_bwd_weight",
  family: "normalisation",
  cut: () => ["R", "C"],
  args: [acc("dweight", "C"), inp("dy", "*R C"), inp("x", "*R C"), inp("rstd", "*R")],
  ref: ({ dweight, dy, x, rstd }, { R, C }) => {
    for (let r = 0; r < R; r++)
      for (let c = 0; c < C; c++) dweight[c] += dy[r * C + c] * x[r * C + c] * rstd[r];
  },
  cost: ({ R, C }) => ({ flops: 3 * R * C, bytes: 8 * R * C }),
  webgpu: [
    splitColumns(source, "rmsnorm_bwd_weight_f32__sum", ({ R, C }) => 4 * C * Math.ceil(R / 64)),
    { source, grid: columnGrid },
  ],
  wasm: columnTiles,
});

const bench = (): Case[] => [{ dims: { R: [1024], C: 2048 }, source: "Llama 3.2 1B, 1024 tokens" }];
const tol = { rel: 1e-5, abs: 5e-6 };

export const rmsnormSuites: Suite[] = [
  {
    kernel: rmsnorm,
    cases: () => [...rowCases(), { dims: { R: [3], C: 7 }, params: { eps: 0.1 } }],
    bench,
    tol,
    skipFiniteDifferences: "rstd carries no gradient of its own; test/gradients.test.ts",
  },
  { kernel: rmsnorm_bwd, cases: rowCases, bench, tol, fill: { rstd: positiveFill } },
  { kernel: rmsnorm_bwd_weight, cases: rowCases, bench, tol, fill: { rstd: positiveFill } },
];
