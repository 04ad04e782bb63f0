import {
  acc,
  type Case,
  defineKernel,
  edges,
  grid,
  inp,
  type Suite,
  type WebgpuVariant,
} from "../core/contract.ts";
import source from "../wgsl/softmax.wgsl";
import {
  fewLongRows,
  rowGrid,
  rowTiles,
  shortRows,
  sliceBytes,
  sliceGrid,
  threadRows,
} from "./lib/rows.ts";

const rows = [threadRows(source), shortRows(source), { source, grid: rowGrid }];
/** Few long rows are cut into slices: every thread's share of them, a row's total, the results. */
const split = (put: string): WebgpuVariant[] => [
  {
    name: "split",
    source,
    when: ({ C }) => C > 0,
    prefer: fewLongRows,
    grid: sliceGrid,
    scratch: sliceBytes,
    further: [
      { entry: "softmax_split_total", grid: rowGrid },
      { entry: put, grid: sliceGrid },
    ],
  },
  ...rows,
];

/**
 * y (R,C) = softmax of x (R,C) over the last axis. A row of −Inf alone gives zeros, a row with a NaN
 * gives NaN.
 */
export const softmax = /* @__PURE__ */ defineKernel({
  name: "softmax",
  family: "softmax",
  cut: () => ["R"],
  args: [acc("y", "*R C"), inp("x", "*R C")],
  ref: ({ y, x }, { R, C }) => {
    for (let r = 0; r < R; r++) {
      let m = -Infinity;
      let s = 0;
      for (let c = 0; c < C; c++) m = Math.max(m, x[r * C + c]);
      for (let c = 0; c < C; c++) s += Math.exp(x[r * C + c] - m);
      for (let c = 0; c < C; c++)
        y[r * C + c] = m === -Infinity ? 0 : Math.exp(x[r * C + c] - m) / s;
    }
  },
  vjp: (g) => g.to("x", softmax_bwd, [g.d.y, g.out.y]),
  cost: ({ R, C }) => ({ flops: 28 * R * C, bytes: 8 * R * C }),
  webgpu: split("softmax_split_put"),
  // The exponentials of a row, in whole vectors.
  wasm: { ...rowTiles, scratch: ({ C }) => 16 * Math.ceil(C / 4) },
});

/** dx (R,C) = y (dy − Σ_c dy·y), y the softmax. */
export const softmax_bwd = /* @__PURE__ */ defineKernel({
  name: "softmax_bwd",
  family: "softmax",
  cut: () => ["R"],
  args: [acc("dx", "*R C"), inp("dy", "*R C"), inp("y", "*R C")],
  ref: ({ dx, dy, y }, { R, C }) => {
    for (let r = 0; r < R; r++) {
      let s = 0;
      for (let c = 0; c < C; c++) s += dy[r * C + c] * y[r * C + c];
      for (let c = 0; c < C; c++) dx[r * C + c] = y[r * C + c] * (dy[r * C + c] - s);
    }
  },
  vjp: (g) => {
    // The map dy -> dx is its own transpose.
    g.to("dy", softmax_bwd, [g.d.dx, g.in.y]);
    g.to("y", softmax_bwd_bwd_y, [g.d.dx, g.in.dy, g.in.y]);
  },
  cost: ({ R, C }) => ({ flops: 4 * R * C, bytes: 12 * R * C }),
  webgpu: rows,
  wasm: rowTiles,
});

/**
 * gy (R,C) = u (dy − s) − dy t with s = Σ_c dy·y, t = Σ_c u·y: what `softmax_bwd` owes to y, u the
 * cotangent of dx. Has no VJP: third derivatives stop here.
 */
export const softmax_bwd_bwd_y = /* @__PURE__ */ defineKernel({
  name: "softmax_bwd_bwd_y",
  family: "softmax",
  cut: () => ["R"],
  args: [acc("gy", "*R C"), inp("u", "*R C"), inp("dy", "*R C"), inp("y", "*R C")],
  ref: ({ gy, u, dy, y }, { R, C }) => {
    for (let r = 0; r < R; r++) {
      let s = 0;
      let t = 0;
      for (let i = r * C; i < (r + 1) * C; i++) {
        s += dy[i] * y[i];
        t += u[i] * y[i];
      }
      for (let i = r * C; i < (r + 1) * C; i++) gy[i] = u[i] * (dy[i] - s) - dy[i] * t;
    }
  },
  cost: ({ R, C }) => ({ flops: 8 * R * C, bytes: 16 * R * C }),
  webgpu: rows,
  wasm: rowTiles,
});

