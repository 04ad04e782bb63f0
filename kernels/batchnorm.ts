import {
  acc,
  type Case,
  defineKernel,
  edges,
  f32,
  flag,
  grid,
  inp,
  linear,
  out,
  positive,
  type Suite,
} from "../core/contract.ts";
import source from "../wgsl/batchnorm.wgsl";

/** A workgroup, and on wasm a tile, a channel. */
const channels = ({ C }: { C?: number }) => linear(C ?? 0, 1);
const eps = () => ({ eps: f32(1e-5, positive) });
const filled = ({ B, S }: { B?: number; S?: number }) =>
  B && S ? undefined : `x: a channel has no elements (B = ${B}, S = ${S})`;

/**
 * y (B,C,S) = (x − mean)/√(variance + eps) · weight + bias with the mean (C) and biased variance (C) of each
 * channel of x (B,C,S) over B and S; S is all spatial axes at once (`x.reshape([B, C, -1])`). For running
 * statistics hand mean and variance · n/(n−1), n = B·S, to `ema`, and those to `batchnorm_inference`. mean and
 * variance carry no gradient of their own. (Ioffe and Szegedy 2015, Alg. 1)
 * @throws ShapeError when a channel has no elements
 */
export const batchnorm = /* @__PURE__ */ defineKernel({
  name: "batchnorm",
  family: "normalisation",
  cut: () => ["C"],
  args: [
    out("y", "B C S"),
    out("mean", "C"),
    out("variance", "C"),
    inp("x", "B C S"),
    inp("weight", "C"),
    inp("bias", "C"),
  ],
  params: eps(),
  check: filled,
  ref: ({ y, mean, variance, x, weight, bias }, { B, C, S }, { eps }) => {
    for (let c = 0; c < C; c++) {
      const each = (f: (i: number) => void) => {
        for (let b = 0; b < B; b++) for (let s = 0; s < S; s++) f((b * C + c) * S + s);
      };
      each((i) => {
        mean[c] += x[i] / (B * S);
      });
      each((i) => {
        variance[c] += (x[i] - mean[c]) ** 2 / (B * S);
      });
      const k = weight[c] / Math.sqrt(variance[c] + eps);
      each((i) => {
        y[i] = (x[i] - mean[c]) * k + bias[c];
      });
    }
  },
  vjp: (g) => {
    if (!g.d.y) return;
    g.toAll(
      { dx: "x", dweight: "weight", dbias: "bias" },
      batchnorm_bwd,
      [g.d.y, g.in.x, g.in.weight, g.out.mean, g.out.variance],
      { eps: g.p.eps },
    );
  },
  cost: ({ B, C, S }) => ({ flops: 8 * B * C * S, bytes: 8 * B * C * S }),
  webgpu: [{ source, grid: channels }],
  wasm: { tiles: ({ C }) => C },
});

/**
 * y (B,C,S) = (x − mean)/√(variance + eps) · weight + bias, x (B,C,S) with given statistics (C): a channel's
 * affine map. mean and variance are constants to its gradient.
 */
export const batchnorm_inference = /* @__PURE__ */ defineKernel({
  name: "batchnorm_inference",
  family: "normalisation",
  cut: () => ["B", "C"],
  args: [
    acc("y", "B C S"),
    inp("x", "B C S"),
    inp("weight", "C"),
    inp("bias", "C"),
    inp("mean", "C"),
    inp("variance", "C"),
  ],
  params: eps(),
  ref: ({ y, x, weight, bias, mean, variance }, { B, C, S }, { eps }) => {
    for (let i = 0; i < B * C * S; i++) {
      const c = Math.floor(i / S) % C;
      y[i] = ((x[i] - mean[c]) * weight[c]) / Math.sqrt(variance[c] + eps) + bias[c];
    }
  },
  vjp: (g) =>
    g.toAll(
      { dx: "x", dweight: "weight", dbias: "bias" },
      batchnorm_bwd,
      [g.d.y, g.in.x, g.in.weight, g.in.mean, g.in.variance],
      { eps: g.p.eps, inference: 1 },
    ),
  cost: ({ B, C, S }) => ({ flops: 4 * B * C * S, bytes: 8 * B * C * S }),
  webgpu: [{ source, grid: ({ B, C, S }) => linear(B * C * S) }],
  wasm: { tiles: ({ B, C }) => B * C },
});

