/**
 * Analog in-memory training on non-ideal resistive elements: Wu, Xiao, Gokmen, Fagbohungbe, Chen,
 * "Analog In-memory Training on General Non-ideal Resistive Elements: The Impact of Response
 * Functions", arXiv:2502.06309. Symbols and equation numbers follow its NeurIPS version.
 */
import { type Backend, type Scalar, type Tensor, ValueError } from "../../core/index.ts";
import { threefry2x32, uniformOf } from "../../core/threefry.ts";
import {
  matmul,
  mean_field_outer,
  mean_field_update,
  pulse_scales,
  pulse_trains,
  pulse_update,
  scale,
  softmax_xent,
  softmax_xent_bwd,
  sum_leading,
  tanh_bwd,
  threshold_transfer,
} from "../../kernels/index.ts";
import { type DeviceConfig, pulseOptions, sampleDevices } from "./devices.ts";

export type Method =
  | "digital" // W ← W − α∇f
  | "analog-sgd" // Eq. 5
  | "ttv1" // Tiki-Taka v1: residual learning with γ = 0, Eq. 9–11
  | "residual" // Residual Learning, Eq. 9–11
  | "ttv2" // digital buffer without decay, §2.5
  | "residual-v2" // digital buffer with decay, Eq. 14–15
  | "mixed-precision"; // digital gradient accumulated, whole steps written

/** How a crosspoint answers, §2.2; the SP of `linear` is cτ. */
export interface Response {
  readonly model: "ideal" | "linear" | "power" | "exponential";
  readonly tau: number;
  readonly g: number;
  readonly c: number;
}

export interface Config {
  readonly method: Method;
  /** Widths from input to output; tanh between, softmax at the end. */
  readonly layers: readonly number[];
  readonly batch: number;
  /** α: step of SGD, and of Analog SGD on W. */
  readonly lr: number;
  /** α of the residual array P. */
  readonly fastLr: number;
  /** β: transfer step from P (or H) to W, Eq. 11. */
  readonly transferLr: number;
  /** γ in W̄ = W + γP. */
  readonly gamma: number;
  /** β_H of the buffer, Eq. 14. */
  readonly bufferRate: number;
  readonly response: Response;
  /** "mean-field" applies Eq. 5 to each sample; "pulse" fires stochastic trains at devices. */
  readonly mode: "mean-field" | "pulse";
  /** Number of states 2τ/Δw_min: granularity of pulses and of the thresholds of v2 methods. */
  readonly states: number;
  /** Cycle-to-cycle noise σ_c of a pulse, pulse mode. */
  readonly sigma: number;
  /** Longest pulse train of a gradient update. */
  readonly bl: number;
  readonly seed: number;
}

/** E2 of the paper page. */
export const defaults: Config = {
  method: "residual",
  layers: [144, 48, 10],
  batch: 10,
  lr: 0.1,
  fastLr: 0.05,
  transferLr: 0.05,
  gamma: 0.4,
  bufferRate: 0.1,
  response: { model: "power", tau: 0.6, g: 2, c: 0 },
  mode: "mean-field",
  states: 1200,
  sigma: 0,
  bl: 31,
  seed: 0,
};

const usesResidual = (m: Method) =>
  m === "ttv1" || m === "residual" || m === "ttv2" || m === "residual-v2";
const usesBuffer = (m: Method) => m === "ttv2" || m === "residual-v2" || m === "mixed-precision";
const mixes = (c: Config) => (c.method === "residual" || c.method === "residual-v2") && c.gamma > 0;

/** @throws ValueError naming the field, what it must be and what it is */
export function checkConfig(c: Config): void {
  const must = (ok: boolean, field: string, words: string, got: unknown) => {
    if (!ok) throw new ValueError("config", `analog: ${field}: expected ${words}, got ${got}`);
  };
  for (const field of ["lr", "fastLr", "transferLr", "sigma"] as const) {
    must(Number.isFinite(c[field]) && c[field] >= 0, field, "finite and >= 0", c[field]);
  }
  must(Number.isFinite(c.gamma) && c.gamma >= 0, "gamma", "finite and >= 0", c.gamma);
  must(
    c.response.tau > 0 && Number.isFinite(c.response.tau),
    "tau",
    "finite and > 0",
    c.response.tau,
  );
  must(
    Math.abs(c.response.c) < 1,
    "c",
    "in (−1, 1), or the symmetric point leaves the bounds",
    c.response.c,
  );
  must(Number.isInteger(c.states) && c.states >= 1, "states", "an integer >= 1", c.states);
  must(c.bufferRate > 0 && c.bufferRate <= 1, "bufferRate", "in (0, 1]", c.bufferRate);
  must(Number.isInteger(c.bl) && c.bl >= 1 && c.bl <= 32, "bl", "an integer in 1 … 32", c.bl);
  must(
    c.layers.length >= 2 && c.layers.every((n) => Number.isInteger(n) && n > 0),
    "layers",
    "two or more widths",
    c.layers,
  );
}

