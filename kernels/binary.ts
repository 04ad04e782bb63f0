import {
  acc,
  type Case,
  type Dims,
  defineKernel,
  edges,
  inp,
  linear,
  type Runs,
  type Suite,
  type Vjp,
} from "../core/contract.ts";
import type { Tensor } from "../core/tensor.ts";
import source from "../wgsl/binary.wgsl";
import { sum_leading } from "./reduce.ts";
import { scale } from "./unary.ts";

/** The longer operand's axes, of which the shorter must be the trailing part. */
function broadcast(d: Dims, runs: Runs, fail: (why: string) => never): void {
  const [long, short] = runs.A.length >= runs.B.length ? [runs.A, runs.B] : [runs.B, runs.A];
  const lead = long.length - short.length;
  if (!short.every((n, i) => n === long[lead + i])) {
    fail(
      `a and b: (${runs.A.join(",")}) and (${runs.B.join(",")}) do not agree in their trailing axes`,
    );
  }
  runs.N = long;
  d.N = long.reduce((n, v) => n * v, 1);
}

const binary = (name: string, f: (a: number, b: number) => number, vjp: (g: Vjp) => void) =>
  defineKernel({
    name,
    family: "elementwise",
    cut: () => ["N A B"],
    args: [acc("y", "*N"), inp("a", "*A"), inp("b", "*B")],
    derive: (d, runs, _p, fail) => broadcast(d, runs, fail),
    ref: ({ y, a, b }, { N, A, B }) => {
      for (let i = 0; i < N; i++) y[i] = f(a[i % A], b[i % B]);
    },
    vjp,
    cost: ({ N, A, B }) => ({ flops: N, bytes: 4 * (N + A + B) }),
    webgpu: [{ source, grid: ({ N }) => linear(N) }],
    wasm: { tiles: ({ N }) => Math.ceil(N / 1024) },
  });

/** Hands `grad` (the shape of y) to an operand, summed over the axes it was broadcast along. */
function give(g: Vjp, operand: "a" | "b", grad: () => Tensor): void {
  if (!g.needs(operand)) return;
  const n = g.in[operand].size;
  const full = grad();
  if (n === full.size) g.pass(operand, full, scale);
  else g.to(operand, sum_leading, [full.reshape([full.size / n, n])]);
}

/** y = a + b, (N) from (A) and (B), the shorter repeated along the longer's leading axes. */
export const add = /* @__PURE__ */ binary(
  "add",
  (a, b) => a + b,
  (g) => {
    give(g, "a", () => g.d.y);
    give(g, "b", () => g.d.y);
  },
);

/** y = a − b, shapes as in `add`. */
export const sub = /* @__PURE__ */ binary(
  "sub",
  (a, b) => a - b,
  (g) => {
    give(g, "a", () => g.d.y);
    give(g, "b", () => scale(g.d.y, { by: -1 }));
  },
);

/** y = a · b elementwise, shapes as in `add`. */
export const mul = /* @__PURE__ */ binary(
  "mul",
  (a, b) => a * b,
  (g) => {
    if (g.in.a.size === g.d.y.size) g.to("a", mul, [g.d.y, g.in.b]);
    else give(g, "a", () => mul(g.d.y, g.in.b));
    if (g.in.b.size === g.d.y.size) g.to("b", mul, [g.d.y, g.in.a]);
    else give(g, "b", () => mul(g.d.y, g.in.a));
  },
);

/** y = a / b elementwise, shapes as in `add`; IEEE results for b = 0. */
export const div = /* @__PURE__ */ binary(
  "div",
  (a, b) => a / b,
  (g) => {
    give(g, "a", () => div(g.d.y, g.in.b));
    // d(a/b)/db = -(a/b)/b, from the inputs so that second derivatives see both.
    give(g, "b", () => scale(div(mul(g.d.y, div(g.in.a, g.in.b)), g.in.b), { by: -1 }));
  },
);

const cases = (): Case[] => [
  ...edges(1024).map((n) => ({ dims: { A: [n], B: [n] } })),
  ...edges(4).map((n) => ({ dims: { A: [3, n], B: [n] } })),
  { dims: { A: [5], B: [2, 3, 5] } },
  { dims: { A: [7, 3], B: [] } },
  { dims: { A: [], B: [2, 9] } },
  { dims: { A: [0], B: [0] } },
  { dims: { A: [33, 65], B: [33, 65] } },
];

const bench = (): Case[] => [
  { dims: { A: [1 << 20], B: [1 << 20] }, source: "elementwise, 1 M" },
  { dims: { A: [128, 784], B: [784] }, source: "bias of a 784-wide layer, batch 128" },
];

const tol = { rel: 1e-6, abs: 1e-7 };
export const binarySuites: Suite[] = [
  { kernel: add, cases, bench, tol },
  { kernel: sub, cases, bench, tol },
  { kernel: mul, cases, bench, tol },
  {
    kernel: div,
    cases,
    bench,
    tol: { rel: 1e-6, abs: 1e-7 },
    fill: { b: (u) => 0.5 + u },
  },
];
