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
import source from "../wgsl/conv2d.wgsl";
import { activation, activations, beforeActivation } from "./lib/activation.ts";
import {
  asTransposed,
  asWeightGradient,
  biasGradient,
  convCase,
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
import { atLeastOne } from "./lib/params.ts";

/** Pixels and rows of a product that a tile computes. */
const PIXELS = 32;
const ROWS = 120;
/**
 * Products of channels, and pixels, from which blocks of them are worth their packing on a CPU's WebGPU;
 * those of 8×8 pixels where at least half of them are in the image.
 */
const BLOCKED = 16;
/** Channels, planes and pixels from which tiles are on a GPU. */
const TILED = 16;
/** Pixels of dy that the gradient of w takes at a time. */
const CHUNK = 512;

const divisible = ({ C, O, I }: Dims, { groups }: Params): string | undefined => {
  if (O % groups !== 0) return `w: O = ${O} is not a multiple of groups = ${groups}`;
  return I * groups === C ? undefined : `x and w: C = ${C} is not groups · I = ${groups} · ${I}`;
};
const cost = ({ B, O, P, Q, C, H, W, I, R, S }: Dims) => ({
  flops: 2 * B * O * P * Q * I * R * S,
  bytes: 4 * (B * O * P * Q + B * C * H * W + O * I * R * S),
});

const plain3x3 = ({ R, S }: Dims, { stride, dilation }: Params) =>
  R === 3 && S === 3 && stride === 1 && dilation === 1;
/** The pass that packs w in vectors of four channels. */
const packing = {
  entry: "conv2d_pack_f32",
  grid: ({ O, I, R, S }: Dims, { groups }: Params) =>
    linear(R * S * groups * Math.ceil(O / groups / 4) * I),
  scratch: ({ O, I, R, S }: Dims, { groups }: Params) =>
    16 * R * S * groups * Math.ceil(O / groups / 4) * I,
};
const packingTransposed = {
  entry: "conv_transpose2d_pack_f32",
  grid: ({ O, I, R, S }: Dims) => linear(R * S * O * Math.ceil(I / 4)),
  scratch: ({ O, I, R, S }: Dims) => 16 * R * S * O * Math.ceil(I / 4),
};

/**
 * y (B,O,P,Q) = beta·y + act(x ⋆ w + bias): cross-correlation of x (B,C,H,W) with w (O,I,R,S), I =
 * C/groups, bias (O) optional. P = ⌊(H + 2·pad − dilation·(R−1) − 1)/stride⌋ + 1, Q likewise; pad is
 * zeros on every side. Group j maps channels j·I … of x to the j-th part of O. act as in `matmul`.
 * f32 accumulation. An Inf in w may give NaN where it meets the padding.
 * @throws ShapeError when the kernel spans more than the padded image, or groups do not divide C and O
 */
export const conv2d = /* @__PURE__ */ defineKernel({
  name: "conv2d",
  family: "convolution",
  cut: () => ["B"],
  args: [acc("y", "B O P Q"), inp("x", "B C H W"), inp("w", "O I R S"), opt("bias", "O")],
  params: { ...windowParams(), groups: atLeastOne(1), act: activation() },
  derive: (d, _runs, p, fail) => windows(d, p, fail),
  check: divisible,
  ref: ({ y, x, w, bias }, d, p) => {
    const { O, P, Q } = d;
    eachMeeting(d, p, (iy, ix, iw) => {
      y[iy] += x[ix] * w[iw];
    });
    for (let i = 0; i < y.length; i++)
      y[i] = activations[p.act](y[i] + (bias ? bias[Math.floor(i / (P * Q)) % O] : 0));
  },
  vjp: (g) => {
    const { act, ...p } = g.p;
    const { x, w, bias } = g.in;
    const dz = beforeActivation(g, act, () => conv2d(x, w, { ...windowOf(p), bias }));
    g.to("x", conv_transpose2d, [dz, w], transposed(g.dims, p));
    g.to("w", conv2d_bwd_w, [x, dz], { ...windowOf(p), ...extentsOf(g.dims) });
    if (bias) biasGradient(g, dz);
  },
  cost,
  webgpu: [
    {
      name: "rows",
      source,
      ...packing,
      when: plain3x3,
      prefer: ({ O, I, P, Q }, { groups }, { software }) =>
        software &&
        (O / groups) * I >= BLOCKED &&
        P * Q >= 32 * Math.ceil(P / 8) * Math.ceil(Q / 8),
      further: [
        {
          entry: "conv2d_f32__rows",
          grid: ({ B, O, P, Q }, { groups }) =>
            linear(
              B * groups * Math.ceil(O / groups / 4) * Math.ceil(P / 8) * Math.ceil(Q / 8),
              16,
            ),
        },
      ],
    },
    {
      name: "blocks",
      source,
      ...packing,
      prefer: ({ O, I, P, Q }, { groups }, { software }) =>
        software && (O / groups) * I >= BLOCKED && P * Q >= BLOCKED,
      further: [
        {
          entry: "conv2d_f32__blocks",
          grid: ({ B, O, P, Q }, { groups }) =>
            linear(B * groups * Math.ceil(O / groups / 8) * Math.ceil((P * Q) / 16), 16),
        },
      ],
    },
    {
      name: "tiles",
      source,
      ...packing,
      prefer: ({ O, I, P, Q }, { groups }, { software }) =>
        !software && O / groups >= TILED && I >= TILED && P * Q >= TILED,
      further: [
        {
          entry: "conv2d_f32__tiles",
          grid: ({ B, O, P, Q }, { groups }) =>
            linear(B * groups * Math.ceil(O / groups / 64) * Math.ceil((P * Q) / 64), 1),
        },
      ],
    },
    { source, grid: ({ B, O, P, Q }) => linear(B * O * P * Q) },
  ],
  wasm: {
    tiles: ({ B, O, P, Q }, { groups }) =>
      B * groups * Math.ceil((P * Q) / PIXELS) * Math.ceil(O / groups / ROWS),
    scratch: ({ I, R, S }) => 512 + 8 * R * S + 4 * PIXELS * I * R * S,
  },
});

/**
 * y (B,C,H,W) = beta·y + act(x ⋆ᵀ w + bias): the transposed convolution of x (B,O,P,Q) with w
 * (O,I,R,S), C = groups·I, bias (C) optional: what `conv2d` owes to its x for a cotangent x of its y.
 * H = (P−1)·stride − 2·pad + dilation·(R−1) + 1 + output_pad_h, W likewise; pad takes rows away, and
 * the output_pads, below the stride, add some at the end. act as in `matmul`.
 * @throws ShapeError when nothing is left, an output_pad reaches the stride, or groups do not divide O
 */
export const conv_transpose2d = /* @__PURE__ */ defineKernel({
  name: "conv_transpose2d",
  family: "convolution",
  cut: () => ["B"],
  args: [acc("y", "B C H W"), inp("x", "B O P Q"), inp("w", "O I R S"), opt("bias", "C")],
  params: { ...windowParams(), groups: atLeastOne(1), ...outputPads(), act: activation() },
  derive: (d, _runs, p, fail) => {
    d.C = d.I * p.groups;
    transposedWindows(d, p, fail);
  },
  check: divisible,
  ref: ({ y, x, w, bias }, d, p) => {
    const { C, H, W } = d;
    eachMeeting(d, p, (ix, iy, iw) => {
      y[iy] += x[ix] * w[iw];
    });
    for (let i = 0; i < y.length; i++)
      y[i] = activations[p.act](y[i] + (bias ? bias[Math.floor(i / (H * W)) % C] : 0));
  },
  vjp: (g) => {
    const { act, ...p } = g.p;
    const { x, w, bias } = g.in;
    const dz = beforeActivation(g, act, () => conv_transpose2d(x, w, { ...p, bias }));
    g.to("x", conv2d, [dz, w], windowOf(p));
    g.to("w", conv2d_bwd_w, [dz, x], { ...windowOf(p), ...extentsOf(g.dims) });
    if (bias) biasGradient(g, dz);
  },
  cost,
  webgpu: [
    {
      name: "rows",
      source,
      ...packingTransposed,
      when: plain3x3,
      prefer: ({ O, I, H, W }, { groups }, { software }) =>
        software &&
        (O / groups) * I >= BLOCKED &&
        H * W >= 32 * Math.ceil(H / 8) * Math.ceil(W / 8),
      further: [
        {
          entry: "conv_transpose2d_f32__rows",
          grid: ({ B, I, H, W }, { groups }) =>
            linear(B * groups * Math.ceil(I / 4) * Math.ceil(H / 8) * Math.ceil(W / 8), 16),
        },
      ],
    },
    {
      name: "blocks",
      source,
      ...packingTransposed,
      prefer: ({ O, I, H, W }, { groups }, { software }) =>
        software && (O / groups) * I >= BLOCKED && H * W >= BLOCKED,
      further: [
        {
          entry: "conv_transpose2d_f32__blocks",
          grid: ({ B, I, H, W }, { groups, stride }) =>
            linear(
              B *
                groups *
                Math.ceil(I / 8) *
                Math.min(stride, H) *
                Math.min(stride, W) *
                Math.ceil((Math.ceil(H / stride) * Math.ceil(W / stride)) / 16),
              16,
            ),
        },
      ],
    },
    {
      name: "tiles",
      source,
      ...packingTransposed,
      prefer: ({ O, I, H, W }, { groups }, { software }) =>
        !software && O / groups >= TILED && I >= TILED && H * W >= TILED,
      further: [
        {
          entry: "conv_transpose2d_f32__tiles",
          grid: ({ B, I, H, W }, { groups, stride }) =>
            linear(
              B *
                groups *
                Math.ceil(I / 64) *
                Math.min(stride, H) *
                Math.min(stride, W) *
                Math.ceil((Math.ceil(H / stride) * Math.ceil(W / stride)) / 64),
              1,
            ),
        },
      ],
    },
    { source, grid: ({ B, C, H, W }) => linear(B * C * H * W) },
  ],
  wasm: {
    // Pixels are taken in stride² phases: those of a phase meet the same taps.
    tiles: ({ B, C, H, W }, { groups, stride }) =>
      B *
      groups *
      Math.min(stride, H) *
      Math.min(stride, W) *
      Math.ceil((Math.ceil(H / stride) * Math.ceil(W / stride)) / PIXELS) *
      Math.ceil(C / groups / ROWS),
    scratch: ({ O, I, R, S }, { groups }) =>
      512 + 12 * R * S + 4 * (PIXELS + Math.min(ROWS, I)) * (O / groups) * R * S,
  },
});

/**
 * dw (O,I,R,S) = beta·dw + Σ over batch and pixels of dy (B,O,P,Q) · x (B,C,H,W): what `conv2d` owes to
 * w. R and S are given as kernel_h and kernel_w.
 * @throws ShapeError when P and Q are not what x and the kernel give, or groups do not divide C and O
 */
export const conv2d_bwd_w = /* @__PURE__ */ defineKernel({
  name: "conv2d_bwd_w",
  family: "convolution",
  cut: () => ["B"],
  args: [acc("dw", "O I R S"), inp("x", "B C H W"), inp("dy", "B O P Q")],
  params: { ...windowParams(), groups: atLeastOne(1), ...kernelExtents() },
  derive: (d, _runs, p, fail) => {
    d.I = Math.floor(d.C / p.groups);
    d.R = p.kernel_h;
    d.S = p.kernel_w;
    windows(d, p, fail);
  },
  check: divisible,
  ref: ({ dw, x, dy }, d, p) => {
    eachMeeting(d, p, (iy, ix, iw) => {
      dw[iw] += dy[iy] * x[ix];
    });
  },
  vjp: (g) => {
    const { x, dy } = g.in;
    g.to("x", conv_transpose2d, [dy, g.d.dw], transposed(g.dims, g.p));
    g.to("dy", conv2d, [x, g.d.dw], windowOf(g.p));
  },
  cost,
  webgpu: [
    {
      name: "rows",
      source,
      grid: ({ B, O, P, I, R, S }, { groups }) =>
        linear(
          groups *
            Math.ceil(O / groups / 8) *
            Math.ceil((I * R * S) / 18) *
            Math.max(
              1,
              Math.min(
                B * P,
                Math.ceil(256 / (groups * Math.ceil(O / groups / 8) * Math.ceil((I * R * S) / 18))),
              ),
            ),
          16,
        ),
      constants: { UNIT_O: 8, UNIT_N: 18, TARGET: 256 },
      when: plain3x3,
      prefer: ({ O, B, P, Q }, { groups }, { software }) =>
        software && O / groups >= 4 && B * P * Q >= BLOCKED,
      scratch: ({ B, O, P, I, R, S }, { groups }) =>
        4 *
        O *
        I *
        R *
        S *
        Math.max(
          1,
          Math.min(
            B * P,
            Math.ceil(256 / (groups * Math.ceil(O / groups / 8) * Math.ceil((I * R * S) / 18))),
          ),
        ),
      further: [
        {
          entry: "conv2d_bwd_w_sum_f32",
          grid: ({ O, I, R, S }) => linear(O * I * R * S),
          constants: { UNIT_O: 8, UNIT_N: 18, TARGET: 256 },
        },
      ],
    },
    {
      name: "blocks",
      source,
      grid: ({ B, O, P, I, R, S }, { groups }) =>
        linear(
          groups *
            Math.ceil(O / groups / 8) *
            Math.ceil((I * R * S) / 8) *
            Math.max(
              1,
              Math.min(
                B * P,
                Math.ceil(256 / (groups * Math.ceil(O / groups / 8) * Math.ceil((I * R * S) / 8))),
              ),
            ),
          16,
        ),
      constants: { UNIT_O: 8, UNIT_N: 8, TARGET: 256 },
      prefer: ({ O, B, P, Q }, { groups }, { software }) =>
        software && O / groups >= 4 && B * P * Q >= BLOCKED,
      scratch: ({ B, O, P, I, R, S }, { groups }) =>
        4 *
        O *
        I *
        R *
        S *
        Math.max(
          1,
          Math.min(
            B * P,
            Math.ceil(256 / (groups * Math.ceil(O / groups / 8) * Math.ceil((I * R * S) / 8))),
          ),
        ),
      further: [
        {
          entry: "conv2d_bwd_w_sum_f32",
          grid: ({ O, I, R, S }) => linear(O * I * R * S),
          constants: { UNIT_O: 8, UNIT_N: 8, TARGET: 256 },
        },
      ],
    },
    {
      name: "tiles",
      source,
      grid: ({ B, O, P, I, R, S }, { groups }) =>
        linear(
          groups *
            Math.ceil(O / groups / 64) *
            Math.ceil((I * R * S) / 64) *
            Math.max(
              1,
              Math.min(
                B * P,
                Math.ceil(
                  256 / (groups * Math.ceil(O / groups / 64) * Math.ceil((I * R * S) / 64)),
                ),
              ),
            ),
          1,
        ),
      constants: { UNIT_O: 64, UNIT_N: 64, TARGET: 256 },
      prefer: ({ O, I, R, S, B, P, Q }, { groups }, { software }) =>
        !software && O / groups >= TILED && I * R * S >= TILED && B * P * Q >= TILED,
      scratch: ({ B, O, P, I, R, S }, { groups }) =>
        4 *
        O *
        I *
        R *
        S *
        Math.max(
          1,
          Math.min(
            B * P,
            Math.ceil(256 / (groups * Math.ceil(O / groups / 64) * Math.ceil((I * R * S) / 64))),
          ),
        ),
      further: [
        {
          entry: "conv2d_bwd_w_sum_f32",
          grid: ({ O, I, R, S }) => linear(O * I * R * S),
          constants: { UNIT_O: 64, UNIT_N: 64, TARGET: 256 },
        },
      ],
    },
    { source, grid: ({ O, I, R, S }) => linear(O * I * R * S) },
  ],
  wasm: {
    tiles: ({ O, I, R, S }, { groups }) => (O === 0 ? 0 : groups * Math.ceil((I * R * S) / 8)),
    scratch: ({ O }, { groups }) => 96 + 32 * (O / groups) + 32 * CHUNK,
  },
});

const cases = (): Case[] => [
  // Tile edges of output channels (4, 5, 6 rows), depth and pixels (8 at a time).
  ...[1, 5, 6, 7, 8, 9, 13].flatMap((n) => [
    convCase({ B: 1, C: 2, H: 3, W: n, O: n, R: 3, S: 3 }, { pad: 1 }),
    convCase({ B: 2, C: n, H: n, W: 5, O: 3, R: 1, S: 1 }),
  ]),
  // Geometry: the kernel larger than the image, padding larger than the kernel, not square.
  ...[1, 2, 3].flatMap((stride) => [
    convCase({ B: 2, C: 3, H: 9, W: 8, O: 4, R: 3, S: 3 }, { stride, pad: 1 }),
    convCase({ B: 1, C: 2, H: 7, W: 13, O: 5, R: 2, S: 4 }, { stride, pad: 2 }),
    convCase({ B: 1, C: 2, H: 8, W: 9, O: 3, R: 3, S: 2 }, { stride, pad: 3, dilation: 2 }),
    convCase({ B: 1, C: 1, H: 5, W: 6, O: 2, R: 1, S: 1 }, { stride, pad: 3 }),
  ]),
  convCase({ B: 1, C: 2, H: 3, W: 2, O: 3, R: 5, S: 4 }, { pad: 2 }),
  convCase({ B: 1, C: 4, H: 6, W: 7, O: 6, R: 3, S: 3 }, { groups: 2, pad: 1 }, { with: ["bias"] }),
  convCase({ B: 2, C: 4, H: 6, W: 5, O: 8, R: 3, S: 3 }, { groups: 4, stride: 2 }),
  // More than one block of pixels and of rows.
  convCase({ B: 1, C: 3, H: 9, W: 12, O: 130, R: 2, S: 3 }, { pad: 1 }, { with: ["bias"] }),
  // More than one tile of planes, and of columns of a gradient of w.
  convCase({ B: 2, C: 19, H: 7, W: 10, O: 9, R: 3, S: 3 }, { pad: 1 }, { with: ["bias"] }),
  convCase({ B: 0, C: 2, H: 4, W: 4, O: 3, R: 3, S: 3 }),
  convCase({ B: 1, C: 0, H: 4, W: 4, O: 3, R: 3, S: 3 }, {}, { with: ["bias"] }),
  convCase({ B: 1, C: 2, H: 4, W: 4, O: 0, R: 3, S: 3 }),
  convCase({ B: 1, C: 2, H: 0, W: 3, O: 3, R: 2, S: 3 }, { pad: 1 }),
];
const activated = (): Case[] =>
  ["relu", "tanh", "sigmoid", "gelu", "silu"].map((act) =>
    convCase({ B: 1, C: 2, H: 5, W: 5, O: 3, R: 2, S: 3 }, { act }, { with: ["bias"] }),
  );
const bench = (): Case[] => [
  convCase(
    { B: 1, C: 64, H: 64, W: 64, O: 64, R: 3, S: 3 },
    { pad: 1 },
    { source: "3×3 64→64 of 64²" },
  ),
  convCase(
    { B: 8, C: 16, H: 12, W: 12, O: 32, R: 5, S: 5 },
    {},
    { source: "second layer of a CNN of digits, batch 8" },
  ),
  convCase(
    { B: 1, C: 64, H: 32, W: 32, O: 128, R: 1, S: 1 },
    {},
    { source: "pointwise 64→128 of 32²" },
  ),
  convCase(
    { B: 4, C: 32, H: 32, W: 32, O: 32, R: 3, S: 3 },
    { pad: 1 },
    { source: "U-Net of 32², batch 4" },
  ),
  convCase(
    { B: 1, C: 64, H: 64, W: 64, O: 64, R: 3, S: 3 },
    { pad: 1, stride: 2 },
    { source: "3×3 64→64, stride 2" },
  ),
];

const tol = { rel: 1e-5, abs: 1e-5 };

export const conv2dSuites: Suite[] = [
  { kernel: conv2d, cases: () => [...cases(), ...activated()], bench, tol },
  {
    kernel: conv_transpose2d,
    cases: asTransposed(() => [...cases(), ...activated()]),
    bench: asTransposed(bench),
    tol,
  },
  {
    kernel: conv2d_bwd_w,
    cases: () => [
      ...asWeightGradient(cases)(),
      // More pixels than one chunk.
      ...asWeightGradient(() => [convCase({ B: 2, C: 2, H: 23, W: 25, O: 5, R: 2, S: 2 })])(),
    ],
    bench: asWeightGradient(bench),
    tol: { rel: 1e-5, abs: 3e-5, why: "sums over all pixels of a batch" },
  },
];
