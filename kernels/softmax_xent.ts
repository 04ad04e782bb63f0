import {
  acc,
  type Case,
  choice,
  type Dims,
  defineKernel,
  edges,
  grid,
  inp,
  linear,
  out,
  type Params,
  type Suite,
} from "../core/contract.ts";
import source from "../wgsl/softmax_xent.wgsl";
import { further } from "./lib/passes.ts";
import { rowGrid, rowTiles } from "./lib/rows.ts";

/** The loss of every row, or their mean. */
const reduction = () => ({ reduction: choice("none", "mean") });
const perLoss = (p: Params): string => (p.reduction === "mean" ? "" : "R");
/** A mean ties all rows together. */
const cutRows = (_d: Dims, p: Params): string[] => (p.reduction === "mean" ? [] : ["R"]);

/**
 * loss (R) = lse − logits[label] and lse (R) = ln Σ_c e^logits, in nats, from logits (R,C) and labels
 * (R, i32). A label outside 0 … C−1 gives a NaN loss. With reduction "mean" loss () is the mean over the
 * rows, NaN for R = 0, computed by one thread on wasm: for a large vocabulary take the `mean` of the rows.
 */
export const softmax_xent = /* @__PURE__ */ defineKernel({
  name: "softmax_xent",
  family: "softmax",
  cut: cutRows,
  args: [
    out("loss", perLoss),
    out("lse", "R"),
    inp("logits", "R C"),
    inp("labels", "R", "i32", { index: "C" }),
  ],
  params: reduction(),
  ref: ({ loss, lse, logits, labels }, { R, C }, { reduction }) => {
    let total = 0;
    for (let r = 0; r < R; r++) {
      let m = -Infinity;
      let s = 0;
      for (let c = 0; c < C; c++) m = Math.max(m, logits[r * C + c]);
      for (let c = 0; c < C; c++) s += Math.exp(logits[r * C + c] - m);
      lse[r] = m + Math.log(s);
      const label = labels[r];
      const own = label >= 0 && label < C ? lse[r] - logits[r * C + label] : Number.NaN;
      total += own;
      if (reduction === "none") loss[r] = own;
    }
    if (reduction === "mean") loss[0] = total / R;
  },
  vjp: (g) => {
    const { logits, labels } = g.in;
    const { reduction } = g.p;
    // lse is a by-product: its own gradient is not carried.
    if (g.d.loss)
      g.to("logits", softmax_xent_bwd, [g.d.loss, logits, g.out.lse, labels], { reduction });
  },
  cost: ({ R, C }) => ({ flops: 16 * R * C, bytes: 4 * (R * C + 3 * R) }),
  webgpu: [
    {
      name: "mean",
      source,
      grid: () => [1],
      when: (_d, { reduction }) => reduction === "mean",
      prefer: ({ R, C }) => R * C <= 65536,
    },
    {
      name: "mean_rows",
      source,
      grid: rowGrid,
      scratch: ({ R }) => 4 * Math.max(1, R),
      ...further({ entry: "softmax_xent_f32__mean_of_rows", grid: () => [1] }),
      when: (_d, { reduction }) => reduction === "mean",
    },
    { source, grid: rowGrid, when: (_d, { reduction }) => reduction === "none" },
  ],
  wasm: { tiles: ({ R }, { reduction }) => (reduction === "mean" ? 1 : Math.ceil(R / 8)) },
});

/**
 * dlogits (R,C) = dloss (e^(logits − lse) − onehot(label)), from dloss (R); with reduction "mean" from
 * dloss (), divided by R. Has no VJP.
 */
export const softmax_xent_bwd = /* @__PURE__ */ defineKernel({
  name: "softmax_xent_bwd",
  family: "softmax",
  cut: cutRows,
  args: [
    acc("dlogits", "R C"),
    inp("dloss", perLoss),
    inp("logits", "R C"),
    inp("lse", "R"),
    inp("labels", "R", "i32", { index: "C" }),
  ],
  params: reduction(),
  ref: ({ dlogits, dloss, logits, lse, labels }, { R, C }, { reduction }) => {
    for (let i = 0; i < R * C; i++) {
      const r = Math.floor(i / C);
      const label = labels[r];
      const q = Math.exp(logits[i] - lse[r]) - (i % C === label ? 1 : 0);
      const d = reduction === "mean" ? dloss[0] / R : dloss[r];
      dlogits[i] = label >= 0 && label < C ? d * q : Number.NaN;
    }
  },
  cost: ({ R, C }) => ({ flops: 14 * R * C, bytes: 4 * (2 * R * C + 3 * R) }),
  webgpu: [{ source, grid: ({ R, C }) => linear(R * C) }],
  wasm: rowTiles,
});

const cases = (): Case[] => [
  ...grid({ R: [1, 3, 9], C: [...edges(4), 10, 64, 65, 130] }),
  ...[...grid({ R: [1, 5, 9], C: [1, 10, 130] }), { dims: { R: 130, C: 7 } }].map((c) => ({
    ...c,
    params: { reduction: "mean" },
  })),
];
const bench = (): Case[] => [
  { dims: { R: 128, C: 10 }, source: "digits, batch 128" },
  { dims: { R: 64, C: 50257 }, source: "GPT-2 vocabulary, 64 tokens" },
];
// Every seventh label of few is out of range; finite differences run on those rows' neighbours only.
const labels = (u: number, i: number, { R, C }: Record<string, number>) =>
  R < 100 && i % 7 === 5 ? (i % 2 ? -1 : C) : Math.floor(u * C);
const tol = { rel: 1e-5, abs: 2e-6 };
const logits = (u: number) => 10 * u - 5;

export const softmaxXentSuites: Suite[] = [
  {
    kernel: softmax_xent,
    cases,
    bench,
    tol,
    fill: { logits, labels },
    skipFiniteDifferences:
      "lse has no gradient of its own, and labels out of range give NaN; see gradients.test.ts",
  },
  { kernel: softmax_xent_bwd, cases, bench, tol, fill: { logits, labels, lse: (u) => 2 + 4 * u } },
];