/** Δw_min: one pulse at response 1. */
export const dwMin = (c: Config): number => (2 * c.response.tau) / c.states;

/** The device of `pulse_update` with the paper's response: PowStep needs dw·2^g (§2.7). */
export function device(c: Config): DeviceConfig {
  const { model, tau, g } = c.response;
  const dw = dwMin(c);
  const common = { wMax: tau, wMin: -tau, sigma: c.sigma };
  if (model === "power") return { ...common, model: "power", dwMin: dw * 2 ** g, gUp: g, gDown: g };
  if (model === "exponential")
    return { ...common, model: "exponential", dwMin: dw, gUp: g, gDown: g };
  return { ...common, model: "linear", dwMin: dw, softBounds: model === "linear" };
}

interface Layer {
  readonly W: Tensor;
  readonly b: Tensor;
  /** W̄ = W + γP, where gradients are taken. */
  readonly Wbar: Tensor;
  /** Residual array, digital buffer, pulses due, gradient, devices: as the method needs them. */
  readonly P?: Tensor;
  readonly H?: Tensor;
  readonly n?: Tensor;
  readonly grad?: Tensor;
  readonly dev?: Tensor;
}

export interface State extends Disposable {
  readonly config: Config;
  readonly layers: readonly Layer[];
}

/** Weights U(±1/√in), inside ±τ; P, H and biases 0. */
export function init(be: Backend, config: Config): State {
  checkConfig(config);
  const { layers: widths, method, seed, mode, response } = config;
  const layers = widths.slice(1).map((O, l): Layer => {
    const I = widths[l];
    const bound = Math.min(1 / Math.sqrt(I), response.tau);
    const u = (e: number) => 2 * uniformOf(threefry2x32(seed, 0x11 + l, e, 0)[0]) - 1;
    const zeros = () => be.tensor([O, I]);
    return {
      W: be.tensor(
        [O, I],
        Float32Array.from({ length: O * I }, (_, e) => bound * u(e)),
      ),
      b: be.tensor([O]),
      Wbar: zeros(),
      ...(usesResidual(method) ? { P: zeros() } : {}),
      ...(usesBuffer(method) ? { H: zeros(), n: zeros() } : {}),
      ...(method === "mixed-precision" ? { grad: zeros() } : {}),
      ...(mode === "pulse" && method !== "digital"
        ? { dev: be.tensor([7, O, I], sampleDevices(device(config), O * I, seed, 0x40 + l)) }
        : {}),
    };
  });
  return {
    config,
    layers,
    [Symbol.dispose]() {
      for (const layer of layers) for (const t of Object.values(layer) as Tensor[]) t.dispose();
    },
  };
}

/** The weight that forward and backward read: W̄ = W + γP, or W. */
function weight(s: State, { W, P, Wbar }: Layer): Tensor {
  if (!mixes(s.config) || !P) return W;
  scale.into({ y: Wbar }, { x: W });
  scale.into({ y: Wbar }, { x: P }, { by: s.config.gamma, beta: 1 });
  return Wbar;
}

/** Logits (B, classes) of x (B, features), and the input of every layer. */
export function forward(
  s: State,
  x: Tensor,
): { logits: Tensor; inputs: Tensor[]; weights: Tensor[] } {
  const inputs = [x];
  const weights: Tensor[] = [];
  s.layers.forEach((layer, l) => {
    weights.push(weight(s, layer));
    const act = l + 1 < s.layers.length ? "tanh" : "none";
    inputs.push(matmul(inputs[l], weights[l], { tb: 1, bias: layer.b, act }));
  });
  return { logits: inputs.pop() as Tensor, inputs, weights };
}

/**
 * One training step on a batch x (B, features), labels (B, i32); t is its number, the counter of the
 * pulse trains. Returns the loss of each sample, before the step. Capture it, or run it in a scope.
 */
export function step(s: State, x: Tensor, labels: Tensor, t: number | Scalar): Tensor {
  const { config } = s;
  const { logits, inputs, weights } = forward(s, x);
  const { loss, lse } = softmax_xent(logits, labels);
  // Each sample's own error, divided by the batch: the loss is a mean, updates are per sample.
  const share = x.backend.tensor(
    [config.batch],
    new Float32Array(config.batch).fill(1 / config.batch),
  );
  let delta = softmax_xent_bwd(share, logits, lse, labels);
  for (let l = s.layers.length - 1; l >= 0; l--) {
    const below = l > 0 ? tanh_bwd(matmul(delta, weights[l]), inputs[l]) : delta;
    update(s, l, inputs[l], delta, t);
    scale.into({ y: s.layers[l].b }, { x: sum_leading(delta) }, { by: -config.lr, beta: 1 });
    delta = below;
  }
  return loss;
}

