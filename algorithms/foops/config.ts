import { ValueError } from "../../core/index.ts";

/** How a gradient becomes a step: U_x and U_y of Algorithm 1. */
export type Oracle = "pgd" | "momentum" | "nesterov" | "adam";

export const oracles: readonly Oracle[] = ["pgd", "momentum", "nesterov", "adam"];

/** The symbols of the paper; §2 of it. */
export interface Config {
  /** l >= 0: proximal regularisation of the merit function. */
  readonly l: number;
  /** τ > 0: its smoothing. */
  readonly tau: number;
  /** γ >= 0: weight of the penalty. */
  readonly gamma: number;
  /** θ >= 1: exponent of the penalty p(x) = (v(x) + τ ln M)^θ. */
  readonly theta: number;
  /** α: step of x. */
  readonly alpha: number;
  /** β: step of y. */
  readonly beta: number;
  /** K: inner steps for each outer one. */
  readonly innerSteps: number;
  readonly outer: Oracle;
  readonly inner: Oracle;
  /** Of the oracles `momentum` and `nesterov`. */
  readonly momentum: number;
  /** A scale s_m for each objective; the merit function sees f_m / s_m, which is a τ for each. */
  readonly scales?: readonly number[];
}

/** What reaches the preferred point from easy starts and from outside ones (README, T6). */
export const defaults: Config = {
  l: 0,
  tau: 0.05,
  gamma: 10,
  theta: 2,
  alpha: 0.05,
  beta: 0.2,
  innerSteps: 5,
  outer: "pgd",
  inner: "pgd",
  momentum: 0.9,
};

/** @throws ValueError naming the field, what it must be and what it is */
export function checkConfig(c: Config, M: number): void {
  const must = (ok: boolean, field: string, words: string, got: unknown) => {
    if (!ok) throw new ValueError("config", `foops: ${field}: expected ${words}, got ${got}`);
  };
  const finite = (v: number) => Number.isFinite(v) && v >= 0;
  for (const field of ["l", "gamma", "alpha", "beta", "momentum"] as const)
    must(finite(c[field]), field, "finite and >= 0", c[field]);
  must(c.tau > 0 && Number.isFinite(c.tau), "tau", "finite and > 0", c.tau);
  // Below 1 the slope θ|v|^(θ−1) has no bound at v = 0.
  must(c.theta >= 1 && Number.isFinite(c.theta), "theta", "finite and >= 1", c.theta);
  must(
    Number.isInteger(c.innerSteps) && c.innerSteps >= 1,
    "innerSteps",
    "an integer >= 1",
    c.innerSteps,
  );
  for (const field of ["outer", "inner"] as const)
    must(oracles.includes(c[field]), field, `one of ${oracles.join(", ")}`, c[field]);
  if (!c.scales) return;
  must(c.scales.length === M, "scales", `one for each of ${M} objectives`, c.scales.length);
  must(
    c.scales.every((s) => s > 0 && Number.isFinite(s)),
    "scales",
    "finite and > 0",
    c.scales,
  );
}

/** What is known of a problem and bears on the choice of l and γ. */
export interface Known {
  /** μ: each f_m − (μ/2)‖x‖² is convex; negative for objectives that are weakly convex only. */
  readonly modulus?: number | undefined;
  /** Largest less smallest value of f₀ that matters. */
  readonly preferenceRange?: number | undefined;
}

/** What in `c` goes against the theory for such a problem, a sentence each; none of it is an error. */
export function cautions(c: Config, M: number, { modulus, preferenceRange }: Known): string[] {
  const found: string[] = [];
  if (modulus !== undefined && c.l + modulus <= 0) {
    found.push(
      `foops: l = ${c.l} is not above the weak-convexity modulus ${-modulus}: h(x, ·) may have several ` +
        "minima, and v is what the inner steps reach from where y was (P4)",
    );
  }
  const bias = c.gamma * c.tau * Math.log(M);
  if (c.theta === 1 && preferenceRange !== undefined && bias > 0.1 * preferenceRange) {
    found.push(
      `foops: γ τ ln M = ${bias.toPrecision(3)} is more than a tenth of the range ${preferenceRange} of the ` +
        "preference: with θ = 1 the solution is pulled to the minimiser of the uniform average (P2); take θ = 2 or a smaller τ",
    );
  }
  return found;
}
