import {
  acc,
  type Case,
  type Dims,
  defineKernel,
  edges,
  grid,
  inp,
  linear,
  type Suite,
  u32,
  type Vjp,
} from "../core/contract.ts";
import source from "../wgsl/reduce.wgsl";
import { mul } from "./binary.ts";
import { rowGrid, shortRows, threadRows } from "./lib/rows.ts";
import { scale } from "./unary.ts";

const ROWS = 8;
const COLUMNS = 64;

const rows = (
  name: string,
  reduce: (row: ArrayLike<number>) => number,
  flops: number,
  vjp?: (g: Vjp) => void,
) =>
  defineKernel({
    name,
    family: "reduction",
    cut: () => ["R"],
    args: [acc("y", "*R"), inp("x", "*R C")],
    ref: ({ y, x }, { R, C }) => {
      for (let r = 0; r < R; r++) y[r] = reduce(x.subarray(r * C, (r + 1) * C));
    },
    ...(vjp ? { vjp } : {}),
    cost: ({ R, C }) => ({ flops: flops * R * C, bytes: 4 * (R * C + R) }),
    webgpu: [threadRows(source), shortRows(source), { source, grid: rowGrid }],
    wasm: { tiles: ({ R }) => Math.ceil(R / ROWS) },
  });

const total = (row: ArrayLike<number>): number => {
  let s = 0;
  for (let i = 0; i < row.length; i++) s += row[i];
  return s;
};

/** y (R) = Σ_c x (R, C), over the last axis; 0 for C = 0. */
export const sum = /* @__PURE__ */ rows("sum", total, 1, (g) =>
  g.to("x", expand, [g.d.y], { size: g.dims.C }),
);

/** y (R) = mean of x (R, C) over the last axis; NaN for C = 0. */
export const mean = /* @__PURE__ */ rows(
  "mean",
  (r) => total(r) / r.length,
  1,
  (g) => {
    if (g.needs("x")) g.to("x", expand, [scale(g.d.y, { by: 1 / g.dims.C })], { size: g.dims.C });
  },
);

/** y (R) = Σ_c x² (R, C), over the last axis. */
export const sum_squares = /* @__PURE__ */ rows(
  "sum_squares",
  (r) => total(Array.from(r, (v) => v * v)),
  2,
  (g) => {
    if (!g.needs("x")) return;
    g.to("x", mul, [expand(scale(g.d.y, { by: 2 }), { size: g.dims.C }), g.in.x]);
  },
);

/** y (R) = max of x (R, C) over the last axis; NaN if any is NaN, C >= 1. Has no VJP. */
export const max = /* @__PURE__ */ rows("max", (r) => Math.max(...Array.from(r)), 1);

/** y (S) = Σ_l x (L, S): sums over the leading axis. */
export const sum_leading = /* @__PURE__ */ defineKernel({
  name: "sum_leading",
  family: "reduction",
  cut: () => ["L", "S"],
  args: [acc("y", "S"), inp("x", "L S")],
  ref: ({ y, x }, { L, S }) => {
    for (let l = 0; l < L; l++) for (let s = 0; s < S; s++) y[s] += x[l * S + s];
  },
  vjp: (g) => g.to("x", expand_leading, [g.d.y], { size: g.dims.L }),
  cost: ({ L, S }) => ({ flops: L * S, bytes: 4 * (L * S + S) }),
  webgpu: [
    {
      name: "split",
      source,
      // Where a thread a column would leave most of a GPU idle.
      prefer: ({ L }, _p, c) => !c.software && L >= 256,
      grid: ({ L, S }) => linear(S * Math.ceil(L / 64)),
      scratch: ({ L, S }) => 4 * S * Math.max(1, Math.ceil(L / 64)),
      further: [{ entry: "sum_leading_f32__sum", grid: ({ S }) => linear(S) }],
    },
    { source, grid: ({ S }) => linear(S) },
  ],
  wasm: { tiles: ({ S }) => Math.ceil(S / COLUMNS) },
});

/** y (R, C) = x (R) repeated `size` = C times along a new last axis. */
export const expand = /* @__PURE__ */ defineKernel({
  name: "expand",
  family: "reduction",
  cut: () => ["R"],
  args: [acc("y", "*R C"), inp("x", "*R")],
  params: { size: u32() },
  derive: (d, _runs, p) => {
    d.C = p.size;
  },
  ref: ({ y, x }, { R, C }) => {
    for (let i = 0; i < R * C; i++) y[i] = x[Math.floor(i / C)];
  },
  vjp: (g) => g.to("x", sum, [g.d.y]),
  cost: ({ R, C }) => ({ flops: 0, bytes: 4 * (R * C + R) }),
  webgpu: [{ source, grid: ({ R, C }) => linear(R * C) }],
  wasm: { tiles: ({ R }) => Math.ceil(R / ROWS) },
});

/** y (L, S) = x (S) repeated `size` = L times along a new leading axis. */
export const expand_leading = /* @__PURE__ */ defineKernel({
  name: "expand_leading",
  family: "reduction",
  cut: () => ["L", "S"],
  part: (p, along, _start, n) => (along === "L" ? { ...p, size: n } : p),
  args: [acc("y", "L S"), inp("x", "S")],
  params: { size: u32() },
  derive: (d, _runs, p) => {
    d.L = p.size;
  },
  ref: ({ y, x }, { L, S }) => {
    for (let i = 0; i < L * S; i++) y[i] = x[i % S];
  },
  vjp: (g) => g.to("x", sum_leading, [g.d.y]),
  cost: ({ L, S }) => ({ flops: 0, bytes: 4 * (L * S + S) }),
  webgpu: [{ source, grid: ({ L, S }) => linear(L * S) }],
  wasm: { tiles: ({ L }) => L },
});

const cases = (): Case[] => [
  ...grid({ R: [[1], [3], [2, 4], []], C: edges(16) }),
  { dims: { R: [1], C: 9001 } },
  { dims: { R: [70], C: 64 } },
  { dims: { R: [9], C: 1040 } },
];
const bench = (): Case[] => [
  { dims: { R: [1024], C: 1024 }, source: "rows of 1024" },
  { dims: { R: [1], C: 1 << 20 }, source: "norm of a slab of 1 M" },
];
const tol = { rel: 1e-5, abs: 1e-5 };
const rowSuite = (kernel: Suite["kernel"]): Suite => ({ kernel, cases, bench, tol });
const leading = (): Case[] => [
  ...grid({ L: [1, 5, 300], S: edges(4) }),
  { dims: { L: 7, S: 131 } },
];
const tall = (): Case[] => [
  { dims: { L: 128, S: 784 }, source: "bias gradient of 784-256-128-10, batch 128" },
];
const withSize = (from: () => Case[], letter: string) => () =>
  from().map((c: Case) => ({ ...c, params: { size: (c.dims as Dims)[letter] } }));

export const reduceSuites: Suite[] = [
  rowSuite(sum),
  rowSuite(mean),
  rowSuite(sum_squares),
  // A NaN in the sixth of nine rows or more.
  {
    ...rowSuite(max),
    fill: { x: (u, i, { R, C }) => (R > 8 && i === 5 * C + (C >> 1) ? Number.NaN : 2 * u - 1) },
  },
  { kernel: sum_leading, cases: leading, bench: tall, tol },
  { kernel: expand, cases: withSize(cases, "C"), bench: withSize(bench, "C"), tol },
  { kernel: expand_leading, cases: withSize(leading, "L"), bench: withSize(tall, "L"), tol },
];
