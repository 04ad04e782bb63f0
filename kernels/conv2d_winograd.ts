import {
  acc,
  type Case,
  choice,
  defineKernel,
  inp,
  linear,
  opt,
  type Params,
  type Suite,
  u32,
} from "../core/contract.ts";
import { DiffError } from "../core/errors.ts";
import source from "../wgsl/conv2d_winograd.wgsl";
import { conv_transpose2d, conv2d_bwd_w } from "./conv2d.ts";
import { activation, activations, beforeActivation } from "./lib/activation.ts";
import { biasGradient, extentsOf, transposed, windows } from "./lib/conv.ts";

/** Winograd tiles and output channels that one tile of the wasm kernel computes. */
const TILES = 16;
const ROWS = 120;
/** Bytes of scratch that every WebGPU device can bind. */
const SCRATCH = 134217728;

/**
 * The matrices of F(m×m, 3×3), m = `tile`, over the points 0, ±1, (±2,) ∞: for an image d and a kernel g
 * the correlation is aᵀ[(g k gᵀ) ⊙ (b d bᵀ)]a with a: m rows, b: m+2 rows, k: 3 columns.
 * Lavin and Gray, arXiv:1509.09308.
 */
const matrices: Record<string, { image: number[][]; kernel: number[][]; result: number[][] }> = {
  "2": {
    image: [
      [1, 0, -1, 0],
      [0, 1, 1, 0],
      [0, -1, 1, 0],
      [0, 1, 0, -1],
    ],
    kernel: [
      [1, 0, 0],
      [1 / 2, 1 / 2, 1 / 2],
      [1 / 2, -1 / 2, 1 / 2],
      [0, 0, 1],
    ],
    result: [
      [1, 1, 1, 0],
      [0, 1, -1, -1],
    ],
  },
  "4": {
    image: [
      [4, 0, -5, 0, 1, 0],
      [0, -4, -4, 1, 1, 0],
      [0, 4, -4, -1, 1, 0],
      [0, -2, -1, 2, 1, 0],
      [0, 2, -1, -2, 1, 0],
      [0, 4, 0, -5, 0, 1],
    ],
    kernel: [
      [1 / 4, 0, 0],
      [-1 / 6, -1 / 6, -1 / 6],
      [-1 / 6, 1 / 6, -1 / 6],
      [1 / 24, 1 / 12, 1 / 6],
      [1 / 24, -1 / 12, 1 / 6],
      [0, 0, 1],
    ],
    result: [
      [1, 1, 1, 1, 1, 0],
      [0, 1, -1, 2, -2, 0],
      [0, 1, 1, 4, 4, 0],
      [0, 1, -1, 8, -8, 1],
    ],
  },
};

/** m v mᵀ of the square v, flat. */
function sandwich(m: number[][], v: (i: number, j: number) => number): number[][] {
  const n = m[0].length;
  return m.map((left) =>
    m.map((right) => {
      let s = 0;
      for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) s += left[i] * v(i, j) * right[j];
      return s;
    }),
  );
}

const transformed = (p: Params): string => (p.tile === "4" ? "36 O C" : "16 O C");
const tile = () => choice("2", "4");

/**
 * u ((tile+2)²,O,C): 3×3 weights w (O,C,3,3) as `conv2d_winograd` takes them, every kernel k as g k gᵀ.
 * Has no VJP: `conv2d_winograd` hands gradients to w itself.
 */
export const winograd_filter = /* @__PURE__ */ defineKernel({
  name: "winograd_filter",
  family: "convolution",
  args: [acc("u", transformed), inp("w", "O C 3 3")],
  params: { tile: tile() },
  ref: ({ u, w }, { O, C }, p) => {
    for (let k = 0; k < O * C; k++) {
      const t = sandwich(matrices[p.tile].kernel, (i, j) => w[k * 9 + 3 * i + j]).flat();
      t.forEach((v, at) => {
        u[at * O * C + k] = v;
      });
    }
  },
  cost: ({ O, C }, { tile }) => {
    const n = tile === "4" ? 6 : 4;
    return { flops: O * C * 2 * n * (9 + 3 * n), bytes: 4 * O * C * (9 + n * n) };
  },
  webgpu: [{ source, grid: ({ O, C }) => linear(O * C) }],
  wasm: { tiles: ({ O }) => O, scratch: () => 288 + 36 * 64 },
});

