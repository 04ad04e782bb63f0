import {
  type Case,
  choice,
  type Dims,
  defineKernel,
  edges,
  f32,
  flag,
  inout,
  inp,
  linear,
  nonNegative,
  opt,
  out,
  type Params,
  positive,
  type Suite,
  u32,
  type WebgpuVariant,
} from "../core/contract.ts";
import { normalPair, threefry2x32 } from "../core/threefry.ts";
import source from "../wgsl/pulse.wgsl";

/** Planes of a device tensor (7, O, I): steps, slopes, bounds and reference, one set an element. */
export const DEVICE_PLANES = ["su", "sd", "ku", "kd", "M", "m", "r"] as const;

const bitLength = {
  ...u32(31),
  must: [
    "an integer in 1 … 32: a train is one 32-bit word",
    (v: number) => Number.isInteger(v) && v >= 1 && v <= 32,
  ],
} as const;

/**
 * scales (S,4) = [B, A, BL, k] of each sample's pulse trains from x (S,I) and d (S,O): probabilities
 * are B|x| and A|d|, BL slots, k = lr·max|x|·max|d|/granularity. `um` balances A and B (update
 * management), `ublm` shortens BL to ceil(k). k > BL means that the update saturates. All-zero x or
 * d: BL = 0, no pulse and no draw. Rules: AIHWKit's pulsed update, §2.6 of the paper page.
 * @throws ValueError unless granularity > 0, lr >= 0 and BL is in 1 … 32
 */
export const pulse_scales = /* @__PURE__ */ defineKernel({
  name: "pulse_scales",
  family: "crossbar",
  args: [out("scales", "S 4"), inp("x", "S I"), inp("d", "S O")],
  params: {
    lr: f32(undefined, nonNegative),
    granularity: f32(undefined, positive),
    bl: bitLength,
    um: { ...flag(), default: 1 },
    ublm: { ...flag(), default: 1 },
  },
  ref: ({ scales, x, d }, { S, I, O }, { lr, granularity, bl, um, ublm }) => {
    for (let s = 0; s < S; s++) {
      let [xm, dm] = [0, 0];
      for (let i = 0; i < I; i++) xm = Math.max(xm, Math.abs(x[s * I + i]));
      for (let o = 0; o < O; o++) dm = Math.max(dm, Math.abs(d[s * O + o]));
      const k = (lr * xm * dm) / granularity;
      if (!(k > 0)) continue;
      const slots = ublm ? Math.min(Math.ceil(k), bl) : bl;
      let a = Math.sqrt(lr / (granularity * slots));
      let b = a;
      if (um) {
        const dv = k > bl ? (dm * bl) / k : dm;
        a *= Math.sqrt(xm / dv);
        b *= Math.sqrt(dv / xm);
      }
      scales.set([b, a, slots, k], 4 * s);
    }
  },
  cost: ({ S, I, O }) => ({ flops: 2 * S * (I + O), bytes: 4 * S * (I + O + 4) }),
  webgpu: [{ source, grid: ({ S }) => linear(S) }],
  wasm: { tiles: ({ S }) => S },
});

/**
 * words (S,L, u32): the pulse train of each line, bit k set with probability min(scale·|v|, 1) in
 * each of the BL slots of its sample. v (S,L), scales (S,4) from `pulse_scales`, `side` 0 for x and 1
 * for d. Probabilities are cut to 24 bits. Same (seed, stream, t), same bits on every backend.
 */
