import {
  acc,
  type Case,
  type Dims,
  defineKernel,
  inp,
  linear,
  opt,
  type Params,
  type Suite,
} from "../core/contract.ts";
import source from "../wgsl/depthwise_conv2d.wgsl";
import {
  asTransposed,
  asWeightGradient,
  biasGradient,
  eachMeeting,
  extentsOf,
  kernelExtents,
  outputPads,
  transposed,
  transposedWindows,
  windowOf,
  windowParams,
  windows,
} from "./lib/conv.ts";

/** Rows of a result that a tile computes. */
const ROWS = 32;

const onCpu = (_d: Dims, _p: Params, { software }: { readonly software: boolean }): boolean =>
  software;
/** Pixels past the end of a run still have coordinates below 2^32. */
const notFar = (_d: Dims, { stride }: Params): boolean => stride <= 65536;
/** Every channel a group of its own, as `eachMeeting` wants it. */
const apart = (d: Dims, p: Params): [Dims, Params] => [
  { ...d, O: d.C },
  { ...p, groups: d.C },
];
const cost = ({ B, C, P, Q, H, W, R, S }: Dims) => ({
  flops: 2 * B * C * P * Q * R * S,
  bytes: 4 * (B * C * (P * Q + H * W) + C * R * S),
});

/**
 * y (B,C,P,Q) = beta·y + x ⋆ w + bias, every channel of x (B,C,H,W) with a kernel of its own: w (C,R,S),
 * bias (C) optional. P, Q, stride, pad and dilation as in `conv2d`.
 * @throws ShapeError when the kernel spans more than the padded image
 */
export const depthwise_conv2d = /* @__PURE__ */ defineKernel({
  name: "depthwise_conv2d",
  family: "convolution",
  cut: () => ["B"],
  args: [acc("y", "B C P Q"), inp("x", "B C H W"), inp("w", "C R S"), opt("bias", "C")],
  params: windowParams(),
  derive: (d, _runs, p, fail) => windows(d, p, fail),
  ref: ({ y, x, w, bias }, d, p) => {
    if (bias) for (let i = 0; i < y.length; i++) y[i] = bias[Math.floor(i / (d.P * d.Q)) % d.C];
    eachMeeting(...apart(d, p), (iy, ix, iw) => {
      y[iy] += x[ix] * w[iw];
    });
  },
  vjp: (g) => {
    const { x, w, bias } = g.in;
    g.to("x", depthwise_conv_transpose2d, [g.d.y, w], transposed(g.dims, g.p));
    g.to("w", depthwise_conv2d_bwd_w, [x, g.d.y], { ...windowOf(g.p), ...extentsOf(g.dims) });
    if (bias) biasGradient(g, g.d.y);
  },
  cost,
  webgpu: [
    {
      name: "rows",
      source,
      grid: ({ B, C, P, Q }) => linear(B * C * Math.ceil(P / 8) * Math.ceil(Q / 8), 16),
      when: ({ R, S }, { stride, dilation }) =>
        R === 3 && S === 3 && stride === 1 && dilation === 1,
      prefer: onCpu,
    },
    {
      name: "strip",
      source,
      grid: ({ B, C, P, Q }) => linear(B * C * P * Math.ceil(Q / 16), 16),
      when: (_d, { stride, dilation }) => stride === 1 && dilation === 1,
      prefer: onCpu,
    },
    {
      name: "run",
      source,
      grid: ({ B, C, P, Q }) => linear(B * C * P * Math.ceil(Q / 8), 16),
      when: notFar,
      prefer: onCpu,
    },
    { source, grid: ({ B, C, P, Q }) => linear(B * C * P * Q) },
  ],
  wasm: {
    tiles: ({ B, C, P }) => B * C * Math.ceil(P / ROWS),
    scratch: ({ P, Q, R, S }, { stride, dilation }) =>
      32 +
      4 *
        ((Math.min(ROWS, P) - 1) * stride + (R - 1) * dilation + 1) *
        ((Q - 1) * stride + (S - 1) * dilation + 9),
  },
});

/**
 * y (B,C,H,W) = beta·y + x ⋆ᵀ w: the transposed depthwise convolution of x (B,C,P,Q) with w (C,R,S),
 * what `depthwise_conv2d` owes to its x. H, W and the output_pads as in `conv_transpose2d`.
 * @throws ShapeError when nothing is left, or an output_pad reaches the stride
 */