/**
 * y (B,O,P,Q) = beta·y + act(x ⋆ w + bias) as `conv2d` with 3×3 kernels, stride 1, dilation 1, one group,
 * by Winograd's minimal filtering F(tile×tile, 3×3): x (B,C,H,W), u = winograd_filter(w, {tile}), bias
 * (O) optional. tile 2 takes 2.25 times fewer multiplications than `conv2d`, tile 4 takes 4 times
 * fewer, and rounds more. Largest error of 8192 outputs against f64, x and w of unit variance, in
 * standard deviations of y, for C = 64 and 512: tile 2: 1.4e-6 and 4e-6, tile 4: 2.7e-5 and 5e-5,
 * `conv2d`: 5e-6 and 1.1e-5.
 * A NaN or Inf of x reaches all pixels of its tile.
 *
 * w (O,C,3,3) is read by the gradient alone: dx and dw are those of `conv2d`, and dw goes to w, not to
 * u.
 * @throws ShapeError when the padded image is smaller than 3×3; DiffError when a gradient with respect
 * to x or u is asked for without w
 */
export const conv2d_winograd = /* @__PURE__ */ defineKernel({
  name: "conv2d_winograd",
  family: "convolution",
  cut: () => ["B"],
  args: [
    acc("y", "B O P Q"),
    inp("x", "B C H W"),
    inp("u", transformed),
    opt("bias", "O"),
    opt("w", "O C 3 3"),
  ],
  params: { tile: tile(), pad: u32(0), act: activation() },
  derive: (d, _runs, p, fail) => {
    d.R = 3;
    d.S = 3;
    windows(d, { stride: 1, dilation: 1, pad: p.pad }, fail);
  },
  ref: ({ y, x, u, bias }, { B, O, P, Q, C, H, W }, { tile, pad, act }) => {
    const { image, result } = matrices[tile];
    const m = result.length;
    const n = m + 2;
    for (let b = 0; b < B; b++) {
      for (let top = 0; top < P; top += m) {
        for (let left = 0; left < Q; left += m) {
          const v = Array.from({ length: C }, (_, c) =>
            sandwich(image, (i, j) => {
              const [h, w] = [top + i - pad, left + j - pad];
              const inside = h >= 0 && h < H && w >= 0 && w < W;
              return inside ? x[((b * C + c) * H + h) * W + w] : 0;
            }),
          );
          for (let o = 0; o < O; o++) {
            const sums = sandwich(result, (i, j) => {
              let s = 0;
              for (let c = 0; c < C; c++) s += u[((i * n + j) * O + o) * C + c] * v[c][i][j];
              return s;
            });
            for (let i = 0; i < Math.min(m, P - top); i++) {
              for (let j = 0; j < Math.min(m, Q - left); j++) {
                const at = ((b * O + o) * P + top + i) * Q + left + j;
                y[at] = activations[act](sums[i][j] + (bias ? bias[o] : 0));
              }
            }
          }
        }
      }
    }
  },
  vjp: (g) => {
    const { tile, pad, act } = g.p;
    const { x, u, bias, w } = g.in;
    const dz = beforeActivation(g, act, () => conv2d_winograd(x, u, { tile, pad, bias }));
    if (bias) biasGradient(g, dz);
    if (!w ? g.needs("x") || g.needs("u") : g.needs("u") && !g.needs("w")) {
      throw new DiffError(
        "no-vjp",
        "w: gradients need it, and go to it, not to u",
        "conv2d_winograd",
      );
    }
    if (!w) return;
    g.to("x", conv_transpose2d, [dz, w], transposed(g.dims, { stride: 1, pad, dilation: 1 }));
    g.to("w", conv2d_bwd_w, [x, dz], { pad, ...extentsOf(g.dims) });
  },
  // FLOPs of the same convolution done directly, so that rates compare.
  cost: ({ B, O, P, Q, C, H, W }, { tile }) => ({
    flops: 18 * B * O * P * Q * C,
    bytes: 4 * (B * O * P * Q + B * C * H * W + (tile === "4" ? 36 : 16) * O * C),
  }),
  webgpu: [
    {
      name: "blocks2",
      source,
      entry: "conv2d_winograd_image2_f32",
      grid: ({ B, P, Q, C }) =>
        linear(4 * C * Math.ceil((B * Math.ceil(P / 2) * Math.ceil(Q / 2)) / 4)),
      when: ({ B, O, P, Q, C }, { tile }) =>
        tile === "2" &&
        256 * (C + O) * Math.ceil((B * Math.ceil(P / 2) * Math.ceil(Q / 2)) / 4) <= SCRATCH,
      prefer: (_d, _p, { software }) => software,
      scratch: ({ B, O, P, Q, C }) =>
        256 * (C + O) * Math.ceil((B * Math.ceil(P / 2) * Math.ceil(Q / 2)) / 4),
      further: [
        {
          entry: "conv2d_winograd_multiply_blocks_f32",
          grid: ({ B, O, P, Q }) =>
            linear(
              16 * Math.ceil(O / 8) * Math.ceil((B * Math.ceil(P / 2) * Math.ceil(Q / 2)) / 16),
              16,
            ),
        },
        {
          entry: "conv2d_winograd_result2_f32",
          grid: ({ B, O, P, Q }) =>
            linear(4 * O * Math.ceil((B * Math.ceil(P / 2) * Math.ceil(Q / 2)) / 4)),
        },
      ],
    },
    {
      name: "blocks4",
      source,
      entry: "conv2d_winograd_image4_f32",
      grid: ({ B, P, Q, C }) =>
        linear(4 * C * Math.ceil((B * Math.ceil(P / 4) * Math.ceil(Q / 4)) / 4)),
      when: ({ B, O, P, Q, C }, { tile }) =>
        tile === "4" &&
        576 * (C + O) * Math.ceil((B * Math.ceil(P / 4) * Math.ceil(Q / 4)) / 4) <= SCRATCH,
      prefer: (_d, _p, { software }) => software,
      scratch: ({ B, O, P, Q, C }) =>
        576 * (C + O) * Math.ceil((B * Math.ceil(P / 4) * Math.ceil(Q / 4)) / 4),
      further: [
        {
          entry: "conv2d_winograd_multiply_blocks_f32",
          grid: ({ B, O, P, Q }) =>
            linear(
              36 * Math.ceil(O / 8) * Math.ceil((B * Math.ceil(P / 4) * Math.ceil(Q / 4)) / 16),
              16,
            ),
        },
        {
          entry: "conv2d_winograd_result4_f32",
          grid: ({ B, O, P, Q }) =>
            linear(4 * O * Math.ceil((B * Math.ceil(P / 4) * Math.ceil(Q / 4)) / 4)),
        },
      ],
    },
    {
      name: "tiles2",
      source,
      entry: "conv2d_winograd_image2_f32",
      grid: ({ B, P, Q, C }) =>
        linear(4 * C * Math.ceil((B * Math.ceil(P / 2) * Math.ceil(Q / 2)) / 4)),
      when: ({ B, O, P, Q, C }, { tile }) =>
        tile === "2" &&
        256 * (C + O) * Math.ceil((B * Math.ceil(P / 2) * Math.ceil(Q / 2)) / 4) <= SCRATCH,
      prefer: (_d, _p, { software }) => !software,
      scratch: ({ B, O, P, Q, C }) =>
        256 * (C + O) * Math.ceil((B * Math.ceil(P / 2) * Math.ceil(Q / 2)) / 4),
      further: [
        {
          entry: "conv2d_winograd_multiply_tiles_f32",
          grid: ({ B, O, P, Q }) =>
            linear(
              16 * Math.ceil(O / 64) * Math.ceil((B * Math.ceil(P / 2) * Math.ceil(Q / 2)) / 64),
              1,
            ),
        },
        {
          entry: "conv2d_winograd_result2_f32",
          grid: ({ B, O, P, Q }) =>
            linear(4 * O * Math.ceil((B * Math.ceil(P / 2) * Math.ceil(Q / 2)) / 4)),
        },
      ],
    },
    {
      name: "tiles4",
      source,
      entry: "conv2d_winograd_image4_f32",
      grid: ({ B, P, Q, C }) =>
        linear(4 * C * Math.ceil((B * Math.ceil(P / 4) * Math.ceil(Q / 4)) / 4)),
      when: ({ B, O, P, Q, C }, { tile }) =>
        tile === "4" &&
        576 * (C + O) * Math.ceil((B * Math.ceil(P / 4) * Math.ceil(Q / 4)) / 4) <= SCRATCH,
      prefer: (_d, _p, { software }) => !software,
      scratch: ({ B, O, P, Q, C }) =>
        576 * (C + O) * Math.ceil((B * Math.ceil(P / 4) * Math.ceil(Q / 4)) / 4),
      further: [
        {
          entry: "conv2d_winograd_multiply_tiles_f32",
          grid: ({ B, O, P, Q }) =>
            linear(
              36 * Math.ceil(O / 64) * Math.ceil((B * Math.ceil(P / 4) * Math.ceil(Q / 4)) / 64),
              1,
            ),
        },
        {
          entry: "conv2d_winograd_result4_f32",
          grid: ({ B, O, P, Q }) =>
            linear(4 * O * Math.ceil((B * Math.ceil(P / 4) * Math.ceil(Q / 4)) / 4)),
        },
      ],
    },
    {
      source,
      grid: ({ B, O, P, Q }, { tile }) =>
        linear(
          B * O * Math.ceil(P / (tile === "4" ? 4 : 2)) * Math.ceil(Q / (tile === "4" ? 4 : 2)),
        ),
    },
  ],
  wasm: {
    tiles: ({ B, O, P, Q }, { tile }) =>
      Math.ceil(
        (B * Math.ceil(P / (tile === "4" ? 4 : 2)) * Math.ceil(Q / (tile === "4" ? 4 : 2))) / TILES,
      ) * Math.ceil(O / ROWS),
    scratch: ({ O, C }, { tile }) =>
      640 + (tile === "4" ? 36 : 16) * 4 * TILES * (C + Math.min(ROWS, O)),
  },
});

