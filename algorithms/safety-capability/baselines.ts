import { type Backend, type Counter, capture, type Step, type Tensor } from "../../core/index.ts";
import { matmul, mul, scale } from "../../kernels/index.ts";
import type { Config } from "./config.ts";
import { assertTokens, batchOf, type Examples } from "./examples.ts";
import { gradient, init, inputsOf, type Model, type State, update } from "./tradeoff.ts";
import { batches } from "./train.ts";

// What the two cases are compared with, beyond the strategies of `train`: rules that weigh the gradients of f_f and
// f_ŝ anew in each step, the Fisher information of EWC, and interpolation.

/** F = (f_f, f_ŝ) at a point, and the inner products of their gradients there. */
export interface Seen {
  readonly F: readonly [number, number];
  readonly ff: number;
  readonly fs: number;
  readonly ss: number;
}
export type Weights = readonly [number, number];

/** The point of least norm between the two gradients, in closed form; Désidéri, C. R. Math. 350 (2012). */
export function mgda({ ff, fs, ss }: Seen): Weights {
  const w = (ss - fs) / Math.max(ff + ss - 2 * fs, 1e-30);
  const clipped = Math.min(1, Math.max(0, w));
  return [clipped, 1 - clipped];
}

/** Each gradient without what opposes the other; Yu et al., arXiv:2001.06782, Alg. 1. */
export function pcgrad({ ff, fs, ss }: Seen): Weights {
  if (fs >= 0) return [1, 1];
  return [1 - fs / ff, 1 - fs / ss];
}

/** Of FOOPS on F = (f_f, f_ŝ), arXiv:2504.02854 with θ = 2, l = 0, K = 1. */
export const FOOPS = { tau: 0.05, gamma: 10 } as const;

/** π of the merit function: softmax((F(y) − F(x))/τ). */
export function foopsWeights(Fx: Weights, Fy: Weights): Weights {
  const w = 1 / (1 + Math.exp((Fy[1] - Fx[1] - Fy[0] + Fx[0]) / FOOPS.tau));
  return [w, 1 - w];
}

/** ∇f₀ + γ ∇(v + τ ln 2)² in the gradients at x; f₀ = (f_f − f_ŝ)²/2, which prefers losses that are alike. */
export function foopsOuter(Fx: Weights, Fy: Weights): Weights {
  const { tau, gamma } = FOOPS;
  const d = Fx.map((f, m) => (Fy[m] - f) / tau);
  const top = Math.max(...d);
  const v = -tau * (top + Math.log((Math.exp(d[0] - top) + Math.exp(d[1] - top)) / 2));
  const pi = foopsWeights(Fx, Fy);
  const apart = Fx[0] - Fx[1];
  return [apart + 2 * gamma * v * pi[0], -apart + 2 * gamma * v * pi[1]];
}

/** Both gradients at the θ of a state, and what follows from weights for them; two captured steps. */
class Pair {
  readonly #state: State;
  readonly #look: Step<readonly Tensor[]>;
  readonly #move: Step<unknown>;
  readonly #owned: readonly Tensor[];

  private constructor(
    state: State,
    look: Step<readonly Tensor[]>,
    move: Step<unknown>,
    owned: readonly Tensor[],
  ) {
    this.#state = state;
    this.#look = look;
    this.#move = move;
    this.#owned = owned;
  }

