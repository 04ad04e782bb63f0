import {
  type Backend,
  type Scalar,
  type Slab,
  slab,
  stopGradient,
  type Tensor,
  TilegradError,
  ValueError,
  valueAndGrad,
} from "../../core/index.ts";
import {
  abs,
  adamw,
  add,
  exp,
  expand,
  log,
  logsumexp,
  mul,
  relu,
  scale,
  sgd,
  sign,
  skip_nonfinite,
  sub,
  sum,
} from "../../kernels/index.ts";
import { type Config, cautions, checkConfig, type Oracle } from "./config.ts";
import { type Named, objectives, type Problem, runsOf, squaredDistance } from "./problem.ts";

/** x runs away from y*(x): l pushes it off where the losses are flat (code FoopsDiverged). */
export class FoopsDiverged extends TilegradError {}

/** Objectives were NaN or infinite in three steps, all of which were skipped (code FoopsNotFinite). */
export class FoopsNotFinite extends TilegradError {}

/** What an oracle keeps: momentum, and for Adam the second moments. */
interface Memory {
  readonly m: Slab;
  readonly v?: Slab;
}

export interface State {
  readonly problem: Problem;
  readonly config: Config;
  readonly x: Slab;
  /** The auxiliary copy, an estimate of y*(x). */
  readonly y: Slab;
  readonly memory: { readonly x: Memory; readonly y: Memory };
  /** Steps of x, and of y, that were skipped because something was not finite: () each. */
  readonly skipped: { readonly x: Tensor; readonly y: Tensor };
  /** 1/s_m for each run and objective, (R,M), if there are scales. */
  readonly inverse?: Tensor;
  [Symbol.dispose](): void;
}

/** Numbers that may change from step to step. */
export interface Rates {
  readonly alpha?: number | Scalar;
  readonly beta?: number | Scalar;
  readonly gamma?: number | Scalar;
  /** Number of the outer step from 1, which Adam's bias correction asks for; default 1. */
  readonly t?: number | Scalar;
}

/** What a step saw: at x_t, before x moved. */
export interface Seen {
  /** (R,M) */
  readonly F: Tensor;
  /** (R) */
  readonly f0: Tensor;
  /** v_t ≈ v(x_t) + τ ln M, (R). */
  readonly v: Tensor;
  /** (R,M) */
  readonly pi: Tensor;
}

export interface InitOptions {
  /** Range of f₀, for the caution about γ τ ln M. */
  readonly preferenceRange?: number;
  readonly warn?: (caution: string) => void;
}

/**
 * x_0 and y_0 = x_0 from `start`, by name of parameter.
 * @throws ValueError for a config that makes no sense, or no objectives
 */
export function init(
  be: Backend,
  problem: Problem,
  config: Config,
  start: Readonly<Record<string, ArrayLike<number>>>,
  { preferenceRange, warn = console.warn }: InitOptions = {},
): State {
  const { M, params, modulus } = problem;
  if (!(Number.isInteger(M) && M >= 1))
    throw new ValueError("objectives", `foops: M: expected an integer >= 1, got ${M}`);
  checkConfig(config, M);
  for (const caution of cautions(config, M, { modulus, preferenceRange })) warn(caution);
  const missing = Object.keys(params).filter((name) => !start[name]);
  if (missing.length)
    throw new ValueError("start", `foops: start: expected every parameter, got no ${missing}`);
  const x = slab(be, params, start);
  const y = slab(be, params, start);
  const memory = (oracle: Oracle): Memory =>
    oracle === "adam" ? { m: x.like(), v: x.like() } : { m: x.like() };
  const { scales } = config;
  const R = runsOf(problem);
  const s: Omit<State, typeof Symbol.dispose> = {
    problem,
    config,
    x,
    y,
    memory: { x: memory(config.outer), y: memory(config.inner) },
    skipped: { x: be.tensor([]), y: be.tensor([]) },
    ...(scales
      ? {
          inverse: be.tensor(
            [R, M],
            Array.from({ length: R * M }, (_, i) => 1 / scales[i % M]),
          ),
        }
      : {}),
  };
  return {
    ...s,
    [Symbol.dispose]() {
      for (const { m, v } of Object.values(s.memory)) for (const b of [m, v]) b?.dispose();
      for (const t of [x, y, s.skipped.x, s.skipped.y, s.inverse]) t?.dispose();
    },
  };
}

/** f_m / s_m. */
const scaled = (s: State, F: Tensor): Tensor => (s.inverse ? mul(F, s.inverse) : F);

/** w ← U(w, g; rate), then the projection on X. */
function update(s: State, oracle: Oracle, w: Slab, memory: Memory, rate: unknown, t: unknown) {
  const { momentum } = s.config;
  const g = w.grad.flat;
  if (oracle === "adam") {
    const v = memory.v as Slab;
    adamw.into({ p: w.flat, m: memory.m.flat, v: v.flat }, { g }, { lr: rate, t });
  } else {
    const heavy = oracle === "pgd" ? {} : { momentum, nesterov: oracle === "nesterov" ? 1 : 0 };
    sgd.into({ p: w.flat, m: memory.m.flat }, { g }, { lr: rate, ...heavy });
  }
  if (!s.problem.box) return;
  const [low, high] = s.problem.box;
  for (const p of Object.values(w.tensors)) {
    // min(high, max(low, p)) = high − relu(high − low − relu(p − low))
    const above = relu(scale(p, { shift: -low }));
    scale.into(
      { y: p },
      { x: relu(scale(above, { by: -1, shift: high - low })) },
      { by: -1, shift: high },
    );
  }
}