const shapes = (): Case["dims"][] => [
  // Edges of tiles, quads of tiles and blocks of tiles; channels off the rows of a register tile.
  ...[1, 2, 4, 5, 8, 15, 16, 17].map((n) => ({ B: 1, C: 3, H: n, W: n + 1, O: 5 })),
  { B: 1, C: 7, H: 5, W: 34, O: 4 },
  { B: 3, C: 5, H: 6, W: 7, O: 13 },
  { B: 1, C: 2, H: 4, W: 18, O: 121 },
  { B: 1, C: 19, H: 9, W: 10, O: 5 },
  { B: 0, C: 2, H: 4, W: 4, O: 3 },
  { B: 1, C: 0, H: 4, W: 4, O: 3 },
  { B: 1, C: 2, H: 4, W: 4, O: 0 },
];
const cases = (): Case[] =>
  ["2", "4"].flatMap((tile) => [
    ...shapes().map((dims) => ({ dims, params: { tile, pad: 1 }, with: ["bias", "w"] })),
    { dims: { B: 1, C: 3, H: 9, W: 19, O: 4 }, params: { tile }, with: ["w"] },
    { dims: { B: 2, C: 3, H: 3, W: 4, O: 2 }, params: { tile, pad: 3 }, with: ["w"] },
    ...["relu", "gelu"].map((act) => ({
      dims: { B: 1, C: 2, H: 6, W: 18, O: 3 },
      params: { tile, pad: 1, act },
      with: ["bias", "w"],
    })),
  ]);
