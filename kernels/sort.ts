import { defineKernel, flag, inp, linear, out, type Suite } from "../core/contract.ts";
import source from "../wgsl/sort.wgsl";
import { scatter_add_last } from "./gather.ts";
import { mergeSteps, merges } from "./lib/merge.ts";
import { exact, order, orderCases, orderFill, steps } from "./lib/order.ts";

const merge = mergeSteps("sort", ({ R, C }) => linear(R * Math.ceil(C / 16)));

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
  // Merges make blocks of 8 (1024) into one list of 2^25, as many elements as a tensor can be bound with.
  webgpu: [
    {
      name: "workgroup",
      source,
      consts: { BLOCK: 1024 },
      prefer: (_d, _p, { software }) => !software,
      grid: ({ R, C }) => linear(R * Math.ceil(C / 1024), 1),
      scratch: ({ R, C }) => 4 * R * C + 8,
      further: [
        ...merges(15, merge),
        {
          entry: "sort_take",
          grid: ({ R, C }) => linear(R * C),
        },
      ],
    },
    {
      source,
      when: ({ C }) => C <= 2048,
      grid: ({ R, C }) => linear(R * Math.ceil(C / 8)),
      scratch: ({ R, C }) => 4 * R * C + 8,
      further: [...merges(8, merge), { entry: "sort_take", grid: ({ R, C }) => linear(R * C) }],
    },
    {
      source,
      grid: ({ R, C }) => linear(R * Math.ceil(C / 8)),
      scratch: ({ R, C }) => 4 * R * C + 8,
      further: [...merges(22, merge), { entry: "sort_take", grid: ({ R, C }) => linear(R * C) }],
    },
  ],
  // Two lists of 8 bytes an element, and how often each byte of a key occurs.
  wasm: { tiles: ({ R }) => R, scratch: ({ C }) => 16 * C + 4096 },
});

export const sortSuite: Suite = {
  kernel: sort,
  cases: () =>
    [0, 1].flatMap((d) => orderCases().map((c) => ({ ...c, params: { descending: d } }))),
  bench: () => [
    { dims: { R: [1024], C: 1024 }, source: "rows of 1024" },
    { dims: { R: [1], C: 1 << 16 }, source: "one list of 64 Ki" },
    { dims: { R: [1], C: 1 << 20 }, source: "one list of 1 Mi" },
  ],
  tol: exact,
  fill: { x: orderFill },
  skipFiniteDifferences: steps,
};
