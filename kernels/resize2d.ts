import {
  acc,
  type Case,
  type Dims,
  defineKernel,
  flag,
  inp,
  linear,
  type Params,
  type Suite,
} from "../core/contract.ts";
import source from "../wgsl/resize2d.wgsl";
import { atLeastOne } from "./lib/params.ts";

/** Extents of a result that no input gives. */
const size = () => ({ height: atLeastOne(), width: atLeastOne() });

// Coordinates are fractions of u32: no rounding moves a pixel to the wrong side of an integer.

/** Neither image empty, and coordinates that fit. */
function fits({ P, Q, H, W }: Dims): string | undefined {
  if (H * W === 0) return `x: ${H}×${W} has no pixel to resize`;
  const most = Math.max(P * H, Q * W);
  return most < 2 ** 30
    ? undefined
    : `x and y: the product of their heights or widths, ${most}, is not below 2^30`;
}
const forward = (d: Dims, p: Params): void => {
  d.P = p.height;
  d.Q = p.width;
};
const backward = (d: Dims, p: Params): void => {
  d.H = p.height;
  d.W = p.width;
};
const cost = ({ B, C, P, Q, H, W }: Dims) => ({
  flops: 0,
  bytes: 4 * B * C * (P * Q + H * W),
});

/** All pixels of y (B,C,P,Q) with those of x (B,C,H,W) that they are made of, and the weight. */
function eachPart(
  { B, C, P, Q, H, W }: Dims,
  axis: (i: number, to: number, from: number) => readonly (readonly [number, number])[],
  meet: (y: number, x: number, weight: number) => void,
): void {
  for (let i = 0; i < B * C * P * Q; i++) {
    const plane = Math.floor(i / (P * Q));
    for (const [h, wh] of axis(Math.floor(i / Q) % P, P, H)) {
      for (const [w, ww] of axis(i % Q, Q, W)) meet(i, (plane * H + h) * W + w, wh * ww);
    }
  }
}
const nearest = (i: number, to: number, from: number) =>
  [[Math.floor((i * from) / to), 1]] as const;
const linearly = (p: Params) => (i: number, to: number, from: number) => {
  const at = p.align_corners
    ? (i * (from - 1)) / Math.max(1, to - 1)
    : Math.max(0, ((2 * i + 1) * from - to) / (2 * to));
  const first = Math.floor(at);
  const t = at - first;
  return [
    [first, 1 - t],
    [Math.min(first + 1, from - 1), t],
  ] as const;
};

/**
 * y (B,C,P,Q), P = height, Q = width, of x (B,C,H,W): pixel (p,q) is pixel (⌊p·H/P⌋, ⌊q·W/Q⌋) of x, as
 * PyTorch's "nearest". NaN and Inf are copied.
 * @throws ShapeError when x has no pixel, or P·H or Q·W reaches 2^30
 */
export const resize_nearest2d = /* @__PURE__ */ defineKernel({
  name: "resize_nearest2d",
  family: "image",
  cut: () => ["B"],
  args: [acc("y", "B C P Q"), inp("x", "B C H W")],
  params: size(),
  derive: (d, _runs, p) => forward(d, p),
  check: fits,
  ref: ({ y, x }, d) => {
    eachPart(d, nearest, (iy, ix) => {
      y[iy] = x[ix];
    });
  },
  vjp: (g) => g.to("x", resize_nearest2d_bwd, [g.d.y], { height: g.dims.H, width: g.dims.W }),
  cost,
  webgpu: [{ source, grid: ({ B, C, P, Q }) => linear(B * C * P * Q) }],
  wasm: { tiles: ({ B, C, P }) => B * C * P, scratch: ({ Q }) => 12 * Q },
});

/**
 * dx (B,C,H,W), H = height, W = width: each pixel the sum of dy (B,C,P,Q) over the pixels that
 * `resize_nearest2d` makes of it, row by row.
 * @throws ShapeError as `resize_nearest2d`
 */
export const resize_nearest2d_bwd = /* @__PURE__ */ defineKernel({
  name: "resize_nearest2d_bwd",
  family: "image",
  cut: () => ["B"],
  args: [acc("dx", "B C H W"), inp("dy", "B C P Q")],
  params: size(),
  derive: (d, _runs, p) => backward(d, p),
  check: fits,
  ref: ({ dx, dy }, d) => {
    eachPart(d, nearest, (iy, ix) => {
      dx[ix] += dy[iy];
    });
  },
  vjp: (g) => g.to("dy", resize_nearest2d, [g.d.dx], { height: g.dims.P, width: g.dims.Q }),
  cost,
  webgpu: [{ source, grid: ({ B, C, H, W }) => linear(B * C * H * W) }],
  wasm: { tiles: ({ B, C }) => B * C, scratch: ({ Q, W }) => 12 * Q + 4 * W },
});

