import {
  acc,
  type Case,
  type Dims,
  defineKernel,
  type Fill,
  flag,
  inp,
  linear,
  out,
  type Params,
  type Suite,
  u32,
} from "../core/contract.ts";
import source from "../wgsl/pool2d.wgsl";
import { gather_last } from "./gather.ts";
import { windows } from "./lib/conv.ts";
import { atLeastOne } from "./lib/params.ts";

/** Rows of a result that a tile computes. */
const ROWS = 32;

const windowParams = () => ({
  kernel_h: atLeastOne(),
  kernel_w: atLeastOne(),
  stride: atLeastOne(),
  pad: u32(0),
});
const extents = () => ({ height: u32(), width: u32() });
const windowOf = ({ kernel_h, kernel_w, stride, pad }: Params): Params => ({
  kernel_h,
  kernel_w,
  stride,
  pad,
});
const forward = (d: Dims, p: Params, fail: (why: string) => never): void => {
  d.R = p.kernel_h;
  d.S = p.kernel_w;
  windows(d, { ...p, dilation: 1 }, fail);
};
const backward = (d: Dims, p: Params, fail: (why: string) => never): void => {
  d.H = p.height;
  d.W = p.width;
  forward(d, p, fail);
};
/** Every window holds a pixel, and few enough to be counted. */
const filled = ({ H, W }: Dims, { pad, kernel_h, kernel_w }: Params): string | undefined => {
  if (kernel_h * kernel_w >= 2 ** 30)
    return `a window of ${kernel_h}×${kernel_w} is not below 2^30`;
  if (H * W === 0) return `x: ${H}×${W} has no pixel to pool`;
  return pad < Math.min(kernel_h, kernel_w)
    ? undefined
    : `pad = ${pad} is not below kernel_h = ${kernel_h} and kernel_w = ${kernel_w}: a window would hold padding alone`;
};
const cost = ({ B, C, P, Q, H, W }: Dims, { kernel_h, kernel_w }: Params) => ({
  flops: B * C * P * Q * kernel_h * kernel_w,
  bytes: 4 * B * C * (P * Q + H * W),
});

/** The pixels of window i of (…,P,Q), row by row, as places in the plane and in x. */
function eachPixel(
  { P, Q, H, W }: Dims,
  { kernel_h, kernel_w, stride, pad }: Params,
  i: number,
  meet: (at: number, x: number) => void,
): void {
  const top = (Math.floor(i / Q) % P) * stride - pad;
  const left = (i % Q) * stride - pad;
  const plane = Math.floor(i / (P * Q)) * H * W;
  for (let h = Math.max(0, top); h < Math.min(H, top + kernel_h); h++) {
    for (let w = Math.max(0, left); w < Math.min(W, left + kernel_w); w++)
      meet(h * W + w, plane + h * W + w);
  }
}
function divisor(d: Dims, p: Params, i: number): number {
  if (p.count_include_pad) return p.kernel_h * p.kernel_w;
  let n = 0;
  eachPixel(d, p, i, () => n++);
  return n;
}

/**
 * y (B,C,P,Q): the largest number of each window of kernel_h × kernel_w pixels of x (B,C,H,W), and index
 * (B,C,P,Q, i32): its place h·W + w in the plane. P = ⌊(H + 2·pad − kernel_h)/stride⌋ + 1, Q likewise;
 * padding is never the largest. Of equal numbers the first by rows wins; the first NaN wins over all.
 * Largest of a whole plane: reshape and `max`.
 * @throws ShapeError when the window spans more than the padded image, or pad reaches the kernel
 */
export const max_pool2d = /* @__PURE__ */ defineKernel({
  name: "max_pool2d",
  family: "pooling",
  cut: () => ["B"],
  args: [out("y", "B C P Q"), out("index", "B C P Q", "i32"), inp("x", "B C H W")],
  params: windowParams(),
  derive: (d, _runs, p, fail) => forward(d, p, fail),
  check: filled,
  ref: ({ y, index, x }, d, p) => {
    for (let i = 0; i < y.length; i++) {
      index[i] = -1;
      eachPixel(d, p, i, (at, ix) => {
        const wins = index[i] < 0 || x[ix] > y[i] || (Number.isNaN(x[ix]) && !Number.isNaN(y[i]));
        if (!wins) return;
        y[i] = x[ix];
        index[i] = at;
      });
    }
  },
  vjp: (g) => {
    if (!g.d.y) return;
    const { H: height, W: width } = g.dims;
    g.to("x", max_pool2d_bwd, [g.d.y, g.out.index], { height, width, ...windowOf(g.p) });
  },
  cost: (d, p) => ({ ...cost(d, p), bytes: 4 * d.B * d.C * (2 * d.P * d.Q + d.H * d.W) }),
  webgpu: [{ source, grid: ({ B, C, P, Q }) => linear(B * C * P * Q) }],
  wasm: {
    tiles: ({ B, C, P }) => B * C * Math.ceil(P / ROWS),
    scratch: ({ P, Q }, { kernel_h, kernel_w, stride }) =>
      64 + 4 * ((Math.min(ROWS, P) - 1) * stride + kernel_h) * ((Q - 1) * stride + kernel_w + 8),
  },
});