/** f_m(x)/s_m at the present x, (R,M): what `innerStep` measures y against. */
export const valuesAt = (s: State, batch: Named = {}): Tensor =>
  scaled(s, objectives(s.problem, s.x.tensors, batch));

/** One inner step y ← U_y(y, ∇_y h(x, y); β) from Fx, `valuesAt` x (R,M). */
export function innerStep(s: State, Fx: Tensor, batch: Named = {}, rates: Rates = {}): void {
  const { l, tau, beta, inner } = s.config;
  const { x, y } = s;
  const { value } = valueAndGrad((p: Named) => {
    // ∇_y of τ LSE is Σ π_m ∇f_m(y): the reverse sweep makes π itself.
    const d = sub(scaled(s, objectives(s.problem, p, batch)), Fx);
    return sum(logsumexp(d, { tau }).y);
  })(y);
  const g = y.grad.flat;
  if (l > 0) {
    scale.into({ y: g }, { x: y.flat }, { by: l, beta: 1 });
    scale.into({ y: g }, { x: x.flat }, { by: -l, beta: 1 });
  }
  skip_nonfinite.into({ g, skipped: s.skipped.y }, { probe: value });
  update(s, inner, y, s.memory.y, rates.beta ?? beta, rates.t ?? 1);
}

/** v(x) + τ ln M (R) and π (R,M) at the present y; dist is ‖x − y‖² (R), wanted only if l > 0. */
function merit(s: State, Fx: Tensor, dist: Tensor | undefined, batch: Named) {
  const { l, tau } = s.config;
  const Fy = scaled(s, objectives(s.problem, s.y.tensors, batch));
  const { y: lse, w: pi } = logsumexp(sub(Fy, Fx), { tau });
  const h = dist ? add(lse, scale(dist, { by: l / 2 })) : lse;
  return { v: scale(h, { by: -1, shift: tau * Math.log(s.problem.M) }), pi };
}

/** Σ_r c_r (Σ_m π_m f_m(x) − (l/2)‖x − y‖²): its gradient is Σ_r c_r ∇v(x), by Danskin (Eq. 5). */
function danskin(c: Tensor, Fx: Tensor, pi: Tensor, dist: Tensor | undefined, l: number): Tensor {
  const [, M] = Fx.shape;
  const weighted = sum(mul(Fx, mul(expand(c, { size: M }), pi)).reshape([Fx.size]));
  if (!dist) return weighted;
  return sub(weighted, scale(sum(mul(c, dist)), { by: l / 2 }));
}

/** The slope θ sign(v)|v|^(θ−1) of the penalty, (R); NaN where v is. */
function slope(v: Tensor, theta: number): Tensor {
  // p = v + τ ln M itself: a v_t that is negative because y is not there yet does not turn it round.
  if (theta === 1) return scale(v, { by: 0, shift: 1 });
  if (theta === 2) return scale(v, { by: 2 });
  const power = exp(scale(log(scale(abs(v), { shift: 1e-12 })), { by: theta - 1 }));
  return scale(mul(sign(v), power), { by: theta });
}

/** ‖x − y‖² (R) at x = p, if anything asks for it. */
const distance = (s: State, p: Named): Tensor | undefined =>
  s.config.l > 0 ? squaredDistance(p, s.y.tensors, runsOf(s.problem)) : undefined;

/** v(x) + τ ln M (R), π (R,M) at the present y, and ∇v(x) in `x.grad`. */
export function meritGradient(s: State, batch: Named = {}): { v: Tensor; pi: Tensor } {
  const { value } = valueAndGrad((p: Named) => {
    const Fx = scaled(s, objectives(s.problem, p, batch));
    const dist = distance(s, p);
    const { v, pi } = merit(s, stopGradient(Fx), dist && stopGradient(dist), batch);
    const ones = v.backend.tensor(v.shape, new Array(v.size).fill(1));
    return [danskin(ones, Fx, pi, dist, s.config.l), { v, pi }] as const;
  })(s.x);
  return value[1];
}

/**
 * One step of Algorithm 1: K inner steps, then x ← U_x(x, ∇f₀ + γ ∇p; α). Reads nothing back, so it can
 * be captured. F(x) is computed once; both parts of the gradient come from one reverse sweep.
 */
export function step(s: State, batch: Named = {}, rates: Rates = {}): Seen {
  const { l, theta, gamma, alpha, innerSteps, outer } = s.config;
  const { value } = valueAndGrad((p: Named) => {
    const F = objectives(s.problem, p, batch);
    const Fx = scaled(s, F);
    const fx = stopGradient(Fx);
    for (let k = 0; k < innerSteps; k++) innerStep(s, fx, batch, rates);
    const dist = distance(s, p);
    const { v, pi } = merit(s, fx, dist && stopGradient(dist), batch);
    const c = scale(slope(v, theta), { by: rates.gamma ?? gamma });
    const f0 = s.problem.preference(F, p, batch).reshape([runsOf(s.problem)]);
    // ∇p = θ sign(v)|v|^(θ−1) ∇v
    const total = add(sum(f0), danskin(c, Fx, pi, dist, l));
    return [total, { F, f0, v, pi }] as const;
  })(s.x);
  const [total, seen] = value;
  skip_nonfinite.into({ g: s.x.grad.flat, skipped: s.skipped.x }, { probe: total });
  update(s, outer, s.x, s.memory.x, rates.alpha ?? alpha, rates.t ?? 1);
  return seen;
}
