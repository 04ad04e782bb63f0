import {
  acc,
  type Case,
  choice,
  type Dims,
  defineKernel,
  edges,
  type Fill,
  grid,
  inp,
  linear,
  type Suite,
  u32,
  type WebgpuPass,
  type WebgpuVariant,
} from "../core/contract.ts";
import source from "../wgsl/gather.wgsl";
import { mergeSteps, merges } from "./lib/merge.ts";
import { rowTiles } from "./lib/rows.ts";

/** A thread an element of y (N,D), or four. */
const wholeRows: WebgpuVariant[] = [
  {
    name: "vec4",
    source,
    when: ({ D }) => D % 4 === 0,
    grid: ({ N, D }) => linear((N * D) / 4),
  },
  { source, grid: ({ N, D }) => linear(N * D) },
];

/**
 * y (N,D) = x[index[n]], rows of x (V,D) picked by index (N, i32). An index outside 0 … V−1 gives a
 * row of NaN, or of zeros when `outside` says so: padding.
 */
export const gather = /* @__PURE__ */ defineKernel({
  name: "gather",
  family: "indexing",
  cut: () => ["N", "D"],
  args: [acc("y", "*N D"), inp("x", "V D"), inp("index", "*N", "i32", { index: "V" })],
  params: { outside: choice("nan", "zero") },
  ref: ({ y, x, index }, { N, D, V }, { outside }) => {
    const other = outside === "zero" ? 0 : Number.NaN;
    for (let n = 0; n < N; n++) {
      const v = index[n];
      for (let c = 0; c < D; c++) y[n * D + c] = v >= 0 && v < V ? x[v * D + c] : other;
    }
  },
  vjp: (g) => g.to("x", scatter_add, [g.d.y, g.in.index], { size: g.dims.V }),
  cost: ({ N, D }) => ({ flops: 0, bytes: 4 * N * (2 * D + 1) }),
  webgpu: wholeRows,
  wasm: { tiles: ({ N }) => Math.ceil(N / 64) },
});

/**
 * y (N,D) = Σ_k x[index[n,k]], sums of rows of x (V,D) picked by index (N,K, i32): PyTorch's `EmbeddingBag`
 * with mode "sum". Terms are added in the order of k on every backend; K = 0 gives zeros. An index outside
 * 0 … V−1 gives a row of NaN, or adds nothing when `outside` is "zero": bags of different length are padded.
 */
export const embedding_bag = /* @__PURE__ */ defineKernel({
  name: "embedding_bag",
  family: "indexing",
  cut: () => ["N", "D"],
  args: [acc("y", "*N D"), inp("x", "V D"), inp("index", "*N K", "i32", { index: "V" })],
  params: { outside: choice("nan", "zero") },
  ref: ({ y, x, index }, { N, D, V, K }, { outside }) => {
    const other = outside === "zero" ? 0 : Number.NaN;
    for (let i = 0; i < N * K; i++) {
      const v = index[i];
      const to = Math.floor(i / K) * D;
      for (let c = 0; c < D; c++) y[to + c] += v >= 0 && v < V ? x[v * D + c] : other;
    }
  },
  vjp: (g) => g.to("x", scatter_add, [g.d.y, g.in.index], { size: g.dims.V }),
  cost: ({ N, D, K }) => ({ flops: N * D * K, bytes: 4 * N * (K * (D + 1) + D) }),
  webgpu: wholeRows,
  wasm: { tiles: ({ N }) => Math.ceil(N / 8) },
});

/** So many entries are looked through by each element. */
const FEW = 16;

// WebGPU sorts entries in blocks of 8, merges them, and adds up runs: 8 << 9 is 4096, 8 << 21 is 2^24, what
// scratch holds within the limit of a binding.
const sorted = { name: "sorted", source } as const;
const sortAll = {
  grid: ({ E }: Dims) => linear(Math.ceil(E / 8)),
  scratch: ({ E }: Dims) => 8 * E + 8,
};
const mergeAll = mergeSteps("scatter", ({ E }) => linear(Math.ceil(E / 16)));
const sumAll: WebgpuPass[] = [
  { entry: "scatter_start", grid: ({ V, D }) => linear(V * D, 512) },
  { entry: "scatter_sum", grid: ({ E, D }) => linear(E * D) },
];
const sortRows = {
  consts: { LAST: 1 },
  grid: ({ R, K }: Dims) => linear(R * Math.ceil(K / 8)),
  scratch: ({ R, K }: Dims) => 8 * R * K + 8,
};
const mergeRows = mergeSteps("scatter", ({ R, K }) => linear(R * Math.ceil(K / 16)));
const sumRows: WebgpuPass[] = [
  { entry: "scatter_start", grid: ({ R, C }) => linear(R * C, 512) },
  { entry: "scatter_sum", grid: ({ R, K }) => linear(R * K) },
];

/**
 * y (V,D): y[index[n]] += x[n] for x (N,D) and index (N, i32), or y[index[n,k]] += x[n] for index (N,K);
 * `size` = V. Rows that no index names are 0. Entries with an index outside 0 … V−1 are left out. Terms are
 * added in the order of the entries on every backend, so that the result does not depend on the number of
 * threads.
 * @throws ShapeError when index has neither the leading axes of x, nor those and one more, nor both as one axis
 */
