import { acc, type Case, defineKernel, edges, grid, inp, type Suite } from "../core/contract.ts";
import source from "../wgsl/softmax.wgsl";
import { rowGrid, rowTiles } from "./lib/rows.ts";

const webgpu = [{ source, grid: rowGrid }];

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
  webgpu,
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
  webgpu,
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
  webgpu,
  wasm: rowTiles,
});

const cases = (): Case[] => [
  ...grid({ R: [[1], [3], [2, 5]], C: [...edges(4), 63, 64, 65, 130] }),
  { dims: { R: [17], C: 10 } },
];
const bench = (): Case[] => [{ dims: { R: [1024], C: 1024 }, source: "rows of 1024" }];
const tol = { rel: 1e-5, abs: 1e-6 };

export const softmaxSuites: Suite[] = [
  {
    kernel: softmax,
    cases,
    bench,
    tol,
    // The second row of a case with one is all -Inf; elsewhere a few entries are.
    fill: {
      x: (u, i, { R, C }) =>
        (R > 2 && Math.floor(i / C) === 1) || (C > 1 && i % 31 === 30) ? -Infinity : 8 * u - 4,
    },
  },
  { kernel: softmax_bwd, cases, bench, tol },
  {
    kernel: softmax_bwd_bwd_y,
    cases,
    bench,
    tol: { rel: 1e-5, abs: 1e-5, why: "two sums that cancel" },
  },
];
