import {
  acc,
  type Case,
  choice,
  defineKernel,
  grid,
  inp,
  linear,
  type Suite,
} from "../core/contract.ts";
import source from "../wgsl/permute.wgsl";

/** Of the axes of y and of their strides in x. */
const LETTERS = ["A", "B", "C", "D"];
const ROWS = 8;

/** All orders of four axes; that of splitting and merging heads is the default. */
function orders(): string[] {
  const axes = [..."0123"];
  const words = axes.flatMap((i) =>
    axes.flatMap((j) => axes.flatMap((k) => axes.map((l) => i + j + k + l))),
  );
  return ["0213", ...words.filter((w) => w !== "0213" && new Set(w).size === 4)];
}
const inverse = (perm: string): string => [..."0123"].map((axis) => perm.indexOf(axis)).join("");
/** The letters in the order of the axes of x. */
const lettersOf = (perm: string): string[] => [...inverse(perm)].map((i) => LETTERS[Number(i)]);

/**
 * y (A,B,C,D) = x with its four axes in another order: axis i of y is axis perm[i] of x, as in NumPy's
 * `transpose`. By default "0213": (B,S,H,D) to (B,H,S,D) and back, the heads of attention. Of fewer axes,
 * reshape with extents of 1. NaN and Inf are copied. Rows of y that are rows of x (perm ends in 3) are
 * copied whole; where it comes to swapping two axes, such as NCHW and NHWC, `transpose` is the faster.
 * The extents SA … SD are the strides in x of the axes of y, in elements.
 */
export const permute = /* @__PURE__ */ defineKernel({
  name: "permute",
  family: "indexing",
  args: [acc("y", "A B C D"), inp("x", (p) => lettersOf(p.perm).join(" "))],
  params: { perm: /* @__PURE__ */ choice(.../* @__PURE__ */ orders()) },
  extents: ["SA", "SB", "SC", "SD"],
  derive: (d, _runs, { perm }) => {
    let stride = 1;
    for (const letter of lettersOf(perm).reverse()) {
      d[`S${letter}`] = stride;
      stride *= d[letter];
    }
  },
  ref: ({ y, x }, { A, B, C, D }, { perm }) => {
    const shape = [A, B, C, D];
    const axes = [...perm].map(Number);
    const from: number[] = [];
    axes.forEach((axis, i) => {
      from[axis] = shape[i];
    });
    const at = [0, 0, 0, 0];
    for (let n = 0; n < y.length; n++) {
      let rest = n;
      for (let i = 3; i >= 0; i--) {
        at[axes[i]] = rest % shape[i];
        rest = Math.floor(rest / shape[i]);
      }
      y[n] = x[at.reduce((offset, k, axis) => offset * from[axis] + k, 0)];
    }
  },
  vjp: (g) => g.to("x", permute, [g.d.y], { perm: inverse(g.p.perm) }),
  cost: ({ A, B, C, D }) => ({ flops: 0, bytes: 8 * A * B * C * D }),
  webgpu: [{ source, grid: ({ A, B, C, D }) => linear(A * B * C * D) }],
  wasm: { tiles: ({ A, B, C }) => Math.ceil((A * B * C) / ROWS) },
});

export const permuteSuite: Suite = {
  kernel: permute,
  cases: (): Case[] => [
    ...orders().map((perm) => ({ dims: { A: 2, B: 3, C: 5, D: 7 }, params: { perm } })),
    ...["0213", "3120"].flatMap((perm) =>
      grid({ A: [1, 2], B: [3], C: [1, 8, 9], D: [1, 3, 4, 5, 16, 33] }).map((c) => ({
        ...c,
        params: { perm },
      })),
    ),
    ...LETTERS.map((letter) => ({ dims: { A: 2, B: 3, C: 4, D: 5, [letter]: 0 } })),
  ],
  bench: () => [
    { dims: { A: 8, B: 4, C: 128, D: 32 }, source: "heads of a transformer of width 128, batch 8" },
    { dims: { A: 1, B: 12, C: 1024, D: 64 }, source: "heads of GPT-2, 1024 tokens" },
    { dims: { A: 1, B: 64, C: 64, D: 64 }, params: { perm: "0231" }, source: "NCHW to NHWC" },
  ],
  tol: { rel: 0, abs: 0 },
};