export const pulse_trains = /* @__PURE__ */ defineKernel({
  name: "pulse_trains",
  family: "crossbar",
  args: [out("words", "S L", "u32"), inp("v", "S L"), inp("scales", "S 4")],
  params: { side: u32(), seed: u32(), stream: u32(0), t: u32(0) },
  check: (_d, p) => (p.side > 1 ? `side: expected 0 (x) or 1 (d), got ${p.side}` : undefined),
  ref: ({ words, v, scales }, { S, L }, { side, seed, stream, t }) => {
    for (let e = 0; e < S * L; e++) {
      const s = Math.floor(e / L);
      const slots = scales[4 * s + 2];
      const p = Math.min(Math.fround(Math.fround(scales[4 * s + side]) * Math.abs(v[e])), 1);
      const q = Math.trunc(p * 16777216);
      if (slots === 0 || q === 0) continue;
      let word = 0;
      for (let k = 0; k < 24; k++) {
        const x = threefry2x32(seed, stream, e % L, Math.imul(Math.imul(t, S) + s, 12) + (k >> 1))[
          k & 1
        ];
        word = (q >>> k) & 1 ? word | x : word & x;
      }
      if (q >= 16777216) word = -1;
      words[e] = slots < 32 ? word & ((1 << slots) - 1) : word;
    }
  },
  cost: ({ S, L }) => ({ flops: 12 * 100 * S * L, bytes: 8 * S * L }),
  webgpu: [{ source, entry: "pulse_trains_u32", grid: ({ S, L }) => linear(S * L) }],
  wasm: { export: "pulse_trains_u32", tiles: ({ S }) => S },
});

/**
 * Noiseless size of one pulse at v: the table of §2.7, in terms of the planes. `nodes` (2,K) belong to
 * the piecewise model.
 */
export function pulseSize(
  up: boolean,
  v: number,
  dev: (plane: number) => number,
  p: Params,
  nodes: ArrayLike<number> = [],
): number {
  const s = dev(up ? 0 : 1);
  const [M, m] = [dev(4), dev(5)];
  const g = up ? p.g_up : p.g_down;
  if (p.model === "linear") return s + (up ? dev(2) : -dev(3)) * v;
  if (p.model === "piecewise") {
    const last = nodes.length / 2 - 1;
    const row = up ? 0 : last + 1;
    const x = last * Math.min(1, Math.max(0, (v - m) / (M - m)));
    const i = Math.min(Math.floor(x), last);
    const left = nodes[row + i];
    return s * (left + (x - i) * (nodes[row + Math.min(i + 1, last)] - left));
  }
  if (p.model === "power") return s * Math.max((up ? M - v : v - m) / (M - m), 0) ** g;
  if (p.model === "exp_step") {
    const z = (2 * p.a * v) / (M - m) + p.b;
    return s * Math.max(0, 1 - (up ? p.a_up : p.a_down) * Math.exp((up ? g : -g) * z));
  }
  return (s * Math.expm1(g * Math.max(0, 1 - v / (up ? M : m)))) / Math.expm1(g);
}

/** One pipeline a model, the constants of wgsl/pulse.wgsl; without noise a driver drops its draws. */
const pipelines = (grid: WebgpuVariant["grid"]): WebgpuVariant[] => [
  {
    source,
    grid,
    constants: { MODEL: 0, NOISE: 0 },
    when: (_d, p) => p.model === "linear" && p.sigma === 0,
  },
  {
    source,
    grid,
    constants: { MODEL: 1, NOISE: 0 },
    when: (_d, p) => p.model === "power" && p.sigma === 0,
  },
  { source, grid, constants: { MODEL: 0, NOISE: 1 }, when: (_d, p) => p.model === "linear" },
  { source, grid, constants: { MODEL: 1, NOISE: 1 }, when: (_d, p) => p.model === "power" },
  { source, grid, constants: { MODEL: 2, NOISE: 1 }, when: (_d, p) => p.model === "exp_step" },
  { source, grid, constants: { MODEL: 4, NOISE: 1 }, when: (_d, p) => p.model === "piecewise" },
  { source, grid, constants: { MODEL: 3, NOISE: 1 }, when: (_d, p) => p.model === "exponential" },
];