/**
 * dx (B,C,H,W), H = height, W = width: dy (B,C,P,Q) added up where index (B,C,P,Q, i32), as `max_pool2d`
 * gives it, points, in the order of the windows. An index outside the plane is left out; what becomes of
 * one inside it, but outside its window, differs between backends.
 * @throws ShapeError when P and Q are not what the image and the window give
 */
export const max_pool2d_bwd = /* @__PURE__ */ defineKernel({
  name: "max_pool2d_bwd",
  family: "pooling",
  cut: () => ["B"],
  args: [acc("dx", "B C H W"), inp("dy", "B C P Q"), inp("index", "B C P Q", "i32")],
  params: { ...extents(), ...windowParams() },
  derive: (d, _runs, p, fail) => backward(d, p, fail),
  check: filled,
  ref: ({ dx, dy, index }, { P, Q, H, W }) => {
    for (let i = 0; i < dy.length; i++) {
      const at = index[i];
      if (at >= 0 && at < H * W) dx[Math.floor(i / (P * Q)) * H * W + at] += dy[i];
    }
  },
  vjp: (g) => {
    const { B, C, P, Q, H, W } = g.dims;
    const rows = (n: number) => [B * C, n];
    const index = g.in.index.reshape(rows(P * Q));
    g.to("dy", gather_last, [g.d.dx.reshape(rows(H * W)), index], { outside: "zero" });
  },
  cost: ({ B, C, P, Q, H, W }) => ({
    flops: B * C * P * Q,
    bytes: 4 * B * C * (2 * P * Q + H * W),
  }),
  webgpu: [{ source, grid: ({ B, C, H, W }) => linear(B * C * H * W) }],
  wasm: { tiles: ({ B, C }) => B * C },
});

/**
 * y (B,C,P,Q) = beta·y + the mean of each window of x (B,C,H,W); windows as in `max_pool2d`. The padding
 * counts as zeros under count_include_pad, otherwise a window's mean is that of its pixels. Mean of a
 * whole plane: reshape and `mean`.
 * @throws ShapeError as `max_pool2d`
 */
export const avg_pool2d = /* @__PURE__ */ defineKernel({
  name: "avg_pool2d",
  family: "pooling",
  cut: () => ["B"],
  args: [acc("y", "B C P Q"), inp("x", "B C H W")],
  params: { ...windowParams(), count_include_pad: flag() },
  derive: (d, _runs, p, fail) => forward(d, p, fail),
  check: filled,
  ref: ({ y, x }, d, p) => {
    for (let i = 0; i < y.length; i++) {
      eachPixel(d, p, i, (_at, ix) => {
        y[i] += x[ix];
      });
      y[i] /= divisor(d, p, i);
    }
  },
  vjp: (g) => {
    const { H: height, W: width } = g.dims;
    const { count_include_pad } = g.p;
    g.to("x", avg_pool2d_bwd, [g.d.y], { height, width, ...windowOf(g.p), count_include_pad });
  },
  cost,
  webgpu: [{ source, grid: ({ B, C, P, Q }) => linear(B * C * P * Q) }],
  wasm: {
    tiles: ({ B, C, P }) => B * C * Math.ceil(P / ROWS),
    scratch: ({ P, Q }, { kernel_h, kernel_w, stride }) =>
      64 + 4 * ((Math.min(ROWS, P) - 1) * stride + kernel_h) * ((Q - 1) * stride + kernel_w + 8),
  },
});

/**
 * dx (B,C,H,W), H = height, W = width: what `avg_pool2d` owes to its x for the cotangent dy (B,C,P,Q).
 * @throws ShapeError when P and Q are not what the image and the window give
 */
