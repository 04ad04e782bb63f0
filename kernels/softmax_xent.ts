import {
  acc,
  type Case,
  defineKernel,
  edges,
  grid,
  inp,
  linear,
  out,
  type Suite,
} from "../core/contract.ts";
import source from "../wgsl/softmax_xent.wgsl";
import { rowGrid, rowTiles } from "./lib/rows.ts";

/**
 * loss (R) = lse − logits[label] and lse (R) = ln Σ_c e^logits, in nats, from logits (R,C) and labels
 * (R, i32). A label outside 0 … C−1 gives a NaN loss.
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
      lse[r] = m + Math.log(s);
      const label = labels[r];
      loss[r] = label >= 0 && label < C ? lse[r] - logits[r * C + label] : Number.NaN;
    }
  },
  vjp: (g) => {
    // lse is a by-product: its own gradient is not carried.
    if (g.d.loss) g.to("logits", softmax_xent_bwd, [g.d.loss, g.in.logits, g.out.lse, g.in.labels]);
  },
  cost: ({ R, C }) => ({ flops: 16 * R * C, bytes: 4 * (R * C + 3 * R) }),
  webgpu: [{ source, grid: rowGrid }],
  wasm: rowTiles,
});

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
  ref: ({ dlogits, dloss, logits, lse, labels }, { R, C }) => {
    for (let i = 0; i < R * C; i++) {
      const r = Math.floor(i / C);
      const label = labels[r];
      const q = Math.exp(logits[i] - lse[r]) - (i % C === label ? 1 : 0);
      dlogits[i] = label >= 0 && label < C ? dloss[r] * q : Number.NaN;
    }
  },
  cost: ({ R, C }) => ({ flops: 14 * R * C, bytes: 4 * (2 * R * C + 3 * R) }),
  webgpu: [{ source, grid: ({ R, C }) => linear(R * C) }],
  wasm: rowTiles,
});

const cases = (): Case[] => [...grid({ R: [1, 3, 9], C: [...edges(4), 10, 64, 65, 130] })];
const bench = (): Case[] => [
  { dims: { R: 128, C: 10 }, source: "digits, batch 128" },
  { dims: { R: 64, C: 50257 }, source: "GPT-2 vocabulary, 64 tokens" },
];
// Every seventh label is out of range; finite differences run on those rows' neighbours only.
const labels = (u: number, i: number, { C }: Record<string, number>) =>
  i % 7 === 5 ? (i % 2 ? -1 : C) : Math.floor(u * C);
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