  static async open(be: Backend, model: Model, config: Config, start: Float32Array): Promise<Pair> {
    const state = init(be, model, config, start);
    const N = state.theta.flat.size;
    const grads = [0, 1].map(() => be.tensor([1, N]));
    const units = [0, 1].map((m) => be.tensor([2, 1], m ? [0, 1] : [1, 0]));
    const look = await capture(
      be,
      ({ in: batch }) => {
        const F = [0, 1].map((m) => {
          const seen = gradient({ ...state, mix: units[m] }, batch);
          scale.into({ y: grads[m] }, { x: state.theta.grad.flat.reshape([1, N]) });
          return seen;
        })[0];
        const [f, s] = grads;
        return [F, matmul(f, f, { tb: 1 }), matmul(f, s, { tb: 1 }), matmul(s, s, { tb: 1 })];
      },
      { inputs: inputsOf(model, 2 * config.batch) },
    );
    const scalars: Record<string, number | Counter> = { f: 1, s: 1, t: { start: 1 } };
    const move = await capture(
      be,
      ({ scalar: { f, s, t } }) => {
        const to = { y: state.theta.grad.flat.reshape([1, N]) };
        scale.into(to, { x: grads[0] }, { by: f });
        scale.into(to, { x: grads[1] }, { by: s, beta: 1 });
        update(state, { t });
      },
      { scalars },
    );
    return new Pair(state, look, move, [...grads, ...units]);
  }

  async look(batch: Parameters<Step<unknown>["run"]>[0]): Promise<Seen> {
    this.#look.run(batch);
    const [F, ff, fs, ss] = await Promise.all(this.#look.out.map((t) => t.read()));
    return { F: [F[0], F[1]], ff: ff[0], fs: fs[0], ss: ss[0] };
  }

  move([f, s]: Weights): void {
    this.#move.run(undefined, { f, s });
  }

  save(): Promise<Float32Array> {
    return this.#state.theta.save();
  }

  [Symbol.dispose](): void {
    this.#look.dispose();
    this.#move.dispose();
    for (const t of this.#owned) t.dispose();
    this.#state[Symbol.dispose]();
  }
}

export type Rule = "MGDA" | "PCGrad" | "FOOPS";
export const rules: readonly Rule[] = ["MGDA", "PCGrad", "FOOPS"];

/** Fine-tunes θ_s on both losses with the gradients weighed by a rule. */
export async function trainByRule(
  be: Backend,
  model: Model,
  config: Config,
  rule: Rule,
  aligned: Float32Array,
  data: { readonly task: Examples; readonly proxy: Examples },
  o: { readonly steps: number; readonly seed: number; readonly signal?: AbortSignal | undefined },
): Promise<Float32Array> {
  const both: Config = { ...config, strategy: "loss" };
  assertTokens("task", data.task);
  assertTokens("proxy", data.proxy);
  using x = await Pair.open(be, model, both, aligned);
  using y = rule === "FOOPS" ? await Pair.open(be, model, both, aligned) : undefined;
  const next = batches(model, both, data.task, data.proxy, o.seed);
  for (let t = 0; t < o.steps; t++) {
    o.signal?.throwIfAborted();
    const batch = next();
    const at = await x.look(batch);
    if (y) {
      y.move(foopsWeights(at.F, (await y.look(batch)).F));
      const Fy = (await y.look(batch)).F;
      x.move(foopsOuter(at.F, Fy));
    } else {
      x.move(rule === "MGDA" ? mgda(at) : pcgrad(at));
    }
  }
  return x.save();
}

/** Diagonal of the empirical Fisher information of f_s at θ_s: the mean square of the gradient of an example. */
export async function fisherDiagonal(
  be: Backend,
  model: Model,
  config: Config,
  aligned: Float32Array,
  safety: Examples,
  examples = 300,
): Promise<Float32Array> {
  assertTokens("safety", safety);
  using s = init(be, model, { ...config, strategy: "plain" }, aligned);
  using sum = s.theta.like();
  using captured = await capture(
    be,
    ({ in: batch }) => {
      gradient(s, batch);
      const g = s.theta.grad.flat;
      mul.into({ y: sum.flat }, { a: g, b: g }, { beta: 1 });
    },
    { inputs: inputsOf(model, 1) },
  );
  const n = Math.min(examples, safety.n);
  for (let i = 0; i < n; i++) captured.run(batchOf(model.format, [{ from: safety, rows: [i] }]));
  return (await sum.save()).map((v) => v / n);
}

/** (1 − c) θ_s + c θ_f */
export const interpolated = (aligned: Float32Array, tuned: Float32Array, c: number): Float32Array =>
  aligned.map((v, i) => (1 - c) * v + c * tuned[i]);
