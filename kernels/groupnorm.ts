import {
  acc,
  type Case,
  type Dims,
  defineKernel,
  f32,
  inp,
  linear,
  out,
  type Params,
  positive,
  type Suite,
  type WebgpuVariant,
} from "../core/contract.ts";
import source from "../wgsl/groupnorm.wgsl";
import { atLeastOne } from "./lib/params.ts";

const divisible = ({ C }: Dims, { groups }: Params): string | undefined =>
  C % groups === 0 ? undefined : `x: C = ${C} is not a multiple of groups = ${groups}`;

/** Numbers of a group, which lie together, and the channel of each. */
const group = ({ C, H, W }: Dims, { groups }: Params) => {
  const pixels = H * W;
  const size = (C / groups) * pixels;
  const channel = (row: number, i: number) =>
    (row % groups) * (C / groups) + Math.floor(i / pixels);
  return { size, channel };
};

const webgpu = (grid: WebgpuVariant["grid"]): WebgpuVariant[] => [
  {
    name: "blocks",
    source,
    when: ({ H, W }) => H * W > 0 && (H * W) % 16 === 0,
    prefer: (_d, _p, c) => c.software,
    grid,
  },
  { source, grid },
];

/**
 * y (B,C,H,W) = (x − mean)·rstd·weight + bias, weight and bias (C), with mean (B,G) and rstd (B,G) =
 * 1/√(var + eps) of each of G = `groups` runs of C/G channels, var without Bessel's correction. One
 * group is layer normalisation of (C,H,W), C groups are instance normalisation; mean and rstd of no
 * pixels are NaN. Other than two spatial axes: reshape to (B,C,1,·). Wu and He, arXiv:1803.08494.
 * @throws ShapeError when groups does not divide C; ValueError unless eps > 0
 */
export const groupnorm = /* @__PURE__ */ defineKernel({
  name: "groupnorm",
  family: "normalisation",
  cut: () => ["B"],
  args: [
    out("y", "B C H W"),
    out("mean", "B G"),
    out("rstd", "B G"),
    inp("x", "B C H W"),
    inp("weight", "C"),
    inp("bias", "C"),
  ],
  params: { groups: atLeastOne(), eps: f32(1e-5, positive) },
  derive: (d, _runs, p) => {
    d.G = p.groups;
  },
  check: divisible,
  ref: ({ y, mean, rstd, x, weight, bias }, d, p) => {
    const { size, channel } = group(d, p);
    for (let r = 0; r < d.B * d.G; r++) {
      const row = x.subarray(r * size, (r + 1) * size);
      let [sum, squares] = [0, 0];
      for (const v of row) sum += v;
      const m = sum / size;
      for (const v of row) squares += (v - m) ** 2;
      mean[r] = m;
      rstd[r] = 1 / Math.sqrt(squares / size + p.eps);
      row.forEach((v, i) => {
        const c = channel(r, i);
        y[r * size + i] = (v - m) * rstd[r] * weight[c] + bias[c];
      });
    }
  },
  vjp: (g) => {
    // mean and rstd are by-products: their own gradients are not carried.
    if (!g.d.y) return;
    const { mean, rstd } = g.out;
    g.to("x", groupnorm_bwd, [g.d.y, g.in.x, g.in.weight, mean, rstd]);
    g.toAll({ dweight: "weight", dbias: "bias" }, groupnorm_bwd_affine, [
      g.d.y,
      g.in.x,
      mean,
      rstd,
    ]);
  },
  cost: ({ B, C, H, W }) => ({ flops: 8 * B * C * H * W, bytes: 8 * B * C * H * W }),
  webgpu: webgpu(({ B, G }) => linear(B * G, 1)),
  wasm: { tiles: ({ B, G }) => B * G },
});

/**
 * dx (B,C,H,W) = rstd (h − Σh/n − x̂ Σh·x̂/n) with h = dy·weight, x̂ = (x − mean)·rstd and the sums over
 * the n numbers of a group. Has no VJP.
 */
