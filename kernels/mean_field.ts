import {
  type Case,
  choice,
  defineKernel,
  edges,
  f32,
  inout,
  inp,
  linear,
  type Params,
  positive,
  type Suite,
  type WebgpuVariant,
} from "../core/contract.ts";
import source from "../wgsl/mean_field.wgsl";

/**
 * How strongly an element at w in [−τ, τ] answers a pulse (§2.2 of arXiv:2502.06309): `ideal` 1,
 * `linear` 1 ∓ w/τ, `power` (1 ∓ w/τ)^g, `exponential` (e^{g(1 ∓ w/τ)} − 1)/(e^g − 1). Up steps are
 * scaled by 1 + c, down steps by 1 − c; for `linear` that puts the symmetric point at cτ.
 */
export const response = {
  model: choice("ideal", "linear", "power", "exponential"),
  tau: f32(1, positive),
  g: f32(1, positive),
  c: f32(0, [
    "in (−1, 1), so that the symmetric point lies inside the bounds",
    (v) => v > -1 && v < 1,
  ]),
};

/** q₊(w) for `up`, else q₋(w). */
export function q(up: boolean, w: number, { model, tau, g, c }: Params): number {
  const u = Math.max(up ? 1 - w / tau : 1 + w / tau, 0);
  const scale = up ? 1 + c : 1 - c;
  if (model === "ideal") return scale;
  if (model === "linear") return scale * u;
  if (model === "power") return scale * u ** g;
  return (scale * Math.expm1(g * u)) / Math.expm1(g);
}

/** One pipeline a model, the constant of wgsl/lib/response.wgsl; g = 2 needs no logarithm. */
const pipelines = (grid: WebgpuVariant["grid"]): WebgpuVariant[] => [
  { source, grid, constants: { RESPONSE: 0 }, when: (_d, p) => p.model === "ideal" },
  { source, grid, constants: { RESPONSE: 1 }, when: (_d, p) => p.model === "linear" },
  { source, grid, constants: { RESPONSE: 3 }, when: (_d, p) => p.model === "exponential" },
  { source, grid, constants: { RESPONSE: 4 }, when: (_d, p) => p.model === "power" && p.g === 2 },
  { source, grid, constants: { RESPONSE: 2 }, when: (_d, p) => p.model === "power" },
];

const move = (w: number, dw: number, p: Params): number =>
  Math.min(p.tau, Math.max(-p.tau, w + dw * q(dw >= 0, w, p)));

/**
 * w (N) ← clip(w + Δ⊙F(w) − |Δ|⊙G(w), ±τ) with Δ = alpha·dw: the limit of many small pulses
 * (arXiv:2502.06309 Eq. 5 and below). Response options as in `response`.
 * @throws ValueError unless τ > 0, g > 0 and |c| < 1
 */
export const mean_field_update = /* @__PURE__ */ defineKernel({
  name: "mean_field_update",
  family: "crossbar",
  args: [inout("w", "*N"), inp("dw", "*N")],
  params: { ...response, alpha: f32(1) },
  ref: ({ w, dw }, { N }, p) => {
    for (let i = 0; i < N; i++) w[i] = move(w[i], p.alpha * dw[i], p);
  },
  cost: ({ N }) => ({ flops: 8 * N, bytes: 12 * N }),
  webgpu: pipelines(({ N }) => linear(N)),
  wasm: { tiles: ({ N }) => Math.ceil(N / 1024) },
});

/**
 * For each sample s in order, w (O,I) ← w + Δ⊙F(w) − |Δ|⊙G(w) with Δ = alpha · d[s] x[s]ᵀ, from
 * x (S,I) and d (S,O), clipped to ±τ after each. SGD passes alpha = −lr. A mini-batch is not the
 * update of its mean: the drift grows with Σ|d x| over samples.
 * @throws ValueError unless τ > 0, g > 0 and |c| < 1
 */
export const mean_field_outer = /* @__PURE__ */ defineKernel({
  name: "mean_field_outer",
  family: "crossbar",
  args: [inout("w", "O I"), inp("x", "S I"), inp("d", "S O")],
  params: { ...response, alpha: f32(1) },
  ref: ({ w, x, d }, { O, I, S }, p) => {
    for (let o = 0; o < O; o++) {
      for (let i = 0; i < I; i++) {
        for (let s = 0; s < S; s++) {
          const dw = p.alpha * d[s * O + o] * x[s * I + i];
          if (dw !== 0) w[o * I + i] = move(w[o * I + i], dw, p);
        }
      }
    }
  },
  cost: ({ O, I, S }) => ({ flops: 10 * O * I * S, bytes: 4 * (2 * O * I + S * (O + I)) }),
  webgpu: pipelines(({ O, I }) => linear(O * I)),
  wasm: { tiles: ({ O }) => Math.ceil(O / 4) },
});

const models: Params[] = [
  { model: "ideal", tau: 0.9 },
  { model: "linear", tau: 0.6, c: 0.2 },
  { model: "power", tau: 0.6, g: 2 },
  { model: "power", tau: 0.8, g: 0.5 },
  { model: "power", tau: 0.7, g: 1.7 },
  { model: "exponential", tau: 0.6, g: 2 },
];
const tol = { rel: 1e-5, abs: 2e-6 };
const w = (u: number) => 1.2 * u - 0.6;

export const meanFieldSuites: Suite[] = [
  {
    kernel: mean_field_update,
    cases: (): Case[] => [
      ...models.map((params) => ({ dims: { N: [37] }, params: { ...params, alpha: -0.3 } })),
      ...edges(1024).map((n) => ({ dims: { N: [n] }, params: { model: "linear" } })),
    ],
    bench: () => [
      {
        dims: { N: [784 * 256] },
        params: { model: "power", tau: 0.6, g: 2 },
        source: "first layer of the FCN",
      },
    ],
    tol,
    fill: { w },
  },
  {
    kernel: mean_field_outer,
    cases: (): Case[] => [
      ...models.map((params) => ({
        dims: { O: 5, I: 7, S: 3 },
        params: { ...params, alpha: -0.1 },
      })),
      ...edges(4).map((n) => ({
        dims: { O: n, I: n + 1, S: 2 },
        params: { model: "linear", alpha: -0.5 },
      })),
    ],
    bench: () => [
      {
        dims: { O: 256, I: 784, S: 10 },
        params: { model: "power", tau: 0.6, g: 2, alpha: -0.05 },
        source: "first layer of the FCN, batch 10",
      },
    ],
    tol,
    // A third of the inputs is silent, as pixels are.
    fill: { w, x: (u) => (u < 0.33 ? 0 : u), d: (u) => u - 0.5 },
  },
];
