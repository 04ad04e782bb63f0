import {
  type Backend,
  type Dtype,
  type Scalar,
  type Shape,
  type Slab,
  scope,
  slab,
  type Tensor,
  ValueError,
  vjp,
} from "../../core/index.ts";
import {
  adamw,
  matmul,
  mul,
  project_ball,
  scale,
  sgd,
  squared_distance,
  sub,
} from "../../kernels/index.ts";
import { type Config, checkConfig } from "./config.ts";
import type { Batch, Format } from "./examples.ts";

export type Named = Readonly<Record<string, Tensor>>;
export type Numbers = Readonly<Record<string, ArrayLike<number>>>;

/** P_θ(y|x): parameters to train, and the loss of each token of the answers of a batch. */
export interface Model {
  readonly params: Readonly<Record<string, Shape>>;
  readonly format: Format;
  /** −ln P_θ(y_j|x, y_<j) for B examples, (B · tokens), in nats. */
  readonly losses: (theta: Named, batch: Named) => Tensor;
  /** The ball of Case II, where it is not that of ‖θ − θ_s‖. */
  readonly ball?: Ball;
}

export interface Ball {
  /** Square of the distance from θ_s, (). */
  readonly squared: (theta: Named) => Tensor;
  /** Brings θ to `radius` where `sumsq` is beyond its square, and m with it. */
  readonly project: (theta: Named, m: Named, sumsq: Tensor, radius: number | Scalar) => void;
}

export interface State {
  readonly model: Model;
  readonly config: Config;
  readonly theta: Slab;
  /** θ_s */
  readonly centre: Slab;
  readonly memory: { readonly m: Slab; readonly v: Slab };
  /** Weights of f_f and f_ŝ, (2,1): 1/(1+λ) and λ/(1+λ). */
  readonly mix: Tensor;
  /** 1/ρ, or F_i/ρ, times θ − θ_s is added to the gradient. */
  readonly pull?: Slab;
  /** 1 where a parameter may move, of `masked`. */
  readonly mask?: Slab;
  [Symbol.dispose](): void;
}

/** Numbers that may change from step to step. */
export interface Rates {
  readonly lr?: number | Scalar;
  /** ε of `ball`, which may be 0 here: θ stays θ_s. */
  readonly eps?: number | Scalar;
  /** Number of the step from 1, which Adam's bias correction asks for; default 1. */
  readonly t?: number | Scalar;
}

export interface InitOptions {
  /** Diagonal of the Fisher information of f_s, of `ewc`. */
  readonly fisher?: ArrayLike<number>;
  /** What may move, of `masked`. */
  readonly trainable?: (name: string) => boolean;
}

/** The weights (1, λ)/(1 + λ) of f_f and f_ŝ. */
export const mixOf = ({ strategy, lambda }: Config): [number, number] =>
  strategy === "loss" ? [1 / (1 + lambda), lambda / (1 + lambda)] : [1, 0];

/** Rows of a step: those of D_f, and where f_ŝ counts as many of D_ŝ. */
export const rowsOf = ({ strategy, batch }: Config): number =>
  strategy === "loss" ? 2 * batch : batch;

/** What a captured step over `rows` examples is to be fed. */
export function inputsOf(
  { format: { fields, tokens } }: Model,
  rows: number,
): Record<string, { readonly shape: Shape; readonly dtype: Dtype }> {
  return {
    ...Object.fromEntries(
      Object.entries(fields).map(([name, width]) => [name, { shape: [rows, width], dtype: "i32" }]),
    ),
    weights: { shape: [rows * tokens, 2], dtype: "f32" },
  };
}

/** The same as tensors, for a step that is not captured. */
export const tensorsOf = (
  be: Backend,
  model: Model,
  rows: number,
  batch: Batch,
): Record<string, Tensor> =>
  Object.fromEntries(
    Object.entries(inputsOf(model, rows)).map(([name, { shape, dtype }]) => [
      name,
      be.tensor(shape, batch[name], dtype),
    ]),
  );

/**
 * Starts at θ_s, `aligned` by name of parameter, or as one vector from `Slab.save`.
 * @throws ValueError for a config that makes no sense, or lacks what its strategy asks for
 */