export const depthwise_conv_transpose2d = /* @__PURE__ */ defineKernel({
  name: "depthwise_conv_transpose2d",
  family: "convolution",
  cut: () => ["B"],
  args: [acc("y", "B C H W"), inp("x", "B C P Q"), inp("w", "C R S")],
  params: { ...windowParams(), ...outputPads() },
  derive: (d, _runs, p, fail) => transposedWindows(d, p, fail),
  ref: ({ y, x, w }, d, p) => {
    eachMeeting(...apart(d, p), (ix, iy, iw) => {
      y[iy] += x[ix] * w[iw];
    });
  },
  vjp: (g) => {
    const { x, w } = g.in;
    g.to("x", depthwise_conv2d, [g.d.y, w], windowOf(g.p));
    g.to("w", depthwise_conv2d_bwd_w, [g.d.y, x], { ...windowOf(g.p), ...extentsOf(g.dims) });
  },
  cost,
  webgpu: [
    {
      name: "rows",
      source,
      grid: ({ B, C, H, W }) => linear(B * C * Math.ceil(H / 8) * Math.ceil(W / 8), 16),
      when: ({ R, S }, { stride, dilation }) =>
        R === 3 && S === 3 && stride === 1 && dilation === 1,
      prefer: onCpu,
    },
    {
      name: "strip",
      source,
      grid: ({ B, C, H, W }) => linear(B * C * H * Math.ceil(W / 16), 16),
      when: (_d, { stride, dilation }) => stride === 1 && dilation === 1,
      prefer: onCpu,
    },
    {
      name: "run",
      source,
      grid: ({ B, C, H, W }, { stride }) =>
        linear(B * C * H * Math.min(stride, W) * Math.ceil(Math.ceil(W / stride) / 8), 16),
      when: notFar,
      prefer: onCpu,
    },
    { source, grid: ({ B, C, H, W }) => linear(B * C * H * W) },
  ],
  wasm: {
    tiles: ({ B, C, H }) => B * C * Math.ceil(H / ROWS),
    scratch: ({ H, W, R, S }, { dilation }) =>
      32 + 4 * (Math.min(ROWS, H) + (R - 1) * dilation) * (W + (S - 1) * dilation + 8),
  },
});

/**
 * dw (C,R,S) = beta·dw + Σ over batch and pixels of dy (B,C,P,Q) · x (B,C,H,W): what
 * `depthwise_conv2d` owes to w. R and S are given as kernel_h and kernel_w.
 * @throws ShapeError when P and Q are not what x and the kernel give
 */
export const depthwise_conv2d_bwd_w = /* @__PURE__ */ defineKernel({
  name: "depthwise_conv2d_bwd_w",
  family: "convolution",
  cut: () => ["B"],
  args: [acc("dw", "C R S"), inp("x", "B C H W"), inp("dy", "B C P Q")],
  params: { ...windowParams(), ...kernelExtents() },
  derive: (d, _runs, p, fail) => {
    d.R = p.kernel_h;
    d.S = p.kernel_w;
    windows(d, p, fail);
  },
  ref: ({ dw, x, dy }, d, p) => {
    eachMeeting(...apart(d, p), (iy, ix, iw) => {
      dw[iw] += dy[iy] * x[ix];
    });
  },
  vjp: (g) => {
    const { x, dy } = g.in;
    g.to("x", depthwise_conv_transpose2d, [dy, g.d.dw], transposed(g.dims, g.p));
    g.to("dy", depthwise_conv2d, [x, g.d.dw], windowOf(g.p));
  },
  cost,
  webgpu: [
    {
      name: "blocks",
      source,
      constants: { UNIT: 4, TARGET: 256 },
      grid: ({ C, R, S, B, P }) =>
        linear(
          C *
            Math.ceil(R / 4) *
            Math.ceil(S / 4) *
            Math.max(
              1,
              Math.min(B * P, Math.ceil(256 / (C * Math.ceil(R / 4) * Math.ceil(S / 4)))),
            ),
          16,
        ),
      when: (_d, { stride, dilation }) => stride === 1 && dilation === 1,
      prefer: onCpu,
      scratch: ({ C, R, S, B, P }) =>
        4 *
        C *
        R *
        S *
        Math.max(1, Math.min(B * P, Math.ceil(256 / (C * Math.ceil(R / 4) * Math.ceil(S / 4))))),
      further: [
        {
          entry: "depthwise_conv2d_bwd_w_sum_f32",
          constants: { UNIT: 4, TARGET: 256 },
          grid: ({ C, R, S }) => linear(C * R * S),
        },
      ],
    },
    {
      name: "split",
      source,
      constants: { UNIT: 1, TARGET: 16384 },
      grid: ({ C, R, S, B, P }) =>
        linear(C * R * S * Math.max(1, Math.min(B * P, Math.ceil(16384 / (C * R * S))))),
      prefer: ({ C, R, S, B, P, Q }, _p, { software }) =>
        !software && C * R * S <= 8192 && B * P * Q >= 1024,
      scratch: ({ C, R, S, B, P }) =>
        4 * C * R * S * Math.max(1, Math.min(B * P, Math.ceil(16384 / (C * R * S)))),
      further: [
        {
          entry: "depthwise_conv2d_bwd_w_sum_f32",
          constants: { UNIT: 1, TARGET: 16384 },
          grid: ({ C, R, S }) => linear(C * R * S),
        },
      ],
    },
    { source, grid: ({ C, R, S }) => linear(C * R * S) },
  ],
  wasm: {
    tiles: ({ C }) => C,
    scratch: ({ P, Q, R, S }, { stride, dilation }) =>
      32 +
      16 * R * S +
      4 *
        ((Math.min(ROWS, P) - 1) * stride + (R - 1) * dilation + 1) *
        ((Q - 1) * stride + (S - 1) * dilation + 9),
  },
});