/**
 * y (B,C,P,Q), P = height, Q = width, of x (B,C,H,W): between the four pixels around
 * ((p + ½)·H/P − ½, (q + ½)·W/Q − ½), not below 0, or with align_corners around
 * (p·(H−1)/(P−1), q·(W−1)/(Q−1)), weights by distance; as PyTorch's "bilinear" (no antialiasing). A NaN
 * or Inf reaches pixels that give it the weight 0 too.
 * @throws ShapeError when x has no pixel, or P·H or Q·W reaches 2^30
 */
export const resize_bilinear2d = /* @__PURE__ */ defineKernel({
  name: "resize_bilinear2d",
  family: "image",
  cut: () => ["B"],
  args: [acc("y", "B C P Q"), inp("x", "B C H W")],
  params: { ...size(), align_corners: flag() },
  derive: (d, _runs, p) => forward(d, p),
  check: fits,
  ref: ({ y, x }, d, p) => {
    eachPart(d, linearly(p), (iy, ix, weight) => {
      y[iy] += weight * x[ix];
    });
  },
  vjp: (g) => {
    const { align_corners } = g.p;
    const { H: height, W: width } = g.dims;
    g.to("x", resize_bilinear2d_bwd, [g.d.y], { height, width, align_corners });
  },
  cost,
  webgpu: [{ source, grid: ({ B, C, P, Q }) => linear(B * C * P * Q) }],
  wasm: { tiles: ({ B, C, P }) => B * C * P, scratch: ({ Q, W }) => 12 * Q + 4 * W },
});

/**
 * dx (B,C,H,W), H = height, W = width: what `resize_bilinear2d` owes to its x for the cotangent dy
 * (B,C,P,Q), each pixel a weighted sum over the pixels that it has a part in.
 * @throws ShapeError as `resize_bilinear2d`
 */
export const resize_bilinear2d_bwd = /* @__PURE__ */ defineKernel({
  name: "resize_bilinear2d_bwd",
  family: "image",
  cut: () => ["B"],
  args: [acc("dx", "B C H W"), inp("dy", "B C P Q")],
  params: { ...size(), align_corners: flag() },
  derive: (d, _runs, p) => backward(d, p),
  check: fits,
  ref: ({ dx, dy }, d, p) => {
    eachPart(d, linearly(p), (iy, ix, weight) => {
      dx[ix] += weight * dy[iy];
    });
  },
  vjp: (g) => {
    const { align_corners } = g.p;
    const { P: height, Q: width } = g.dims;
    g.to("dy", resize_bilinear2d, [g.d.dx], { height, width, align_corners });
  },
  cost,
  webgpu: [{ source, grid: ({ B, C, H, W }) => linear(B * C * H * W) }],
  wasm: { tiles: ({ B, C }) => B * C, scratch: ({ Q, W }) => 12 * Q + 4 * W },
});

/** From H×W to P×Q: up, down, by a fraction, to and from one pixel, by chance the same. */
const cases = (): Case[] => [
  ...[
    [1, 1, 1, 1],
    [1, 5, 3, 1],
    [4, 1, 1, 9],
    [2, 3, 4, 6],
    [3, 4, 7, 13],
    [5, 9, 2, 4],
    [6, 8, 3, 2],
    [7, 5, 7, 5],
    [4, 17, 5, 16],
    [2, 3, 11, 31],
    [9, 2, 6, 8],
  ].map(([H, W, height, width]) => ({ dims: { B: 1, C: 2, H, W }, params: { height, width } })),
  { dims: { B: 2, C: 3, H: 4, W: 5 }, params: { height: 6, width: 7 } },
  { dims: { B: 0, C: 3, H: 4, W: 5 }, params: { height: 6, width: 7 } },
];
const bench = (): Case[] => [
  {
    dims: { B: 1, C: 64, H: 64, W: 64 },
    params: { height: 128, width: 128 },
    source: "64 of 64² to 128²",
  },
  {
    dims: { B: 1, C: 3, H: 480, W: 640 },
    params: { height: 224, width: 224 },
    source: "a camera's picture to 224²",
  },
];
const aligned = (from: () => Case[]) => () =>
  [0, 1].flatMap((align_corners) =>
    from().map((c) => ({ ...c, params: { ...c.params, align_corners } })),
  );
const asBackward = (from: () => Case[]) => () =>
  from().map((c): Case => {
    const { H, W, ...dims } = c.dims as Dims;
    const { height, width, ...rest } = c.params as Params;
    return {
      ...c,
      dims: { ...dims, P: height, Q: width },
      params: { ...rest, height: H, width: W },
    };
  });

const tol = { rel: 1e-5, abs: 1e-5 };

export const resize2dSuites: Suite[] = [
  { kernel: resize_nearest2d, cases, bench, tol: { rel: 0, abs: 0 } },
  { kernel: resize_nearest2d_bwd, cases: asBackward(cases), bench: asBackward(bench), tol },
  { kernel: resize_bilinear2d, cases: aligned(cases), bench, tol },
  {
    kernel: resize_bilinear2d_bwd,
    cases: asBackward(aligned(cases)),
    bench: asBackward(bench),
    tol,
  },
];