/**
 * y (R,C) = x − ln Σ_c e^x over the last axis of x (R,C). A row of −Inf alone gives −Inf, a row with a
 * NaN or +Inf gives NaN.
 */
export const log_softmax = /* @__PURE__ */ defineKernel({
  name: "log_softmax",
  family: "softmax",
  cut: () => ["R"],
  args: [acc("y", "*R C"), inp("x", "*R C")],
  ref: ({ y, x }, { R, C }) => {
    for (let r = 0; r < R; r++) {
      let m = -Infinity;
      let s = 0;
      for (let c = 0; c < C; c++) m = Math.max(m, x[r * C + c]);
      for (let c = 0; c < C; c++) s += Math.exp(x[r * C + c] - m);
      const lse = m === -Infinity ? 0 : m + Math.log(s);
      for (let c = 0; c < C; c++) y[r * C + c] = x[r * C + c] - lse;
    }
  },
  vjp: (g) => g.to("x", log_softmax_bwd, [g.d.y, g.out.y]),
  cost: ({ R, C }) => ({ flops: 16 * R * C, bytes: 8 * R * C }),
  webgpu: split("log_softmax_split_put"),
  wasm: rowTiles,
});

/** dx (R,C) = dy − e^y Σ_c dy, y the log-softmax. Has no VJP. */
export const log_softmax_bwd = /* @__PURE__ */ defineKernel({
  name: "log_softmax_bwd",
  family: "softmax",
  cut: () => ["R"],
  args: [acc("dx", "*R C"), inp("dy", "*R C"), inp("y", "*R C")],
  ref: ({ dx, dy, y }, { R, C }) => {
    for (let r = 0; r < R; r++) {
      let s = 0;
      for (let c = 0; c < C; c++) s += dy[r * C + c];
      for (let c = 0; c < C; c++) dx[r * C + c] = dy[r * C + c] - Math.exp(y[r * C + c]) * s;
    }
  },
  cost: ({ R, C }) => ({ flops: 15 * R * C, bytes: 12 * R * C }),
  webgpu: rows,
  wasm: rowTiles,
});

/** A NaN and a +Inf in rows of their own, a row of -Inf where there are three, some -Inf elsewhere. */
const hard = (u: number, i: number, { R, C }: Record<string, number>) => {
  const r = Math.floor(i / C);
  if (R > 2 && r === 1) return -Infinity;
  if (R > 8 && i === 5 * C + (C >> 1)) return Number.NaN;
  if (R > 8 && i === 6 * C + (C >> 1)) return Infinity;
  return C > 1 && i % 31 === 30 ? -Infinity : 8 * u - 4;
};

const cases = (): Case[] => [
  ...grid({ R: [[1], [3], [2, 5]], C: [...edges(4), 63, 64, 65, 130] }),
  { dims: { R: [17], C: 10 } },
  { dims: { R: [9], C: 96 } },
];
/** On the edges of a slice, of its rounds and of a vocabulary. */
const long = (): Case[] => [
  ...cases(),
  { dims: { R: [2], C: 1023 } },
  { dims: { R: [3], C: 4096 } },
  { dims: { R: [2], C: 4097 } },
  { dims: { R: [1], C: 50257 } },
];
const bench = (): Case[] => [
  { dims: { R: [1024], C: 1024 }, source: "rows of 1024" },
  { dims: { R: [1024], C: 10 }, source: "digits, batch 1024" },
];
const tol = { rel: 1e-5, abs: 1e-6 };

export const softmaxSuites: Suite[] = [
  {
    kernel: softmax,
    cases: long,
    bench: () => [...bench(), { dims: { R: [8], C: 50257 }, source: "GPT-2 vocabulary, 8 tokens" }],
    tol,
    fill: { x: hard },
  },
  { kernel: log_softmax, cases: long, bench, tol, fill: { x: hard } },
  { kernel: log_softmax_bwd, cases, bench, tol, fill: { y: (u) => -6 * u } },
  { kernel: softmax_bwd, cases, bench, tol },
  {
    kernel: softmax_bwd_bwd_y,
    cases,
    bench,
    tol: { rel: 1e-5, abs: 1e-5, why: "two sums that cancel" },
  },
];