export const groupnorm_bwd = /* @__PURE__ */ defineKernel({
  name: "groupnorm_bwd",
  family: "normalisation",
  args: [
    acc("dx", "B C H W"),
    inp("dy", "B C H W"),
    inp("x", "B C H W"),
    inp("weight", "C"),
    inp("mean", "B G"),
    inp("rstd", "B G"),
  ],
  check: (d) => divisible(d, { groups: d.G }),
  ref: ({ dx, dy, x, weight, mean, rstd }, d) => {
    const { size, channel } = group(d, { groups: d.G });
    for (let r = 0; r < d.B * d.G; r++) {
      let [sum, dot] = [0, 0];
      const h = (i: number) => dy[r * size + i] * weight[channel(r, i)];
      const hat = (i: number) => (x[r * size + i] - mean[r]) * rstd[r];
      for (let i = 0; i < size; i++) {
        sum += h(i) / size;
        dot += (h(i) * hat(i)) / size;
      }
      for (let i = 0; i < size; i++) dx[r * size + i] = rstd[r] * (h(i) - sum - hat(i) * dot);
    }
  },
  cost: ({ B, C, H, W }) => ({ flops: 11 * B * C * H * W, bytes: 12 * B * C * H * W }),
  webgpu: webgpu(({ B, G }) => linear(B * G, 1)),
  wasm: { tiles: ({ B, G }) => B * G },
});

/**
 * dweight (C) = Σ dy·x̂ and dbias (C) = Σ dy over batch and pixels, x̂ = (x − mean)·rstd. Has no VJP.
 */
export const groupnorm_bwd_affine = /* @__PURE__ */ defineKernel({
  name: "groupnorm_bwd_affine",
  family: "normalisation",
  args: [
    acc("dweight", "C"),
    acc("dbias", "C"),
    inp("dy", "B C H W"),
    inp("x", "B C H W"),
    inp("mean", "B G"),
    inp("rstd", "B G"),
  ],
  check: (d) => divisible(d, { groups: d.G }),
  ref: ({ dweight, dbias, dy, x, mean, rstd }, d) => {
    const { size, channel } = group(d, { groups: d.G });
    for (let i = 0; i < x.length; i++) {
      const r = Math.floor(i / size);
      const c = channel(r, i % size);
      dweight[c] += dy[i] * (x[i] - mean[r]) * rstd[r];
      dbias[c] += dy[i];
    }
  },
  cost: ({ B, C, H, W }) => ({ flops: 5 * B * C * H * W, bytes: 8 * B * C * H * W }),
  webgpu: webgpu(({ C }) => linear(C, 1)),
  wasm: { tiles: ({ C }) => C },
});

const cases = (): Case[] => [
  ...[1, 3, 4, 5, 16, 17].map((W) => ({ dims: { B: 2, C: 6, H: 1, W, G: 3 } })),
  { dims: { B: 1, C: 4, H: 3, W: 3, G: 1 } },
  { dims: { B: 2, C: 5, H: 2, W: 3, G: 5 } },
  { dims: { B: 3, C: 8, H: 5, W: 13, G: 2 } },
  { dims: { B: 3, C: 6, H: 12, W: 12, G: 2 } },
  { dims: { B: 2, C: 2, H: 36, W: 32, G: 1 } },
  { dims: { B: 0, C: 4, H: 2, W: 2, G: 2 } },
  { dims: { B: 2, C: 4, H: 0, W: 2, G: 2 } },
];
const bench = (): Case[] => [
  { dims: { B: 4, C: 32, H: 32, W: 32, G: 8 }, source: "U-Net of 32², batch 4" },
  { dims: { B: 1, C: 320, H: 64, W: 64, G: 32 }, source: "latent diffusion, 320 of 64²" },
];
const withGroups = (from: () => Case[]) => () =>
  from().map((c) => ({ ...c, params: { groups: (c.dims as Dims).G } }));
const tol = { rel: 2e-5, abs: 1e-5, why: "differences of sums in f32" };
const positiveFill = (u: number) => 0.5 + u;

export const groupnormSuites: Suite[] = [
  {
    kernel: groupnorm,
    cases: () => [
      ...withGroups(cases)(),
      { dims: { B: 1, C: 4, H: 2, W: 3 }, params: { groups: 2, eps: 0.1 } },
    ],
    bench: withGroups(bench),
    tol,
    skipFiniteDifferences: "mean and rstd carry no gradient of their own; test/gradients.test.ts",
  },
  { kernel: groupnorm_bwd, cases, bench, tol, fill: { rstd: positiveFill } },
  { kernel: groupnorm_bwd_affine, cases, bench, tol, fill: { rstd: positiveFill } },
];