const cases = (): Case[] => [
  ...[1, 3, 4, 5, 8, 13].flatMap((n) => [
    { dims: { B: 1, C: 2, H: n, W: 9 - (n % 4), R: 3, S: 3 }, params: { pad: 1 } },
    { dims: { B: 2, C: 3, H: 4, W: n, R: 1, S: 1 } },
  ]),
  ...[1, 2, 3].flatMap((stride) => [
    { dims: { B: 2, C: 3, H: 9, W: 14, R: 3, S: 3 }, params: { stride, pad: 1 } },
    { dims: { B: 1, C: 2, H: 7, W: 13, R: 2, S: 5 }, params: { stride, pad: 2 } },
    { dims: { B: 1, C: 2, H: 8, W: 9, R: 3, S: 2 }, params: { stride, pad: 3, dilation: 2 } },
    { dims: { B: 1, C: 1, H: 5, W: 6, R: 1, S: 1 }, params: { stride, pad: 3 } },
  ]),
  { dims: { B: 1, C: 2, H: 3, W: 2, R: 5, S: 4 }, params: { pad: 2 }, with: ["bias"] },
  // More rows than one tile, an odd last one.
  { dims: { B: 1, C: 2, H: 35, W: 6, R: 3, S: 3 }, params: { pad: 1 }, with: ["bias"] },
  { dims: { B: 1, C: 1, H: 67, W: 5, R: 2, S: 2 }, params: { stride: 2 } },
  { dims: { B: 0, C: 2, H: 4, W: 4, R: 3, S: 3 } },
  { dims: { B: 2, C: 0, H: 4, W: 4, R: 3, S: 3 } },
  { dims: { B: 1, C: 2, H: 0, W: 3, R: 2, S: 3 }, params: { pad: 1 } },
];
const bench = (): Case[] => [
  { dims: { B: 1, C: 64, H: 64, W: 64, R: 3, S: 3 }, params: { pad: 1 }, source: "3×3, 64 of 64²" },
  {
    dims: { B: 1, C: 128, H: 56, W: 56, R: 3, S: 3 },
    params: { pad: 1, stride: 2 },
    source: "MobileNet, 3×3 with stride 2, 128 of 56²",
  },
  {
    dims: { B: 1, C: 96, H: 56, W: 56, R: 7, S: 7 },
    params: { pad: 3 },
    source: "ConvNeXt, 7×7, 96 of 56²",
  },
];

const tol = { rel: 1e-5, abs: 1e-5 };

export const depthwiseConv2dSuites: Suite[] = [
  { kernel: depthwise_conv2d, cases, bench, tol },
  {
    kernel: depthwise_conv_transpose2d,
    cases: asTransposed(cases),
    bench: asTransposed(bench),
    tol,
  },
  {
    kernel: depthwise_conv2d_bwd_w,
    cases: asWeightGradient(cases),
    bench: asWeightGradient(bench),
    tol: { rel: 1e-5, abs: 3e-5, why: "sums over all pixels of a batch" },
  },
];
