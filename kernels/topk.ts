import {
  defineKernel,
  inp,
  linear,
  out,
  type Suite,
  u32,
  type WebgpuPass,
} from "../core/contract.ts";
import source from "../wgsl/topk.wgsl";
import { scatter_add_last } from "./gather.ts";
import { mergeSteps, merges } from "./lib/merge.ts";
import { exact, order, orderCases, orderFill, steps } from "./lib/order.ts";

const merge = mergeSteps("topk", ({ R, C }) => linear(R * Math.ceil(C / 16)));
const count: WebgpuPass = {
  entry: "topk_count",
  grid: ({ R, C }) => linear(R * Math.ceil(C / 1024), 1),
};
const pick: WebgpuPass = { entry: "topk_pick", grid: ({ R }) => linear(R) };

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
  webgpu: [
    { name: "short", source, prefer: ({ C }) => C <= 128, grid: ({ R, C }) => linear(R * C) },
    {
      name: "sorted",
      source,
      when: ({ R, C }) => R * C < 16777216,
      // The k put in order by comparing all pairs cost k² a row.
      prefer: ({ K }) => K > 1024,
      grid: ({ R, C }) => linear(R * Math.ceil(C / 8)),
      scratch: ({ R, C }) => 8 * R * C + 8,
      further: [
        ...merges(21, merge),
        {
          entry: "topk_take_sorted",
          grid: ({ R, K }) => linear(R * K),
        },
      ],
    },
    {
      source,
      grid: ({ R }) => linear(R * 260),
      scratch: ({ R, C }) => 4 * R * (260 + Math.ceil(C / 256)),
      further: [
        ...[count, pick, count, pick, count, pick, count, pick],
        { entry: "topk_tally", grid: ({ R, C }) => linear(R * Math.ceil(C / 256)) },
        { entry: "topk_collect", grid: ({ R, C }) => linear(R * Math.ceil(C / 256)) },
        { entry: "topk_rank", grid: ({ R, K }) => linear(R * K) },
        { entry: "topk_take", grid: ({ R, K }) => linear(R * K) },
      ],
    },
  ],
  wasm: { tiles: ({ R }) => R, scratch: ({ K }) => 8 * K },
});

export const topkSuite: Suite = {
  kernel: topk,
  cases: () =>
    [0, 1, 2, 7, 33].flatMap((k) =>
      [...orderCases(), { dims: { R: [1], C: 7 } }]
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
    {
      dims: { R: [1], K: 50, C: 151_936 },
      params: { k: 50 },
      source: "a token of Qwen's vocabulary",
    },
  ],
  tol: exact,
  fill: { x: orderFill },
  skipFiniteDifferences: steps,
};