/**
 * w (O,I): for each sample in order, popcount(dw & xw) pulses at each crosspoint, against the sign
 * of d·x (the direction of SGD). Trains xw (S,I), dw (S,O) u32; x (S,I), d (S,O) give the signs; dev
 * (7,O,I) the devices: steps su, sd, slopes ku, kd, bounds M, m, reference r. The device moves
 * v = w + r and is clipped to [m, M] after every pulse. Models:
 *
 *   linear       su + ku·v up, sd − kd·v down: ConstantStep, LinearStep, SoftBounds(Reference)
 *   power        s ((M−v)/(M−m))^g_up up, s ((v−m)/(M−m))^g_down down: PowStep
 *   exp_step     s max(1 − A e^{±g z}, 0), z = 2a v/(M−m) + b: ExpStep
 *   exponential  s (e^{g u} − 1)/(e^g − 1), u = 1 − v/M up, 1 − v/m down: the paper's response
 *   piecewise    s times the node values `nodes` (2,K), up then down, interpolated over [m, M]:
 *                PiecewiseStep
 *
 * `sigma` is the cycle-to-cycle noise: the size is multiplied by 1 + σξ, or grows by sσξ under
 * `additive`; with `sigma_add` or `sigma_slope` it grows by σ(|size| + sigma_add + sigma_slope·|v|)ξ
 * instead (ExpStep's complex noise). §2.6–2.7 of the paper page.
 * @throws ShapeError for the piecewise model without nodes, and for nodes without it
 */
export const pulse_update = /* @__PURE__ */ defineKernel({
  name: "pulse_update",
  family: "crossbar",
  args: [
    inout("w", "O I"),
    inp("xw", "S I", "u32"),
    inp("dw", "S O", "u32"),
    inp("x", "S I"),
    inp("d", "S O"),
    inp("dev", "7 O I"),
    opt("nodes", "2 K"),
  ],
  params: {
    model: choice("linear", "power", "exp_step", "exponential", "piecewise"),
    additive: flag(),
    sigma: f32(0, nonNegative),
    sigma_add: f32(0, nonNegative),
    sigma_slope: f32(0, nonNegative),
    g_up: f32(1),
    g_down: f32(1),
    a_up: f32(0),
    a_down: f32(0),
    a: f32(0),
    b: f32(0),
    seed: u32(0),
    stream: u32(0),
    t: u32(0),
  },
  check: (d, p, has) => {
    if (p.model === "piecewise" && !(has("nodes") && d.K > 0))
      return "nodes: the piecewise model needs (2,K) of them, K >= 1";
    if (p.model !== "piecewise" && has("nodes")) return `nodes: model ${p.model} has none`;
    return undefined;
  },
  ref: ({ w, xw, dw, x, d, dev, nodes }, { O, I, S }, p) => {
    const n = O * I;
    for (let e = 0; e < n; e++) {
      const o = Math.floor(e / I);
      const i = e % I;
      const plane = (k: number) => dev[k * n + e];
      let v = w[e] + plane(6);
      for (let s = 0; s < S; s++) {
        const up = d[s * O + o] * x[s * I + i] < 0;
        for (let k = 0, left = dw[s * O + o] & xw[s * I + i]; left !== 0; k++, left &= left - 1) {
          let size = pulseSize(up, v, plane, p, nodes);
          if (p.sigma > 0) {
            const c1 = Math.imul(Math.imul(p.t, S) + s, 32) + k;
            const noise = p.sigma * normalPair(...threefry2x32(p.seed, p.stream, e, c1))[0];
            const spread = Math.abs(size) + p.sigma_add + p.sigma_slope * Math.abs(v);
            if (p.sigma_add + p.sigma_slope > 0) size += spread * noise;
            else size = p.additive ? size + plane(up ? 0 : 1) * noise : size * (1 + noise);
          }
          v = Math.min(plane(4), Math.max(plane(5), v + (up ? size : -size)));
        }
      }
      w[e] = v - plane(6);
    }
  },
  cost: ({ O, I, S }) => ({ flops: 8 * O * I * S, bytes: 4 * (9 * O * I + 2 * S * (O + I)) }),
  webgpu: pipelines(({ O, I }) => linear(O * I)),
  wasm: { tiles: ({ O }) => Math.ceil(O / 4) },
});