const bench = (): Case[] =>
  ["4", "2"].flatMap((tile) => [
    {
      dims: { B: 1, C: 64, H: 64, W: 64, O: 64 },
      params: { tile, pad: 1 },
      source: `F(${tile}×${tile}), 64→64 of 64²`,
    },
    {
      dims: { B: 4, C: 32, H: 32, W: 32, O: 32 },
      params: { tile, pad: 1 },
      source: `F(${tile}×${tile}), U-Net of 32², batch 4`,
    },
  ]);

export const conv2dWinogradSuites: Suite[] = [
  {
    kernel: winograd_filter,
    cases: () =>
      ["2", "4"].flatMap((tile) =>
        [1, 3, 4, 5, 16, 17, 22].map((C) => ({ dims: { O: 3, C }, params: { tile } })),
      ),
    bench: () =>
      ["4", "2"].map((tile) => ({
        dims: { O: 64, C: 64 },
        params: { tile },
        source: `F(${tile}×${tile}), 64→64`,
      })),
    tol: { rel: 1e-5, abs: 1e-6 },
  },
  {
    kernel: conv2d_winograd,
    cases,
    bench,
    tol: {
      rel: 1e-5,
      abs: 2e-4,
      why: "the transforms weigh numbers of u, free here, by up to 10² on the way in and 19² on the way out",
    },
    fill: { u: (v) => (2 * v - 1) / 8 },
    skipFiniteDifferences:
      "the gradient goes to w, of which u is a function; test/gradients.test.ts",
  },
];
