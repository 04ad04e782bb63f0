import { ValueError } from "../../core/index.ts";
import { checkDevice, type DeviceConfig, granularity } from "./devices.ts";

export type Method =
  | "digital" // W ← W − α∇f
  | "analog-sgd" // Eq. 5
  | "ttv1" // Tiki-Taka v1: Residual Learning with γ = 0, Eq. 9–11
  | "residual" // Residual Learning, Eq. 9–11
  | "ttv2" // digital buffer without decay, §2.5
  | "residual-v2" // digital buffer with decay, Eq. 14–15
  | "multi-tile" // a cascade of residual arrays, arXiv:2510.02516
  | "mixed-precision"; // digital gradient accumulated, whole steps written

export const methods: readonly Method[] = [
  "digital",
  "analog-sgd",
  "ttv1",
  "residual",
  "ttv2",
  "residual-v2",
  "multi-tile",
  "mixed-precision",
];

/** How a crosspoint answers, §2.2; the symmetric point of `linear` is cτ. */
export interface Response {
  readonly model: "ideal" | "linear" | "power" | "exponential";
  readonly tau: number;
  readonly g: number;
  readonly c: number;
}

/** A convolution of conv×conv without padding, then tanh and the mean of 2×2. */
export interface Conv {
  readonly conv: number;
  readonly channels: number;
}

export interface Config {
  readonly method: Method;
  /** Inputs, then layers: a width, or a `Conv` over a square image. tanh between, softmax at the end. */
  readonly layers: readonly [number, ...(number | Conv)[]];
  readonly batch: number;
  /** α: step of SGD, and of Analog SGD on W. */
  readonly lr: number;
  /** α of the residual array. */
  readonly fastLr: number;
  /** β: transfer step from an array to the next coarser one, Eq. 11. */
  readonly transferLr: number;
  /** γ in W̄ = Σ γⁿ W⁽ⁿ⁾; with one residual array W̄ = W + γP. */
  readonly gamma: number;
  /** β_H of the buffer, Eq. 14. */
  readonly bufferRate: number;
  /** Arrays of `multi-tile`, the coarsest and its residuals. */
  readonly tiles: number;
  /** Batches between transfers out of the finest array; each coarser one waits `everyGrowth` times longer. */
  readonly transferEvery: number;
  readonly everyGrowth: number;
  readonly response: Response;
  /** Pulse mode: the devices, one of `presets` say, in place of those that `response` describes. */
  readonly device?: DeviceConfig;
  /** "mean-field" applies Eq. 5 to each sample; "pulse" fires stochastic trains at devices. */
  readonly mode: "mean-field" | "pulse";
  /** "analog" reads through DAC, noise and ADC (§2.8), forward and backward. */
  readonly io: "float" | "analog";
  /** Number of states 2τ/Δw_min: granularity of pulses and of the thresholds of the buffers. */
  readonly states: number;
  /** Cycle-to-cycle noise σ_c of a pulse, pulse mode. */
  readonly sigma: number;
  /** Longest pulse train of an update. */
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
  tiles: 4,
  transferEvery: 1,
  everyGrowth: 5,
  response: { model: "power", tau: 0.6, g: 2, c: 0 },
  mode: "mean-field",
  io: "float",
  states: 1200,
  sigma: 0,
  bl: 31,
  seed: 0,
};

const finite = (v: number) => Number.isFinite(v) && v >= 0;
const count = (v: number) => Number.isInteger(v) && v >= 1;

/** @throws ValueError naming the field, what it must be and what it is */
export function checkConfig(c: Config): void {
  const must = (ok: boolean, field: string, words: string, got: unknown) => {
    if (!ok) throw new ValueError("config", `analog: ${field}: expected ${words}, got ${got}`);
  };
  must(methods.includes(c.method), "method", `one of ${methods.join(", ")}`, c.method);
  for (const field of ["lr", "fastLr", "transferLr", "sigma", "gamma"] as const) {
    must(finite(c[field]), field, "finite and >= 0", c[field]);
  }
  for (const field of ["states", "batch", "transferEvery", "everyGrowth"] as const) {
    must(count(c[field]), field, "an integer >= 1", c[field]);
  }
  const { tau, c: skew, g } = c.response;
  must(tau > 0 && Number.isFinite(tau), "tau", "finite and > 0", tau);
  must(g > 0 && Number.isFinite(g), "g", "finite and > 0", g);
  must(Math.abs(skew) < 1, "c", "in (−1, 1), or the symmetric point leaves the bounds", skew);
  must(c.bufferRate > 0 && c.bufferRate <= 1, "bufferRate", "in (0, 1]", c.bufferRate);
  must(count(c.bl) && c.bl <= 32, "bl", "an integer in 1 … 32", c.bl);
  if (c.method === "multi-tile") {
    must(count(c.tiles) && c.tiles >= 2 && c.tiles <= 12, "tiles", "an integer in 2 … 12", c.tiles);
    must(c.gamma > 0 && c.gamma < 1, "gamma", "in (0, 1) with several tiles", c.gamma);
  }
  if (c.device) {
    must(c.mode === "pulse", "device", "mode pulse: the mean field knows responses only", c.mode);
    checkDevice(c.device);
  }
  must(c.layers.length >= 2, "layers", "the number of inputs and one layer or more", c.layers);
  for (const layer of c.layers) {
    const sizes = typeof layer === "number" ? [layer] : [layer.conv, layer.channels];
    must(sizes.every(count), "layers", "widths >= 1", JSON.stringify(layer));
  }
}

/** Δw_min: one pulse at response 1. */
export const dwMin = (c: Config): number =>
  c.device ? granularity(c.device) : (2 * c.response.tau) / c.states;

/**
 * The devices of pulse mode: those given, or the device with the paper's response. PowStep needs
 * dw·2^g; skew c is up_down 2c/(1 + c) (§2.7).
 */
export function device({ device: given, response, states, sigma }: Config): DeviceConfig {
  if (given) return given;
  const { model, tau, g, c } = response;
  const skew = Math.abs(c);
  const common = {
    dwMin: ((2 * tau) / states) * (1 + skew),
    upDown: (Math.sign(c) * 2 * skew) / (1 + skew),
    wMax: tau,
    wMin: -tau,
    sigma,
  };
  if (model === "power")
    return { ...common, model, dwMin: common.dwMin * 2 ** g, gUp: g, gDown: g };
  if (model === "exponential") return { ...common, model, gUp: g, gDown: g };
  return { ...common, model: "linear", softBounds: model === "linear" };
}