export function init(
  be: Backend,
  model: Model,
  config: Config,
  aligned: Numbers | Float32Array,
  { fisher, trainable }: InitOptions = {},
): State {
  checkConfig(config);
  const { strategy, rho } = config;
  const need = (given: unknown, what: string) => {
    if (!given)
      throw new ValueError("missing", `safety-capability: strategy ${strategy} expects ${what}`);
  };
  if (strategy === "ewc") need(fisher, "a Fisher diagonal: fisher");
  if (strategy === "masked") need(trainable, "the parameters that may move: trainable");
  const load = (to: Slab) => {
    if (aligned instanceof Float32Array) to.load(aligned);
    else for (const [name, values] of Object.entries(aligned)) to.tensors[name].write(values);
    return to;
  };
  const theta = load(slab(be, model.params));
  const filled = (value: (name: string) => number): Slab => {
    const s = theta.like();
    for (const [name, t] of Object.entries(s.tensors))
      t.write(new Float32Array(t.size).fill(value(name)));
    return s;
  };
  const memory = { m: theta.like(), v: theta.like() };
  const centre = load(theta.like());
  const s: Omit<State, typeof Symbol.dispose> = {
    model,
    config,
    theta,
    centre,
    memory,
    mix: be.tensor([2, 1], mixOf(config)),
    ...(strategy === "proximal" ? { pull: filled(() => 1 / rho) } : {}),
    ...(strategy === "masked" && trainable
      ? { mask: filled((name) => Number(trainable(name))) }
      : {}),
  };
  const pull = s.pull ?? (strategy === "ewc" ? theta.like() : undefined);
  if (strategy === "ewc" && fisher) pull?.load(Float32Array.from(fisher, (v) => v / rho));
  return {
    ...s,
    ...(pull ? { pull } : {}),
    [Symbol.dispose]() {
      for (const t of [theta, centre, memory.m, memory.v, s.mix, pull, s.mask]) t?.dispose();
    },
  };
}

/** (f_f, f_ŝ) (1,2) at θ; the gradient of their sum by `mix` in `theta.grad`. */
export function gradient({ model, theta, mix }: State, batch: Named): Tensor {
  const { weights } = batch;
  // the sum is linear in the losses of the tokens: what each counts is known before they are
  const counts = matmul(weights, mix).reshape([weights.shape[0]]);
  const { value } = vjp((p: Named) => model.losses(p, batch))(theta, counts);
  return matmul(value.reshape([1, value.size]), weights);
}

/** The optimiser's step along `theta.grad`, and what Case II does to it. */
export function update(s: State, rates: Rates = {}): void {
  const { config, theta, centre, memory, pull, mask } = s;
  const { strategy, beta1, beta2, lr, eps } = config;
  const [p, g, m] = [theta.flat, theta.grad.flat, memory.m.flat];
  if (pull) mul.into({ y: g }, { a: pull.flat, b: sub(p, centre.flat) }, { beta: 1 });
  if (mask) scale.into({ y: g }, { x: mul(g, mask.flat) });
  const by = rates.lr ?? lr;
  if (config.optimiser === "sgd") {
    sgd.into({ p, m }, { g }, { lr: by, momentum: beta1 });
  } else {
    adamw.into({ p, m, v: memory.v.flat }, { g }, { lr: by, beta1, beta2, t: rates.t ?? 1 });
  }
  if (strategy !== "ball" || eps === Number.POSITIVE_INFINITY) return;
  const radius = rates.eps ?? eps;
  const ball = ballOf(s);
  ball.project(theta.tensors, memory.m.tensors, ball.squared(theta.tensors), radius);
}

/** That of the model, or of ‖θ − θ_s‖ over the slab. */
const ballOf = ({ model, theta, centre, memory }: State): Ball =>
  model.ball ?? {
    squared: () => squared_distance(theta.flat, centre.flat),
    project: (_theta, _m, sumsq, radius) => {
      const to = { p: theta.flat, m: memory.m.flat };
      project_ball.into(to, { c: centre.flat, sumsq }, { radius });
    },
  };

/** How far θ is from θ_s in the norm of Case II. */
export async function distanceOf(s: State): Promise<number> {
  const squared = scope(() => ballOf(s).squared(s.theta.tensors));
  const [d] = await squared.read();
  squared.dispose();
  return Math.sqrt(d);
}

/**
 * One step of either case over a batch of `rowsOf` examples (inputs as in `inputsOf`). Reads nothing back, so it
 * can be captured. Returns (f_f, f_ŝ) (1,2) before θ moved.
 */
export function step(s: State, batch: Named, rates: Rates = {}): Tensor {
  const F = gradient(s, batch);
  update(s, rates);
  return F;
}