export const scatter_add = /* @__PURE__ */ defineKernel({
  name: "scatter_add",
  family: "indexing",
  cut: () => ["D"],
  args: [acc("y", "V D"), inp("x", "*N D"), inp("index", "*E", "i32", { index: "V" })],
  params: { size: u32() },
  derive: (d, { N, E }, p, fail) => {
    d.V = p.size;
    const each = N.every((n, i) => n === E[i]) && E.length <= N.length + 1;
    // where runs are one axis
    const flat = N.length === 1 && E.length === 1 && E[0] % N[0] === 0;
    if (!each && !flat)
      fail(`index: expected (${N.join(",")}) or (${[...N, "K"].join(",")}), got (${E.join(",")})`);
  },
  ref: ({ y, x, index }, { N, D, V, E }) => {
    for (let i = 0; i < E; i++) {
      const v = index[i];
      const from = Math.floor(i / (E / N)) * D;
      if (v >= 0 && v < V) for (let c = 0; c < D; c++) y[v * D + c] += x[from + c];
    }
  },
  vjp: (g) => {
    const { x, index } = g.in;
    const rows = x.shape.slice(0, -1);
    const { N, E } = g.dims;
    if (index.shape.length === rows.length && E === N)
      g.to("x", gather, [g.d.y, index], { outside: "zero" });
    else
      g.to("x", embedding_bag, [g.d.y, index.reshape([...rows, E / Math.max(N, 1)])], {
        outside: "zero",
      });
  },
  cost: ({ N, D, V, E }) => ({ flops: E * D, bytes: 4 * (N * D + E + V * D) }),
  webgpu: [
    {
      name: "columns",
      source,
      prefer: ({ E, D }, _p, c) => c.software && E > FEW && D >= 8,
      grid: ({ D }) => linear(D),
    },
    {
      ...sorted,
      ...sortAll,
      when: ({ E }) => E <= 4096,
      prefer: ({ E }) => E > FEW,
      further: [...merges(9, mergeAll), ...sumAll],
    },
    {
      ...sorted,
      ...sortAll,
      when: ({ E }) => E < 16777216,
      prefer: ({ E }) => E > FEW,
      further: [...merges(21, mergeAll), ...sumAll],
    },
    { source, grid: ({ V, D }) => linear(V * D) },
  ],
  // Threads own rows of y: each reads all of index, and adds what is theirs.
  wasm: { tiles: ({ V }) => Math.ceil(V / 64) },
});

/**
 * y (R,K) = x[r, index[r,k]], elements of each row of x (R,C) picked by index (R,K, i32), such as `sort`
 * and `topk` give. An index outside 0 … C−1 gives NaN, or 0 when `outside` says so.
 */
export const gather_last = /* @__PURE__ */ defineKernel({
  name: "gather_last",
  family: "indexing",
  cut: () => ["R"],
  args: [acc("y", "*R K"), inp("x", "*R C"), inp("index", "*R K", "i32", { index: "C" })],
  params: { outside: choice("nan", "zero") },
  ref: ({ y, x, index }, { R, K, C }, { outside }) => {
    const other = outside === "zero" ? 0 : Number.NaN;
    for (let i = 0; i < R * K; i++) {
      const c = index[i];
      y[i] = c >= 0 && c < C ? x[Math.floor(i / K) * C + c] : other;
    }
  },
  vjp: (g) => g.to("x", scatter_add_last, [g.d.y, g.in.index], { size: g.dims.C }),
  cost: ({ R, K }) => ({ flops: 0, bytes: 12 * R * K }),
  webgpu: [{ source, grid: ({ R, K }) => linear(R * K) }],
  wasm: rowTiles,
});

/**
 * y (R,C): y[r, index[r,k]] += x[r,k] for x (R,K) and index (R,K, i32), `size` = C; elements that no
 * index names are 0. An index outside 0 … C−1 is left out. Terms are added in the order of k on every
 * backend.
 */
export const scatter_add_last = /* @__PURE__ */ defineKernel({
  name: "scatter_add_last",
  family: "indexing",
  cut: () => ["R"],
  args: [acc("y", "*R C"), inp("x", "*R K"), inp("index", "*R K", "i32", { index: "C" })],
  params: { size: u32() },
  // the words of scatter_add, whose passes these are
  extents: ["E"],
  derive: (d, _runs, p) => {
    d.C = p.size;
    d.E = d.K;
  },
  ref: ({ y, x, index }, { R, C, K }) => {
    for (let i = 0; i < R * K; i++) {
      const c = index[i];
      if (c >= 0 && c < C) y[Math.floor(i / K) * C + c] += x[i];
    }
  },
  vjp: (g) => g.to("x", gather_last, [g.d.y, g.in.index], { outside: "zero" }),
  cost: ({ R, C, K }) => ({ flops: R * K, bytes: 4 * R * (C + 2 * K) }),
  webgpu: [
    {
      ...sorted,
      ...sortRows,
      when: ({ R, K }) => K <= 4096 && R * K < 16777216,
      prefer: ({ K }) => K > FEW,
      further: [...merges(9, mergeRows), ...sumRows],
    },
    {
      ...sorted,
      ...sortRows,
      when: ({ R, K }) => R * K < 16777216,
      prefer: ({ K }) => K > FEW,
      further: [...merges(21, mergeRows), ...sumRows],
    },
    { source, grid: ({ R, C }) => linear(R * C) },
  ],
  wasm: rowTiles,
});