export const avg_pool2d_bwd = /* @__PURE__ */ defineKernel({
  name: "avg_pool2d_bwd",
  family: "pooling",
  cut: () => ["B"],
  args: [acc("dx", "B C H W"), inp("dy", "B C P Q")],
  params: { ...extents(), ...windowParams(), count_include_pad: flag() },
  derive: (d, _runs, p, fail) => backward(d, p, fail),
  check: filled,
  ref: ({ dx, dy }, d, p) => {
    for (let i = 0; i < dy.length; i++) {
      const share = dy[i] / divisor(d, p, i);
      eachPixel(d, p, i, (_at, ix) => {
        dx[ix] += share;
      });
    }
  },
  vjp: (g) => {
    const { count_include_pad } = g.p;
    g.to("dy", avg_pool2d, [g.d.dx], { ...windowOf(g.p), count_include_pad });
  },
  cost,
  webgpu: [{ source, grid: ({ B, C, H, W }) => linear(B * C * H * W) }],
  wasm: { tiles: ({ B, C }) => B * C, scratch: ({ W }) => 4 * W },
});

const window = (kernel_h: number, kernel_w: number, stride: number, pad = 0): Params => ({
  kernel_h,
  kernel_w,
  stride,
  pad,
});
/** No padding, and windows that end with the image: `inWindow` knows where they are. */
const exact = (): Case[] => [
  ...[1, 3, 4, 5, 9].map((n) => ({
    dims: { B: 1, C: 2, H: 4, W: 2 * n },
    params: window(2, 2, 2),
  })),
  { dims: { B: 2, C: 3, H: 5, W: 7 }, params: window(3, 3, 2) },
  { dims: { B: 1, C: 1, H: 6, W: 11 }, params: window(3, 2, 3) },
  { dims: { B: 1, C: 2, H: 7, W: 12 }, params: window(3, 4, 1) },
  { dims: { B: 1, C: 1, H: 9, W: 9 }, params: window(1, 1, 4) },
  { dims: { B: 1, C: 2, H: 70, W: 6 }, params: window(2, 2, 2) },
  { dims: { B: 0, C: 2, H: 4, W: 4 }, params: window(2, 2, 2) },
];
const cases = (): Case[] => [
  ...exact(),
  ...[1, 2, 3].flatMap((stride) => [
    { dims: { B: 2, C: 2, H: 7, W: 13 }, params: window(3, 3, stride, 1) },
    { dims: { B: 1, C: 2, H: 8, W: 18 }, params: window(2, 5, stride, 1) },
    { dims: { B: 1, C: 1, H: 2, W: 3 }, params: window(4, 4, stride, 3) },
  ]),
];
const averaged = (from: () => Case[]) => () =>
  [0, 1].flatMap((count_include_pad) =>
    from().map((c) => ({ ...c, params: { ...c.params, count_include_pad } })),
  );
const bench = (): Case[] => [
  {
    dims: { B: 1, C: 64, H: 112, W: 112 },
    params: window(3, 3, 2, 1),
    source: "ResNet, 3×3 of 112²",
  },
  {
    dims: { B: 8, C: 16, H: 24, W: 24 },
    params: window(2, 2, 2),
    source: "CNN of digits, batch 8",
  },
];
const asBackward = (from: () => Case[]) => () =>
  from().map((c): Case => {
    const d: Dims = { ...(c.dims as Dims) };
    forward(d, c.params as Params, (why) => {
      throw new Error(why);
    });
    return { ...c, dims: d, params: { ...c.params, height: d.H, width: d.W } };
  });
/** A pixel of the window; every ninth index is outside the plane. */
const inWindow: Fill = (u, i, { P, Q, H, W, R, S }) => {
  if (i % 9 === 8) return i % 2 ? H * W : -1;
  const [p, q] = [Math.floor(i / Q) % P, i % Q];
  const step = (n: number, size: number, taps: number) => (n > 1 ? (size - taps) / (n - 1) : 0);
  const r = Math.floor(u * R);
  const s = Math.floor(u * 7919) % S;
  return (p * step(P, H, R) + r) * W + q * step(Q, W, S) + s;
};

const tol = { rel: 1e-5, abs: 1e-6 };

export const pool2dSuites: Suite[] = [
  { kernel: max_pool2d, cases, bench, tol: { rel: 0, abs: 0 } },
  {
    kernel: max_pool2d_bwd,
    cases: asBackward(exact),
    bench: asBackward(() => bench().slice(1)),
    tol,
    fill: { index: inWindow },
  },
  { kernel: avg_pool2d, cases: averaged(cases), bench, tol },
  { kernel: avg_pool2d_bwd, cases: asBackward(averaged(cases)), bench: asBackward(bench), tol },
];