/** What a layer does with (x, δ), by method. */
function update(s: State, l: number, x: Tensor, delta: Tensor, t: number | Scalar): void {
  const { config } = s;
  const { method, lr, fastLr, transferLr, bufferRate, response, bl } = config;
  const { W, P, H, n, grad } = s.layers[l];
  const threshold = dwMin(config);
  if (method === "digital") {
    matmul.into({ y: W }, { a: delta, b: x }, { ta: 1, alpha: -lr, beta: 1 });
  } else if (method === "analog-sgd") {
    gradientUpdate(s, l, W, x, delta, lr, t); // Eq. 5
  } else if (method === "mixed-precision" && grad && H && n) {
    // χ ← χ − α∇f; where |χ| >= Δw_min, whole steps are written and leave χ.
    matmul.into({ y: grad }, { a: delta, b: x }, { ta: 1 });
    threshold_transfer.into({ n, h: H }, { p: grad }, { rate: -lr, threshold, most: bl });
    mean_field_update.into({ w: W }, { dw: n }, { ...response, alpha: threshold });
  } else if (P) {
    gradientUpdate(s, l, P, x, delta, fastLr, t); // Eq. 10: the gradient at W̄ goes to P alone
    if (H && n) {
      // H ← (1 − β_H)H + β_H P and one pulse (Eq. 14–15); TTv2: H ← H + βP, up to BL pulses.
      const buffer =
        method === "ttv2"
          ? { keep: 1, rate: transferLr, most: bl }
          : { keep: 1 - bufferRate, rate: bufferRate, most: 1 };
      threshold_transfer.into({ n, h: H }, { p: P }, { ...buffer, threshold });
      mean_field_update.into({ w: W }, { dw: n }, { ...response, alpha: threshold });
    } else {
      mean_field_update.into({ w: W }, { dw: P }, { ...response, alpha: transferLr }); // Eq. 11
    }
  }
}

/** A ← A − lr Σ_s δ_s x_sᵀ as the crossbar does it: Eq. 5 per sample, or pulse trains (§2.6). */
function gradientUpdate(
  s: State,
  l: number,
  A: Tensor,
  x: Tensor,
  d: Tensor,
  lr: number,
  t: number | Scalar,
): void {
  const { config } = s;
  const { dev } = s.layers[l];
  if (!dev) {
    mean_field_outer.into({ w: A }, { x, d }, { ...config.response, alpha: -lr });
    return;
  }
  pulseOuter(A, x, d, dev, device(config), {
    lr,
    bl: config.bl,
    granularity: dwMin(config),
    seed: config.seed,
    stream: 8 * l + 0x80,
    t,
  });
}

/** The stochastic rank-1 updates of a batch: trains for both sides, then pulses. */
export function pulseOuter(
  A: Tensor,
  x: Tensor,
  d: Tensor,
  dev: Tensor,
  type: DeviceConfig,
  p: {
    lr: number;
    bl: number;
    granularity: number;
    seed: number;
    stream: number;
    t: number | Scalar;
  },
): void {
  const { lr, bl, granularity, seed, stream, t } = p;
  const scales = pulse_scales(x, d, { lr, granularity, bl });
  const xw = pulse_trains(x, scales, { side: 0, seed, stream, t });
  const dw = pulse_trains(d, scales, { side: 1, seed, stream: stream + 1, t });
  pulse_update.into(
    { w: A },
    { xw, dw, x, d, dev },
    { ...pulseOptions(type), seed, stream: stream + 2, t },
  );
}

/**
 * Zero-shifting (§2.4): up and down pulses in turn drive every device to its symmetric point, which
 * becomes its reference r; the logical weight w = v − r then has its SP at 0. dev (7,O,I) in place.
 */
export async function zeroShift(
  dev: Tensor,
  type: DeviceConfig,
  pairs: number,
  seed = 0,
): Promise<void> {
  const be = dev.backend;
  const [, O, I] = dev.shape;
  const w = be.tensor([O, I]);
  const ones = (n: number) => be.tensor([2, n], new Uint32Array(2 * n).fill(1));
  const trains = [ones(I), ones(O)];
  const x = be.tensor([2, I], new Float32Array(2 * I).fill(1));
  const d = be.tensor(
    [2, O],
    Float32Array.from({ length: 2 * O }, (_, k) => (k < O ? -1 : 1)),
  );
  for (let k = 0; k < pairs; k++) {
    pulse_update.into(
      { w },
      { xw: trains[0], dw: trains[1], x, d, dev },
      { ...pulseOptions(type), seed, stream: 0x70, t: k },
    );
  }
  const planes = Float32Array.from(await dev.read());
  planes.set(
    (await w.read()).map((v, e) => v + planes[6 * O * I + e]),
    6 * O * I,
  );
  dev.write(planes);
  for (const t of [w, x, d, ...trains]) t.dispose();
}
