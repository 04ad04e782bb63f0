import {
  acc,
  type Case,
  type Dims,
  defineKernel,
  edges,
  grid,
  inout,
  inp,
  out,
  type RefArrays,
  type Suite,
} from "../core/contract.ts";
import source from "../wgsl/softmax_xent.wgsl";
import {
  fewLongRows,
  rowGrid,
  rowTiles,
  runGrid,
  sliceBytes,
  sliceGrid,
  threadRows,
} from "./lib/rows.ts";

/**
 * loss (R) = lse − logits[label] and lse (R) = ln Σ_c e^logits, in nats, from logits (R,C) and labels
 * (R, i32), in one pass over the logits. A label outside 0 … C−1 gives a NaN loss; so does a row with
 * a NaN or +Inf, or of −Inf alone, whose lse is −Inf.
 *
 * Where a second tensor as large as the logits is too much, call it outside of a tape and turn the
 * logits into their gradient with `softmax_xent_bwd_inplace`; what made the logits takes that gradient
 * as its cotangent: `vjp((p) => matmul(h, p.w))({ w }, dlogits)`, or `matmul.into` by hand.
 */
export const softmax_xent = /* @__PURE__ */ defineKernel({
  name: "softmax_xent",
  family: "softmax",
  cut: () => ["R"],
  args: [
    out("loss", "R"),
    out("lse", "R"),
    inp("logits", "R C"),
    inp("labels", "R", "i32", { index: "C" }),
  ],
  ref: ({ loss, lse, logits, labels }, { R, C }) => {
    for (let r = 0; r < R; r++) {
      let m = -Infinity;
      let s = 0;
      for (let c = 0; c < C; c++) m = Math.max(m, logits[r * C + c]);
      for (let c = 0; c < C; c++) s += Math.exp(logits[r * C + c] - m);
      lse[r] = m === -Infinity ? m : m + Math.log(s);
      const label = labels[r];
      loss[r] = label >= 0 && label < C ? lse[r] - logits[r * C + label] : Number.NaN;
    }
  },
  vjp: (g) => {
    // lse is a by-product: its own gradient is not carried.
    if (g.d.loss) g.to("logits", softmax_xent_bwd, [g.d.loss, g.in.logits, g.out.lse, g.in.labels]);
  },
  cost: ({ R, C }) => ({ flops: 16 * R * C, bytes: 4 * (R * C + 3 * R) }),
  webgpu: [
    {
      name: "split",
      source,
      when: ({ C }) => C > 0,
      prefer: fewLongRows,
      grid: sliceGrid,
      scratch: sliceBytes,
      then: [{ entry: "softmax_xent_split_total", grid: rowGrid }],
    },
    threadRows(source),
    { source, grid: rowGrid },
  ],
  wasm: rowTiles,
});

const gradient = (
  dlogits: Float64Array,
  logits: Float64Array,
  { dloss, lse, labels }: RefArrays,
  { R, C }: Dims,
) => {
  for (let i = 0; i < R * C; i++) {
    const r = Math.floor(i / C);
    const label = labels[r];
    const q = Math.exp(logits[i] - lse[r]) - (i % C === label ? 1 : 0);
    dlogits[i] = label >= 0 && label < C ? dloss[r] * q : Number.NaN;
  }
};

/** dlogits (R,C) = dloss (e^(logits − lse) − onehot(label)). Has no VJP. */
export const softmax_xent_bwd = /* @__PURE__ */ defineKernel({
  name: "softmax_xent_bwd",
  family: "softmax",
  cut: () => ["R"],
  args: [
    acc("dlogits", "R C"),
    inp("dloss", "R"),
    inp("logits", "R C"),
    inp("lse", "R"),
    inp("labels", "R", "i32", { index: "C" }),
  ],
  ref: (a, d) => gradient(a.dlogits as Float64Array, a.logits as Float64Array, a, d),
  cost: ({ R, C }) => ({ flops: 14 * R * C, bytes: 4 * (2 * R * C + 3 * R) }),
  webgpu: [{ source, grid: runGrid }],
  wasm: rowTiles,
});

/**
 * The same in place: logits (R,C) become dloss (e^(logits − lse) − onehot(label)), NaN where the label is
 * out of range. For steps without room for a gradient as large as the logits; see `softmax_xent`. Has no
 * VJP, and what a tape recorded of the logits before is spoilt.
 */
export const softmax_xent_bwd_inplace = /* @__PURE__ */ defineKernel({
  name: "softmax_xent_bwd_inplace",
  family: "softmax",
  cut: () => ["R"],
  args: [
    inout("logits", "R C"),
    inp("dloss", "R"),
    inp("lse", "R"),
    inp("labels", "R", "i32", { index: "C" }),
  ],
  ref: (a, d) => gradient(a.logits as Float64Array, a.logits as Float64Array, a, d),
  cost: ({ R, C }) => ({ flops: 14 * R * C, bytes: 4 * (2 * R * C + 3 * R) }),
  webgpu: [{ source, grid: runGrid }],
  wasm: rowTiles,
});

const cases = (): Case[] => [
  ...grid({ R: [1, 3, 9], C: [...edges(4), 10, 64, 65, 130] }),
  { dims: { R: 3, C: 1025 } },
  { dims: { R: 2, C: 4096 } },
  { dims: { R: 9, C: 4112 } },
  { dims: { R: 3, C: 150001 } },
];
const bench = (): Case[] => [
  { dims: { R: 128, C: 10 }, source: "digits, batch 128" },
  { dims: { R: 64, C: 50257 }, source: "GPT-2 vocabulary, 64 tokens" },
  { dims: { R: 8, C: 150001 }, source: "DistiLLM-2: a vocabulary of 150 k, 8 tokens" },
];
// Every seventh label is out of range; finite differences run on those rows' neighbours only.
const labels = (u: number, i: number, { C }: Record<string, number>) =>
  i % 7 === 5 ? (i % 2 ? -1 : C) : Math.floor(u * C);
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
