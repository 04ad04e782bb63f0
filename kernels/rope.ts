import {
  acc,
  type Case,
  defineKernel,
  f32,
  flag,
  grid,
  inp,
  linear,
  type Suite,
  u32,
} from "../core/contract.ts";
import source from "../wgsl/rope.wgsl";

/**
 * Rotary position embedding: pair i of row s of x (…,S,D) is turned by the angle
 * (offset + s)·theta^(−2i/D). Pairs are (i, i + D/2) as in GPT-NeoX, or (2i, 2i + 1) under `interleaved`;
 * `inverse` turns the other way. `rotary` > 0 turns the first so many of the D only, as if they were all,
 * and hands on the others (GPT-NeoX). The angle is reduced exactly, in 64-bit fractions of a turn: for
 * positions up to 10^9 sine and cosine are right to 4e-7. Su et al., arXiv:2104.09864.
 * @throws ShapeError unless D and rotary are even, and rotary <= D
 * @throws ValueError unless theta >= 1
 */
export const rope = /* @__PURE__ */ defineKernel({
  name: "rope",
  family: "attention",
  args: [acc("y", "*R S D"), inp("x", "*R S D")],
  params: {
    theta: f32(10000, ["finite and >= 1", (v) => Number.isFinite(v) && v >= 1]),
    offset: u32(0),
    interleaved: flag(),
    inverse: flag(),
    rotary: u32(0),
  },
  check: ({ D }, { rotary }) => {
    if (D % 2 !== 0 || D >= 65536) return `x: D=${D} is not even, or not < 65536`;
    return rotary % 2 === 0 && rotary <= D
      ? undefined
      : `rotary: expected an even number up to D=${D}, got ${rotary}`;
  },
  ref: ({ y, x }, { R, S, D }, { theta, offset, interleaved, inverse, rotary }) => {
    const turned = rotary || D;
    const half = turned / 2;
    for (let i = 0; i < R * S * D; i++) if (i % D >= turned) y[i] = x[i];
    for (let row = 0; row < R * S; row++) {
      for (let i = 0; i < half; i++) {
        const angle = (offset + (row % S)) * Math.fround(theta) ** ((-2 * i) / turned);
        const c = Math.cos(angle);
        const s = inverse ? -Math.sin(angle) : Math.sin(angle);
        const a = row * D + (interleaved ? 2 * i : i);
        const b = a + (interleaved ? 1 : half);
        y[a] = x[a] * c - x[b] * s;
        y[b] = x[b] * c + x[a] * s;
      }
    }
  },
  vjp: (g) => {
    g.to("x", rope, [g.d.y], { ...g.p, inverse: 1 - g.p.inverse });
  },
  cost: ({ R, S, D }) => ({ flops: 3 * R * S * D + 20 * S * D, bytes: 8 * R * S * D }),
  webgpu: [{ source, grid: ({ S, D }) => linear((S * D) / 2) }],
  wasm: {
    tiles: ({ S }) => Math.ceil(S / 16),
    scratch: ({ D }) => 8 * D + 32,
  },
});

const cases = (): Case[] => [
  ...grid({ R: [[], [3]], S: [1, 5, 16, 17], D: [2, 6, 8, 10, 64] }),
  ...[{ interleaved: 1 }, { inverse: 1 }, { interleaved: 1, inverse: 1, theta: 500000 }].flatMap(
    (params) =>
      [2, 8, 14].map((D) => ({ dims: { R: [2, 2], S: 3, D }, params: { ...params, offset: 7 } })),
  ),
  { dims: { R: [], S: 40, D: 128 }, params: { offset: 99_990 } },
  { dims: { R: [], S: 40, D: 32 }, params: { offset: 1_048_530, theta: 1 } },
  { dims: { R: [], S: 9, D: 96 }, params: { offset: 131_072, theta: 1e6, interleaved: 1 } },
  ...[0, 1].flatMap((interleaved) =>
    [2, 6, 16, 20].map((rotary) => ({
      dims: { R: [2], S: 5, D: 20 },
      params: { rotary, interleaved, offset: 3 },
    })),
  ),
  { dims: { R: [0], S: 3, D: 4 } },
  { dims: { R: [2], S: 0, D: 4 } },
  { dims: { R: [2], S: 3, D: 0 } },
];

export const ropeSuite: Suite = {
  kernel: rope,
  cases,
  bench: () => [
    { dims: { R: [1, 12], S: 1024, D: 64 }, source: "12 heads of 64, 1024 tokens" },
    {
      dims: { R: [1, 32], S: 1, D: 128 },
      params: { offset: 4095 },
      source: "Llama decode, 32 heads",
    },
  ],
  tol: { rel: 1e-6, abs: 1e-6 },
};