/**
 * All gradients of `batchnorm`, and with `inference` of `batchnorm_inference`, from dy and x (B,C,S), weight (C)
 * and the statistics (C): dbias = Σ dy and dweight = Σ dy·x̂ over a channel of n = B·S, x̂ = (x − mean)·rstd, and
 * dx = weight · rstd · (dy − dbias/n − x̂ dweight/n), in inference weight · rstd · dy. Has no VJP.
 */
export const batchnorm_bwd = /* @__PURE__ */ defineKernel({
  name: "batchnorm_bwd",
  family: "normalisation",
  cut: () => ["C"],
  args: [
    acc("dx", "B C S"),
    acc("dweight", "C"),
    acc("dbias", "C"),
    inp("dy", "B C S"),
    inp("x", "B C S"),
    inp("weight", "C"),
    inp("mean", "C"),
    inp("variance", "C"),
  ],
  params: { ...eps(), inference: flag() },
  ref: ({ dx, dweight, dbias, dy, x, weight, mean, variance }, { B, C, S }, { eps, inference }) => {
    const n = B * S;
    for (let c = 0; c < C; c++) {
      const rstd = 1 / Math.sqrt(variance[c] + eps);
      const hat = (i: number) => (x[i] - mean[c]) * rstd;
      const each = (f: (i: number) => void) => {
        for (let b = 0; b < B; b++) for (let s = 0; s < S; s++) f((b * C + c) * S + s);
      };
      each((i) => {
        dbias[c] += dy[i];
        dweight[c] += dy[i] * hat(i);
      });
      each((i) => {
        const own = inference ? dy[i] : dy[i] - dbias[c] / n - (hat(i) * dweight[c]) / n;
        dx[i] = weight[c] * rstd * own;
      });
    }
  },
  cost: ({ B, C, S }) => ({ flops: 11 * B * C * S, bytes: 12 * B * C * S }),
  webgpu: [{ source, grid: channels }],
  wasm: { tiles: ({ C }) => C },
});

const cases = (): Case[] => [
  ...grid({ B: [1, 3], C: [1, 5], S: [...edges(4), 63, 65] }).filter(
    ({ dims }) => (dims.B as number) * (dims.S as number) > 1,
  ),
  { dims: { B: 2, C: 3, S: 130 }, params: { eps: 0.1 } },
];
const bench = (): Case[] => [
  { dims: { B: 8, C: 64, S: 56 * 56 }, source: "ResNet-50, 8 images, stage 2" },
];
const tol = { rel: 2e-5, abs: 1e-5, why: "differences of sums in f32" };
const variance = (u: number) => 0.5 + u;

export const batchnormSuites: Suite[] = [
  {
    kernel: batchnorm,
    cases,
    bench,
    tol,
    skipFiniteDifferences: "mean and variance carry no gradient of their own; test/losses.test.ts",
  },
  {
    kernel: batchnorm_inference,
    cases: () => [...cases(), { dims: { B: 0, C: 2, S: 3 } }],
    bench,
    tol,
    fill: { variance },
    skipFiniteDifferences: "mean and variance are constants; test/losses.test.ts",
  },
  {
    kernel: batchnorm_bwd,
    cases: () => [...cases(), ...cases().map((c) => ({ ...c, params: { inference: 1 } }))],
    bench,
    tol: { rel: 2e-5, abs: 3e-5, why: "sums of up to 4,900 terms in f32 that may cancel" },
    fill: { variance },
  },
];
