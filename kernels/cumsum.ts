import {
  acc,
  type Case,
  defineKernel,
  edges,
  flag,
  grid,
  inp,
  linear,
  type Suite,
} from "../core/contract.ts";
import source from "../wgsl/cumsum.wgsl";
import { rowTiles } from "./lib/rows.ts";

/**
 * y (R,C): sums of each row of x (R,C) up to and with each element, from the end under `reverse`, without
 * the element itself under `exclusive`. The same bits every run.
 */
export const cumsum = /* @__PURE__ */ defineKernel({
  name: "cumsum",
  family: "reduction",
  cut: () => ["R"],
  args: [acc("y", "*R C"), inp("x", "*R C")],
  params: { exclusive: flag(), reverse: flag() },
  ref: ({ y, x }, { R, C }, { exclusive, reverse }) => {
    for (let o = 0; o < R * C; o += C) {
      let sum = 0;
      for (let k = 0; k < C; k++) {
        const i = o + (reverse ? C - 1 - k : k);
        y[i] = exclusive ? sum : sum + x[i];
        sum += x[i];
      }
    }
  },
  vjp: (g) => {
    const { exclusive, reverse } = g.p;
    g.to("x", cumsum, [g.d.y], { exclusive, reverse: 1 - reverse });
  },
  cost: ({ R, C }) => ({ flops: R * C, bytes: 8 * R * C }),
  webgpu: [
    {
      name: "workgroup",
      source,
      prefer: ({ R, C }, _p, { software }) => !software && R >= 64 && C > 64,
      grid: ({ R }) => linear(R, 1),
    },
    {
      name: "blocks",
      source,
      when: ({ R, C }) => R * Math.ceil(C / 256) < 33554432,
      prefer: ({ R, C }) => C > 256 && R < 4096,
      grid: ({ R, C }) => linear(R * Math.ceil(C / 256)),
      scratch: ({ R, C }) => 4 * R * Math.ceil(C / 256),
      further: [
        { entry: "cumsum_offsets", grid: ({ R }) => linear(R) },
        { entry: "cumsum_within", grid: ({ R, C }) => linear(R * Math.ceil(C / 256)) },
      ],
    },
    { source, grid: ({ R }) => linear(R) },
  ],
  wasm: rowTiles,
});

const shapes = (): Case[] => [
  ...grid({ R: [[1], [2, 5]], C: [...edges(4), 64, 256, 257, 1300] }),
  { dims: { R: [], C: 5 } },
  { dims: { R: [3], C: 0 } },
  { dims: { R: [0], C: 3 } },
];

export const cumsumSuite: Suite = {
  kernel: cumsum,
  cases: () =>
    [0, 1, 2, 3].flatMap((k) =>
      shapes().map((c) => ({ ...c, params: { exclusive: k & 1, reverse: k >> 1 } })),
    ),
  bench: () => [
    { dims: { R: [1], C: 1 << 20 }, source: "one list of 1 Mi" },
    { dims: { R: [1024], C: 1024 }, source: "rows of 1024" },
  ],
  tol: {
    rel: 1e-5,
    abs: 1e-4,
    why: "each of 1300 additions rounds a partial sum below 40 by 2^-24 of it: √1300 · 40 · 2^-24 = 9e-5",
  },
};
