import { TilegradError, ValueError } from "../../core/index.ts";

/** A set of examples without one token that counts (code EmptyLoss). */
export class EmptyLoss extends TilegradError {}

/** The same prompt in a training set and in what it is judged on (code PromptOverlap). */
export class PromptOverlap extends TilegradError {}

/** How the alignment of θ_s is kept while f_f falls; §2 of the page. */
export type Strategy =
  | "plain" // min f_f
  | "loss" // Case I: min f_f + λ f_ŝ
  | "ball" // Case II: min f_f, ‖θ − θ_s‖ <= ε
  | "proximal" // Case II, smooth: min f_f + ‖θ − θ_s‖²/(2ρ), which is L2-SP
  | "masked" // Case II: min f_f over some of the parameters
  | "ewc"; // min f_f + (1/(2ρ)) Σ F_i (θ − θ_s)_i², F the diagonal Fisher information of f_s

export const strategies: readonly Strategy[] = [
  "plain",
  "loss",
  "ball",
  "proximal",
  "masked",
  "ewc",
];

/** The symbols of the paper. */
export interface Config {
  readonly strategy: Strategy;
  /** λ >= 0: weight of f_ŝ, of `loss`. */
  readonly lambda: number;
  /** ε > 0: radius of `ball`; Infinity is no constraint. */
  readonly eps: number;
  /** ρ > 0, of `proximal` and `ewc`. */
  readonly rho: number;
  /** "sgd" has momentum `beta1`, and unlike projected Adam comes to rest where the gradient is radial: see README. */
  readonly optimiser: "adam" | "sgd";
  /** Step; gradients are those of (f_f + λ f_ŝ)/(1 + λ), so that one serves every λ. */
  readonly lr: number;
  readonly beta1: number;
  readonly beta2: number;
  /** Examples of a step out of each source. */
  readonly batch: number;
}

/** S3 of the page. */
export const defaults: Config = {
  strategy: "loss",
  lambda: 1,
  eps: 4,
  rho: 100,
  optimiser: "adam",
  lr: 2e-3,
  beta1: 0.9,
  beta2: 0.999,
  batch: 64,
};

/** @throws ValueError (RangeError by code) naming the field, what it must be and what it is */
export function checkConfig(c: Config): void {
  const must = (ok: boolean, field: string, words: string, got: unknown) => {
    if (!ok) {
      throw new ValueError(
        "RangeError",
        `safety-capability: ${field}: expected ${words}, got ${got}`,
      );
    }
  };
  must(strategies.includes(c.strategy), "strategy", `one of ${strategies.join(", ")}`, c.strategy);
  must(["adam", "sgd"].includes(c.optimiser), "optimiser", "adam or sgd", c.optimiser);
  must(Number.isFinite(c.lambda) && c.lambda >= 0, "lambda", "finite and >= 0", c.lambda);
  must(c.eps > 0, "eps", "> 0, or Infinity for no constraint", c.eps);
  must(Number.isFinite(c.rho) && c.rho > 0, "rho", "finite and > 0", c.rho);
  must(Number.isFinite(c.lr) && c.lr >= 0, "lr", "finite and >= 0", c.lr);
  for (const field of ["beta1", "beta2"] as const)
    must(c[field] >= 0 && c[field] < 1, field, "in [0, 1)", c[field]);
  must(Number.isInteger(c.batch) && c.batch >= 1, "batch", "an integer >= 1", c.batch);
}

/** @throws ValueError (RangeError by code) for a share outside [0, 1] */
export function checkShare(name: string, share: number): void {
  if (!(share >= 0 && share <= 1)) {
    throw new ValueError(
      "RangeError",
      `safety-capability: ${name}: expected in [0, 1], got ${share}`,
    );
  }
}