const shapes = (): Case[] => edges(4).map((n) => ({ dims: { S: 2, O: n, I: n + 2 } }));
const withParams =
  (params: Params, from: () => Case[] = shapes) =>
  () =>
    from().map((c) => ({ ...c, params }));
const fcn = { S: 10, O: 256, I: 784 };
const source256 = "first layer of the FCN, batch 10";
/** Bounds around 1, steps near 0.05, slopes of soft bounds, a small reference. */
const device = (u: number, i: number, { O, I }: Dims): number =>
  [0.05 + 0.02 * u, 0.05 + 0.02 * u, -0.05 * u, -0.05 * u, 1 + 0.2 * u, -1 - 0.2 * u, 0.1 * u][
    Math.floor(i / (O * I))
  ];
const anyWord = (u: number, i: number) => Math.floor(u * 2 ** 32) & (i % 3 === 0 ? 0 : 0x1f);

export const pulseSuites: Suite[] = [
  {
    kernel: pulse_scales,
    cases: () => [
      ...withParams({ lr: 0.05, granularity: 0.001 })(),
      { dims: { S: 3, O: 4, I: 5 }, params: { lr: 1, granularity: 0.001, bl: 10 } },
      {
        dims: { S: 3, O: 4, I: 5 },
        params: { lr: 0.01, granularity: 0.01, um: 0, ublm: 0, bl: 32 },
      },
      { dims: { S: 2, O: 4, I: 5 }, params: { lr: 0, granularity: 0.01 } },
    ],
    bench: () => [{ dims: fcn, params: { lr: 0.05, granularity: 0.001 }, source: source256 }],
    tol: { rel: 1e-5, abs: 1e-6 },
  },
  {
    kernel: pulse_trains,
    cases: () => [
      ...[1, 4, 5, 37].map((L) => ({
        dims: { S: 3, L },
        params: { side: 0, seed: 9, stream: 2, t: 7 },
      })),
      { dims: { S: 2, L: 64 }, params: { side: 1, seed: 1 } },
    ],
    bench: () => [{ dims: { S: 10, L: 784 }, params: { side: 0, seed: 1 }, source: source256 }],
    // Bit for bit; scales are [B, A, BL, k] in turn, dyadic so that B|v| is exact.
    tol: { rel: 0, abs: 0 },
    fill: {
      scales: (_u, i) => [0.5, 4, i < 4 ? 32 : 31, 1][i % 4],
      v: (u, i) => (i % 5 === 4 ? 0 : Math.floor(256 * u) / 128 - 1),
    },
  },
  {
    kernel: pulse_update,
    cases: () => [
      ...withParams({ model: "linear" })(),
      ...withParams({ model: "linear", sigma: 0.3, seed: 5, t: 3 })(),
      ...withParams({ model: "linear", sigma: 0.3, additive: 1, seed: 5 })(),
      ...withParams({ model: "power", g_up: 2, g_down: 1.5 })(),
      ...withParams({
        model: "exp_step",
        g_up: 5,
        g_down: 5,
        a_up: -1.18445,
        a_down: -0.081404,
        a: -0.5,
        b: -0.5,
      })(),
      ...withParams({ model: "exponential", g_up: 2, g_down: 2, sigma: 0.1, seed: 2 })(),
      ...withParams({ model: "power", sigma: 0.2, sigma_add: 0.04, sigma_slope: 0.1, seed: 4 })(),
      ...[1, 2, 5].flatMap((K) =>
        withParams({ model: "piecewise", sigma: K === 5 ? 0.3 : 0 })().map((c) => ({
          dims: { ...c.dims, K },
          params: c.params,
          with: ["nodes"],
        })),
      ),
    ],
    bench: () => [{ dims: fcn, params: { model: "linear" }, source: source256 }],
    tol: { rel: 1e-4, abs: 1e-5, why: "up to 64 pulses in sequence" },
    fill: {
      w: (u) => u - 0.5,
      xw: anyWord,
      dw: anyWord,
      dev: device,
      nodes: (u) => 0.5 + u,
    },
  },
];
