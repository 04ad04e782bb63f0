import { acc, type Case, defineKernel, grid, inp, linear, type Suite } from "../core/contract.ts";
import source from "../wgsl/pixel_shuffle.wgsl";
import { atLeastOne } from "./lib/params.ts";

/** Both directions: which element of (B,C·f²,H,W) goes with which of (B,C,H·f,W·f). */
function eachPair(
  { B, C, H, W }: { B: number; C: number; H: number; W: number },
  f: number,
  meet: (deep: number, wide: number) => void,
): void {
  for (let i = 0; i < B * C * H * W * f * f; i++) {
    const q = i % (W * f);
    const p = Math.floor(i / (W * f)) % (H * f);
    const plane = Math.floor(i / (W * f * H * f));
    const tap = (p % f) * f + (q % f);
    meet(((plane * f * f + tap) * H + Math.floor(p / f)) * W + Math.floor(q / f), i);
  }
}

/**
 * y (B,C,P,Q) of x (B,D,H,W), D = C·factor², P = H·factor, Q = W·factor:
 * y[b, c, h·factor + r, w·factor + s] = x[b, (c·factor + r)·factor + s, h, w], the sub-pixel convolution's
 * last step. NaN and Inf are copied. Shi et al., arXiv:1609.05158.
 * @throws ShapeError when factor² does not divide D
 */
export const pixel_shuffle = /* @__PURE__ */ defineKernel({
  name: "pixel_shuffle",
  family: "indexing",
  cut: () => ["B"],
  args: [acc("y", "B C P Q"), inp("x", "B D H W")],
  params: { factor: atLeastOne() },
  derive: (d, _runs, { factor }, fail) => {
    if (d.D % factor ** 2 !== 0)
      fail(`x: D = ${d.D} is not a multiple of factor² = ${factor ** 2}`);
    d.C = d.D / factor ** 2;
    d.P = d.H * factor;
    d.Q = d.W * factor;
  },
  ref: ({ y, x }, { B, C, H, W }, { factor }) => {
    eachPair({ B, C, H, W }, factor, (deep, wide) => {
      y[wide] = x[deep];
    });
  },
  vjp: (g) => g.to("x", pixel_unshuffle, [g.d.y], { factor: g.p.factor }),
  cost: ({ B, D, H, W }) => ({ flops: 0, bytes: 8 * B * D * H * W }),
  webgpu: [{ source, grid: ({ B, D, H, W }) => linear(B * D * H * W) }],
  wasm: { tiles: ({ B, C, H }) => B * C * H },
});

/**
 * y (B,D,P,Q) of x (B,C,H,W), D = C·factor², P = H/factor, Q = W/factor: what `pixel_shuffle` was given.
 * @throws ShapeError when factor does not divide H and W
 */
export const pixel_unshuffle = /* @__PURE__ */ defineKernel({
  name: "pixel_unshuffle",
  family: "indexing",
  cut: () => ["B"],
  args: [acc("y", "B D P Q"), inp("x", "B C H W")],
  params: { factor: atLeastOne() },
  derive: (d, _runs, { factor }, fail) => {
    for (const [from, to] of ["HP", "WQ"]) {
      if (d[from] % factor !== 0)
        fail(`x: ${from} = ${d[from]} is not a multiple of factor = ${factor}`);
      d[to] = d[from] / factor;
    }
    d.D = d.C * factor ** 2;
  },
  ref: ({ y, x }, { B, C, P, Q }, { factor }) => {
    eachPair({ B, C, H: P, W: Q }, factor, (deep, wide) => {
      y[deep] = x[wide];
    });
  },
  vjp: (g) => g.to("x", pixel_shuffle, [g.d.y], { factor: g.p.factor }),
  cost: ({ B, C, H, W }) => ({ flops: 0, bytes: 8 * B * C * H * W }),
  webgpu: [{ source, grid: ({ B, C, H, W }) => linear(B * C * H * W) }],
  wasm: { tiles: ({ B, C, P }) => B * C * P },
});

/** Extents of the deep side; W on the edges of a vector. */
const shapes = (): Case[] =>
  [1, 2, 3].flatMap((factor) =>
    [
      ...grid({ B: [1], C: [2], H: [1, 3], W: [1, 3, 4, 5, 11] }),
      ...grid({ B: [0, 2], C: [1], H: [2], W: [0, 8] }),
    ].map((c) => ({ ...c, params: { factor } })),
  );
const bench = (): Case[] => [
  { dims: { B: 1, C: 3, H: 128, W: 128 }, params: { factor: 2 }, source: "3×256² of 12×128²" },
  { dims: { B: 1, C: 3, H: 64, W: 64 }, params: { factor: 4 }, source: "3×256² of 48×64²" },
];
const deep = (from: () => Case[]) => () =>
  from().map((c) => {
    const { C, ...dims } = c.dims as Record<string, number>;
    return { ...c, dims: { ...dims, D: C * c.params?.factor ** 2 } };
  });
const wide = (from: () => Case[]) => () =>
  from().map((c) => {
    const { H, W, ...dims } = c.dims as Record<string, number>;
    return { ...c, dims: { ...dims, H: H * c.params?.factor, W: W * c.params?.factor } };
  });
const tol = { rel: 0, abs: 0 };

export const pixelShuffleSuites: Suite[] = [
  { kernel: pixel_shuffle, cases: deep(shapes), bench: deep(bench), tol },
  { kernel: pixel_unshuffle, cases: wide(shapes), bench: wide(bench), tol },
];
