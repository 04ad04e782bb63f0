import {
  acc,
  type Case,
  choice,
  type Dims,
  defineKernel,
  edges,
  grid,
  inout,
  inp,
  out,
  type Params,
  type RefArrays,
  type Suite,
} from "../core/contract.ts";
import source from "../wgsl/softmax_xent.wgsl";
import {
  fewLongRows,
  rowGrid,
  rowTiles,
  runGrid,
  shortRows,
  sliceBytes,
  sliceGrid,
  threadRows,
} from "./lib/rows.ts";

/** The loss of every row, or their mean. */
const reduction = () => ({ reduction: choice("none", "mean") });
const perLoss = (p: Params): string => (p.reduction === "mean" ? "" : "R");
/** A mean ties all rows together. */
const cutRows = (_d: Dims, p: Params): string[] => (p.reduction === "mean" ? [] : ["R"]);

/**
 * loss (R) = lse − logits[label] and lse (R) = ln Σ_c e^logits, in nats, from logits (R,C) and labels
 * (R, i32), in one pass over the logits. A label outside 0 … C−1 gives a NaN loss; so does a row with
 * a NaN or +Inf, or of −Inf alone, whose lse is −Inf. With reduction "mean" loss () is the mean over the
 * rows, NaN for R = 0, computed by one thread on wasm: for a large vocabulary take the `mean` of the rows.
 *
 * Where a second tensor as large as the logits is too much, call it outside of a tape and turn the
 * logits into their gradient with `softmax_xent_bwd_inplace`; what made the logits takes that gradient
 * as its cotangent: `vjp((p) => matmul(h, p.w))({ w }, dlogits)`, or `matmul.into` by hand.
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
      lse[r] = m === -Infinity ? m : m + Math.log(s);
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
      further: [{ entry: "softmax_xent_f32__mean_of_rows", grid: () => [1] }],
      when: (_d, { reduction }) => reduction === "mean",
    },
    {
      name: "split",
      source,
      when: ({ C }, { reduction }) => C > 0 && reduction === "none",
      prefer: fewLongRows,
      grid: sliceGrid,
      scratch: sliceBytes,
      further: [{ entry: "softmax_xent_split_total", grid: rowGrid }],
    },
    {
      ...threadRows(source),
      when: ({ C }, { reduction }) => C > 0 && C % 16 === 0 && reduction === "none",
    },
    { ...shortRows(source), when: ({ C }, { reduction }) => C <= 1024 && reduction === "none" },
    { source, grid: rowGrid, when: (_d, { reduction }) => reduction === "none" },
  ],
  wasm: { tiles: ({ R }, { reduction }) => (reduction === "mean" ? 1 : Math.ceil(R / 8)) },
});

const gradient = (
  dlogits: Float64Array,
  logits: Float64Array,
  { dloss, lse, labels }: RefArrays,
  { R, C }: Dims,
  { reduction }: Params,
) => {
  for (let i = 0; i < R * C; i++) {
    const r = Math.floor(i / C);
    const label = labels[r];
    const q = Math.exp(logits[i] - lse[r]) - (i % C === label ? 1 : 0);
    const d = reduction === "mean" ? dloss[0] / R : dloss[r];
    dlogits[i] = label >= 0 && label < C ? d * q : Number.NaN;
  }
};

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
  ref: (a, d, p) => gradient(a.dlogits as Float64Array, a.logits as Float64Array, a, d, p),
  cost: ({ R, C }) => ({ flops: 14 * R * C, bytes: 4 * (2 * R * C + 3 * R) }),
  webgpu: [threadRows(source), shortRows(source), { source, grid: runGrid }],
  wasm: rowTiles,
});

/**
 * `softmax_xent_bwd` in place: logits (R,C) become their gradient. For steps without room for a gradient as
 * large as the logits; see `softmax_xent`. Has no VJP, and what a tape recorded of the logits before is spoilt.
 */
export const softmax_xent_bwd_inplace = /* @__PURE__ */ defineKernel({
  name: "softmax_xent_bwd_inplace",
  family: "softmax",
  cut: cutRows,
  args: [
    inout("logits", "R C"),
    inp("dloss", perLoss),
    inp("lse", "R"),
    inp("labels", "R", "i32", { index: "C" }),
  ],
  params: reduction(),
  ref: (a, d, p) => gradient(a.logits as Float64Array, a.logits as Float64Array, a, d, p),
  cost: ({ R, C }) => ({ flops: 14 * R * C, bytes: 4 * (2 * R * C + 3 * R) }),
  webgpu: [shortRows(source), { source, grid: runGrid }],
  wasm: rowTiles,
});

const cases = (): Case[] => [
  ...grid({ R: [1, 3, 9], C: [...edges(4), 10, 64, 65, 130] }),
  { dims: { R: 3, C: 1025 } },
  { dims: { R: 2, C: 4096 } },
  { dims: { R: 9, C: 4112 } },
  { dims: { R: 3, C: 150001 } },
  ...[...grid({ R: [1, 5, 9], C: [1, 10, 130] }), { dims: { R: 130, C: 7 } }].map((c) => ({
    ...c,
    params: { reduction: "mean" },
  })),
];
const bench = (): Case[] => [
  { dims: { R: 128, C: 10 }, source: "digits, batch 128" },
  { dims: { R: 64, C: 50257 }, source: "GPT-2 vocabulary, 64 tokens" },
  { dims: { R: 8, C: 150001 }, source: "DistiLLM-2: a vocabulary of 150 k, 8 tokens" },
];
// Every seventh label of few is out of range; finite differences run on those rows' neighbours only.
const labels = (u: number, i: number, { R, C }: Record<string, number>) =>
  R < 100 && i % 7 === 5 ? (i % 2 ? -1 : C) : Math.floor(u * C);
const tol = { rel: 1e-5, abs: 2e-6 };
const logits = (u: number) => 10 * u - 5;
/** Rows with a NaN, with +Inf and of -Inf alone, where there are nine. */
const hard = (u: number, i: number, { R, C }: Record<string, number>) => {
  const r = R > 8 ? Math.floor(i / C) : -1;
  if (r === 1) return -Infinity;
  if (r === 2 && i % C === C >> 1) return Number.NaN;
  if (r === 3 && i % C === C >> 1) return Number.POSITIVE_INFINITY;
  return i % 29 === 11 ? -Infinity : logits(u);
};

export const softmaxXentSuites: Suite[] = [
  {
    kernel: softmax_xent,
    cases,
    bench,
    tol,
    fill: { logits: hard, labels },
    skipFiniteDifferences:
      "lse has no gradient of its own, and labels out of range give NaN; see gradients.test.ts",
  },
  ...[softmax_xent_bwd, softmax_xent_bwd_inplace].map((kernel) => ({
    kernel,
    cases,
    bench,
    tol,
    fill: { logits, labels, lse: (u: number) => 2 + 4 * u },
  })),
];
