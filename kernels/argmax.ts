import {
  type Case,
  type Dims,
  defineKernel,
  inp,
  linear,
  out,
  type Suite,
} from "../core/contract.ts";
import source from "../wgsl/argmax.wgsl";
import { exact, orderCases, orderFill } from "./lib/order.ts";
import { rowTiles } from "./lib/rows.ts";

const blocks = {
  name: "blocks",
  source,
  prefer: ({ R, C }: Dims) => C > 256 && R < 4096,
  when: ({ R, C }: Dims) => R * Math.ceil(C / 256) < 16777216,
  grid: ({ R, C }: Dims) => linear(R * Math.ceil(C / 256)),
  scratch: ({ R, C }: Dims) => 8 * R * Math.ceil(C / 256),
  further: [{ entry: "arg_first", grid: ({ R }: Dims) => linear(R) }],
};
const rows = { source, grid: ({ R }: Dims) => linear(R) };
const check = ({ C }: Dims) => (C > 0 ? undefined : "x: C=0, an empty row has no such element");
const cost = ({ R, C }: Dims) => ({ flops: R * C, bytes: 4 * R * (C + 1) });
const isBetter = (a: number, b: number) => !Number.isNaN(b) && (Number.isNaN(a) || a > b);

/**
 * index (R, i32) of the largest element of each row of x (R,C): the first of equal ones, as 0 and −0 are.
 * In a row with NaN it is the first NaN, as in NumPy. No gradient goes through an index.
 * @throws ShapeError when C is 0
 */
export const argmax = /* @__PURE__ */ defineKernel({
  name: "argmax",
  family: "reduction",
  cut: () => ["R"],
  args: [out("index", "*R", "i32"), inp("x", "*R C")],
  check,
  ref: ({ index, x }, { R, C }) => {
    for (let r = 0; r < R; r++)
      for (let c = 1; c < C; c++) if (isBetter(x[r * C + c], x[r * C + index[r]])) index[r] = c;
  },
  cost,
  webgpu: [blocks, rows],
  wasm: rowTiles,
});

/** index (R, i32) of the smallest element of each row of x (R,C); in all else as `argmax`. */
export const argmin = /* @__PURE__ */ defineKernel({
  name: "argmin",
  family: "reduction",
  cut: () => ["R"],
  args: [out("index", "*R", "i32"), inp("x", "*R C")],
  check,
  ref: ({ index, x }, { R, C }) => {
    for (let r = 0; r < R; r++)
      for (let c = 1; c < C; c++) if (isBetter(-x[r * C + c], -x[r * C + index[r]])) index[r] = c;
  },
  cost,
  webgpu: [blocks, rows],
  wasm: rowTiles,
});

const suite = {
  cases: () => [
    ...orderCases().filter(({ dims }) => dims.C !== 0),
    { dims: { R: [64], C: 3 } },
    { dims: { R: [3], C: 1031 } },
  ],
  bench: (): Case[] => [
    { dims: { R: [64], C: 32_000 }, source: "greedy decoding, 64 rows of 32 k tokens" },
    { dims: { R: [1], C: 1 << 20 }, source: "one list of 1 Mi" },
  ],
  tol: exact,
  // NaN in some rows only
  fill: {
    x: (u: number, i: number, d: Dims) => (i % 13 === 5 && i % 7 < 5 ? u : orderFill(u, i, d)),
  },
};

export const argSuites: Suite[] = [
  { kernel: argmax, ...suite },
  { kernel: argmin, ...suite },
];
