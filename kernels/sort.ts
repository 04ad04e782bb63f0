import {
  type Case,
  type Dims,
  defineKernel,
  edges,
  type Fill,
  flag,
  grid,
  inp,
  linear,
  out,
  type RefArrays,
  type Suite,
  u32,
} from "../core/contract.ts";
import source from "../wgsl/sort.wgsl";
import { scatter_add_last } from "./gather.ts";

/** The indices of a row in order: stable, with NaN last, or first where `nanFirst` says so. */
function order(row: RefArrays[string], descending: boolean, nanFirst: boolean): number[] {
  const nan = (v: number) => (Number.isNaN(v) ? (nanFirst ? -1 : 1) : 0);
  return Array.from(row, (_, i) => i).sort((i, j) => {
    const [a, b] = [row[i], row[j]];
    return nan(a) - nan(b) || (descending ? b - a : a - b) || 0;
  });
}

// Each element counts those that come before it: C² comparisons, without a limit to C.
const webgpu = [{ source, grid: ({ R, C }: Dims) => linear(R * Math.ceil(C / 64), 1) }];

/**
 * y (R,C) = each row of x (R,C) in ascending order, or `descending`, and index (R,C, i32), the argsort:
 * where an element of y was in x. Stable: equal elements, as 0 and −0 are, keep their order. NaN comes
 * last either way.
 */
export const sort = /* @__PURE__ */ defineKernel({
  name: "sort",
  family: "ordering",
  cut: () => ["R"],
  args: [out("y", "*R C"), out("index", "*R C", "i32"), inp("x", "*R C")],
  params: { descending: flag() },
  ref: ({ y, index, x }, { R, C }, { descending }) => {
    for (let o = 0; o < R * C; o += C)
      order(x.subarray(o, o + C), descending === 1, false).forEach((i, c) => {
        y[o + c] = x[o + i];
        index[o + c] = i;
      });
  },
  vjp: (g) => {
    if (g.d.y) g.to("x", scatter_add_last, [g.d.y, g.out.index], { size: g.dims.C });
  },
  cost: ({ R, C }) => ({ flops: R * C * Math.log2(C + 1), bytes: 12 * R * C }),
  webgpu,
  // Two lists of 8 bytes an element, and how often each byte of a key occurs.
  wasm: { tiles: ({ R }) => R, scratch: ({ C }) => 16 * C + 4096 },
});

/**
 * values (R,k) = the k largest elements of each row of x (R,C), the largest first, and index (R,k, i32):
 * where they are. Of equal ones the lower index comes first; NaN counts as the largest.
 * @throws ShapeError when k > C
 */
export const topk = /* @__PURE__ */ defineKernel({
  name: "topk",
  family: "ordering",
  cut: () => ["R"],
  args: [out("values", "*R K"), out("index", "*R K", "i32"), inp("x", "*R C")],
  params: { k: u32() },
  derive: (d, _runs, p) => {
    d.K = p.k;
  },
  check: ({ C }, { k }) => (k > C ? `k: expected at most C=${C}, got ${k}` : undefined),
  ref: ({ values, index, x }, { R, K, C }) => {
    for (let r = 0; r < R; r++)
      order(x.subarray(r * C, (r + 1) * C), true, true)
        .slice(0, K)
        .forEach((i, k) => {
          values[r * K + k] = x[r * C + i];
          index[r * K + k] = i;
        });
  },
  vjp: (g) => {
    if (g.d.values) g.to("x", scatter_add_last, [g.d.values, g.out.index], { size: g.dims.C });
  },
  cost: ({ R, K, C }) => ({ flops: R * C, bytes: 4 * R * (C + 2 * K) }),
  webgpu,
  wasm: { tiles: ({ R }) => R, scratch: ({ K }) => 8 * K },
});

const shapes = (): Case[] => [
  ...grid({ R: [[1], [2, 3]], C: [...edges(32), 64, 300] }),
  { dims: { R: [], C: 5 } },
  { dims: { R: [2], C: 0 } },
  { dims: { R: [0], C: 4 } },
];
const cases = () =>
  [0, 1].flatMap((d) => shapes().map((c) => ({ ...c, params: { descending: d } })));
const bench = (): Case[] => [
  { dims: { R: [1024], C: 1024 }, source: "rows of 1024" },
  { dims: { R: [1], C: 1 << 16 }, source: "one list of 64 Ki" },
];
/** Ties, zeros of both signs, infinities and NaN among numbers of both signs. */
const x: Fill = (u, i) =>
  i % 5 === 3
    ? Math.floor(4 * u) - 2
    : i % 11 === 4
      ? [0, -0, Infinity, -Infinity, Number.NaN][i % 5]
      : 2 * u - 1;
const tol = { rel: 0, abs: 0 };

export const sortSuites: Suite[] = [
  {
    kernel: sort,
    cases,
    bench,
    tol,
    fill: { x },
    skipFiniteDifferences: "steps where elements are equal; test/gradients.test.ts",
  },
  {
    kernel: topk,
    cases: () =>
      [0, 1, 2, 7, 33].flatMap((k) =>
        [...shapes(), { dims: { R: [1], C: 7 } }]
          .filter(({ dims }) => k <= (dims.C as number))
          .map((c) => ({ dims: { ...c.dims, K: k }, params: { k } })),
      ),
    bench: () => [
      { dims: { R: [1024], K: 8, C: 1024 }, params: { k: 8 }, source: "8 of 1024" },
      {
        dims: { R: [64], K: 50, C: 32_000 },
        params: { k: 50 },
        source: "sampling from 32 k tokens",
      },
    ],
    tol,
    fill: { x },
    skipFiniteDifferences: "steps where elements are equal; test/gradients.test.ts",
  },
];
