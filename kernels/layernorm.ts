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
import source from "../wgsl/layernorm.wgsl";
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
 * y (R,C) = (x − mean)·rstd·weight + bias over the last axis of x (R,C), weight (C), bias (C); also
 * mean (R) and rstd (R) = 1/√(var + eps), var without Bessel's correction. Ba et al., arXiv:1607.06450.
 * @throws ValueError unless eps > 0
 */
export const layernorm = /* @__PURE__ */ defineKernel({
  name: "layernorm",
  family: "normalisation",
  cut: () => ["R"],
  args: [
    out("y", "*R C"),
    out("mean", "*R"),
    out("rstd", "*R"),
    inp("x", "*R C"),
    inp("weight", "C"),
    inp("bias", "C"),
  ],
  params: { eps: f32(1e-5, positive) },
  ref: ({ y, mean, rstd, x, weight, bias }, { R, C }, { eps }) => {
    for (let r = 0; r < R; r++) {
      const row = x.subarray(r * C, (r + 1) * C);
      let m = 0;
      for (const v of row) m += v / C;
      let s = 0;
      for (const v of row) s += (v - m) ** 2 / C;
      mean[r] = m;
      rstd[r] = 1 / Math.sqrt(s + eps);
      for (let c = 0; c < C; c++) y[r * C + c] = (row[c] - m) * rstd[r] * weight[c] + bias[c];
    }
  },
  vjp: (g) => {
    // mean and rstd are by-products: their own gradients are not carried.
    if (!g.d.y) return;
    const { mean, rstd } = g.out;
    g.to("x", layernorm_bwd, [g.d.y, g.in.x, g.in.weight, mean, rstd]);
    g.toAll({ dweight: "weight", dbias: "bias" }, layernorm_bwd_affine, [
      g.d.y,
      g.in.x,
      mean,
      rstd,
    ]);
  },
  cost: ({ R, C }) => ({ flops: 8 * R * C, bytes: 8 * R * C }),
  webgpu: [threadRows(source), { source, grid: rowGrid }],
  wasm: rowTiles,
});

/**
 * dx (R,C) = rstd (h − Σh/C − x̂ Σh·x̂/C) with h = dy·weight and x̂ = (x − mean)·rstd. Has no VJP.
 */
export const layernorm_bwd = /* @__PURE__ */ defineKernel({
  name: "layernorm_bwd",
  family: "normalisation",
  cut: () => ["R"],
  args: [
    acc("dx", "*R C"),
    inp("dy", "*R C"),
    inp("x", "*R C"),
    inp("weight", "C"),
    inp("mean", "*R"),
    inp("rstd", "*R"),
  ],
  ref: ({ dx, dy, x, weight, mean, rstd }, { R, C }) => {
    for (let r = 0; r < R; r++) {
      let [sum, dot] = [0, 0];
      const hat = (c: number) => (x[r * C + c] - mean[r]) * rstd[r];
      for (let c = 0; c < C; c++) {
        const h = dy[r * C + c] * weight[c];
        sum += h / C;
        dot += (h * hat(c)) / C;
      }
      for (let c = 0; c < C; c++)
        dx[r * C + c] = rstd[r] * (dy[r * C + c] * weight[c] - sum - hat(c) * dot);
    }
  },
  cost: ({ R, C }) => ({ flops: 11 * R * C, bytes: 12 * R * C }),
  webgpu: [threadRows(source), { source, grid: rowGrid }],
  wasm: rowTiles,
});

/** dweight (C) = Σ_r dy·x̂ and dbias (C) = Σ_r dy, x̂ = (x − mean)·rstd. Has no VJP. */
export const layernorm_bwd_affine = /* @__PURE__ */ defineKernel({
  name: "layernorm_bwd_affine",
  family: "normalisation",
  cut: () => ["R", "C"],
  args: [
    acc("dweight", "C"),
    acc("dbias", "C"),
    inp("dy", "*R C"),
    inp("x", "*R C"),
    inp("mean", "*R"),
    inp("rstd", "*R"),
  ],
  ref: ({ dweight, dbias, dy, x, mean, rstd }, { R, C }) => {
    for (let r = 0; r < R; r++) {
      for (let c = 0; c < C; c++) {
        dweight[c] += dy[r * C + c] * (x[r * C + c] - mean[r]) * rstd[r];
        dbias[c] += dy[r * C + c];
      }
    }
  },
  cost: ({ R, C }) => ({ flops: 5 * R * C, bytes: 8 * R * C }),
  webgpu: [
    splitColumns(source, "layernorm_bwd_affine_f32__sum", ({ R, C }) => 8 * C * Math.ceil(R / 64)),
    { source, grid: columnGrid },
  ],
  wasm: columnTiles,
});

const bench = (): Case[] => [{ dims: { R: [1024], C: 768 }, source: "GPT-2, 1024 tokens" }];
const tol = { rel: 2e-5, abs: 1e-5, why: "differences of sums in f32" };

export const layernormSuites: Suite[] = [
  {
    kernel: layernorm,
    cases: () => [...rowCases(), { dims: { R: [3], C: 7 }, params: { eps: 0.1 } }],
    bench,
    tol,
    skipFiniteDifferences: "mean and rstd carry no gradient of their own; test/gradients.test.ts",
  },
  { kernel: layernorm_bwd, cases: rowCases, bench, tol, fill: { rstd: positiveFill } },
  { kernel: layernorm_bwd_affine, cases: rowCases, bench, tol, fill: { rstd: positiveFill } },
];