const cases = (): Case[] => [
  ...grid({ N: [[1], [5], [2, 9], [65]], D: edges(4), V: [1, 7] }),
  { dims: { N: [40], D: 3, V: 131 } },
  { dims: { N: [300], D: 5, V: 128 } },
  { dims: { N: [4100], D: 2, V: 1009 } },
];
const withSize = (from: () => Case[]) => () =>
  from().map((c) => ({
    ...c,
    dims: { E: c.dims.N, ...c.dims },
    params: { size: c.dims.V as number },
  }));
/** Bags of K entries. */
const bags = (): Case[] => [
  ...grid({ N: [[1], [2, 9]], D: [...edges(4), 16, 36], V: [7], K: [1, 5] }),
  { dims: { N: [40], D: 3, V: 131, K: 2 } },
  { dims: { N: [2], D: 4, V: 3, K: 0 } },
  { dims: { N: [300], D: 8, V: 1009, K: 14 } },
];
const bagBench = (): Case[] => [
  { dims: { N: [128], D: 64, V: 256, K: 8 }, source: "prompts of 8 tokens, batch 128" },
  { dims: { N: [512], D: 64, V: 20_000, K: 32 }, source: "texts of 32 words, batch 512" },
];
/** The same as entries of scatter_add. */
const spread = (from: () => Case[]) => (): Case[] =>
  from().map(({ dims: { K, ...dims }, ...c }) => ({
    ...c,
    dims: { ...dims, E: [...(dims.N as number[]), K as number] },
  }));
const bench = (): Case[] => [
  { dims: { N: [1024], D: 768, V: 50257 }, source: "GPT-2 token embedding, 1024 tokens" },
  { dims: { N: [4096], D: 64, V: 50257 }, source: "4096 tokens, 64 columns" },
  { dims: { N: [8 * 64 * 25], D: 16, V: 8 * 144 }, source: "5×5 patches of 12×12×16, batch 8" },
];
const tol = { rel: 1e-6, abs: 1e-6 };
/** Of 64 terms about 1 that cancel. */
const sums = { rel: 1e-6, abs: 1e-5 };

const lastCases = (): Case[] => [
  ...grid({ R: [[1], [3, 3]], K: [1, 5, 130], C: [1, 66] }),
  { dims: { R: [], K: 4, C: 7 } },
  { dims: { R: [2], K: 0, C: 3 } },
  { dims: { R: [2], K: 4099, C: 1031 } },
];
const lastBench = (): Case[] => [
  { dims: { R: [1024], K: 8, C: 1024 }, source: "the 8 largest of 1024" },
];
const lastWithSize = (from: () => Case[]) => () =>
  from().map((c) => ({ ...c, params: { size: c.dims.C as number } }));

/** Every seventh index is outside. */
const within = (u: number, i: number, n: number) =>
  i % 7 === 6 ? (i % 2 ? n : -1) : Math.floor(u * n);
const index: Fill = (u, i, { V }) => within(u, i, V);
const lastIndex: Fill = (u, i, { C }) => within(u, i, C);

export const gatherSuites: Suite[] = [
  {
    kernel: gather,
    cases: () => [
      ...cases().map((c) => ({ ...c, params: { outside: "zero" } })),
      ...cases().slice(-9),
    ],
    bench,
    tol,
    fill: { index },
    skipFiniteDifferences: "an index outside gives NaN; test/gradients.test.ts",
  },
  {
    kernel: embedding_bag,
    cases: () => [
      ...bags().map((c) => ({ ...c, params: { outside: "zero" } })),
      ...bags().slice(-3),
    ],
    bench: bagBench,
    tol: sums,
    fill: { index },
    skipFiniteDifferences: "an index outside gives NaN; test/gradients.test.ts",
  },
  {
    kernel: scatter_add,
    cases: withSize(() => [...cases(), ...spread(bags)()]),
    bench: withSize(() => [...bench(), ...spread(bagBench)()]),
    tol,
    fill: { index },
  },
  {
    kernel: gather_last,
    cases: () => [
      ...lastCases().map((c) => ({ ...c, params: { outside: "zero" } })),
      ...lastCases().slice(-3),
    ],
    bench: lastBench,
    tol,
    fill: { index: lastIndex },
    skipFiniteDifferences: "an index outside gives NaN; test/gradients.test.ts",
  },
  {
    kernel: scatter_add_last,
    cases: lastWithSize(lastCases),
    bench: lastWithSize(lastBench),
    tol,
    fill: { index: lastIndex },
  },
];
