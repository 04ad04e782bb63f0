import type { Tensor } from "../../core/index.ts";
import { add, exp, matmul, scale, square } from "../../kernels/index.ts";
import type { Problem } from "./problem.ts";

/**
 * Objectives in closed form, over x of q numbers: D_m(x) = Σ_i a_mi (x_i − c_mi)² + b_m, or
 * 1 − e^(−D_m). All of the paper's analytic problems are of this form.
 */
export interface Toy {
  readonly centres: readonly (readonly number[])[];
  /** a (M,q), default 1. */
  readonly weights?: readonly (readonly number[])[];
  /** b (M), default 0. */
  readonly offsets?: readonly number[];
  /** 1 − e^(−D) in place of D. */
  readonly saturating: boolean;
}

/** Fig. 2: F = (6(x + ½)² + ⅛, 6(x − ½)² + ⅛) on the line. */
export const figure2: Toy = {
  centres: [[-0.5], [0.5]],
  weights: [[6], [6]],
  offsets: [0.125, 0.125],
  saturating: false,
};

/** Example A.1: F = ((x₁ − 1)² + x₂², x₁²/2 + x₂²). */
export const exampleA1: Toy = {
  centres: [
    [1, 0],
    [0, 0],
  ],
  weights: [
    [1, 1],
    [0.5, 1],
  ],
  saturating: false,
};

/** Example 3.12 and Fig. 4: F_m = 1 − e^(−‖x ∓ 1/√q‖²) in q dimensions. */
export const exponential = (q: number): Toy => ({
  centres: [1, -1].map((sign) => new Array<number>(q).fill(sign / Math.sqrt(q))),
  saturating: true,
});

/** The same with a third centre −s/√q, s = (1, −1, 1, …). */
export const exponential3 = (q: number): Toy => ({
  centres: [
    ...exponential(q).centres,
    Array.from({ length: q }, (_, i) => (i % 2 === 0 ? -1 : 1) / Math.sqrt(q)),
  ],
  saturating: true,
});

/** Weak-convexity modulus of 1 − e^(−r²): its least second derivative, −4e^(−3/2). */
export const EXPONENTIAL_MODULUS = -4 * Math.exp(-1.5);

/** As a problem of `runs` runs side by side; the parameter is x (R,q). */
export function toyProblem(
  { centres, weights, offsets, saturating }: Toy,
  preference: Problem["preference"],
  runs = 1,
  box?: Problem["box"],
): Problem {
  const M = centres.length;
  const q = centres[0].length;
  const a = (m: number, i: number) => weights?.[m][i] ?? 1;
  // D = x² Aᵀ + x Bᵀ + b with B = −2 a c; −D where it goes into the exponential.
  const sign = saturating ? -1 : 1;
  const columns = (of: (m: number, i: number) => number) =>
    Array.from({ length: q * M }, (_, e) => sign * of(e % M, Math.floor(e / M)));
  const squares = columns(a);
  const lines = columns((m, i) => -2 * a(m, i) * centres[m][i]);
  const constant = centres.map(
    (c, m) => sign * c.reduce((sum, v, i) => sum + a(m, i) * v * v, offsets?.[m] ?? 0),
  );
  return {
    M,
    runs,
    params: { x: [runs, q] },
    losses: ({ x }): Tensor => {
      const be = x.backend;
      const D = add(
        matmul(square(x), be.tensor([q, M], squares)),
        matmul(x, be.tensor([q, M], lines), { bias: be.tensor([M], constant) }),
      );
      return saturating ? scale(exp(D), { by: -1, shift: 1 }) : D;
    },
    preference,
    ...(box ? { box } : {}),
    ...(saturating ? { modulus: EXPONENTIAL_MODULUS } : {}),
  };
}

/** F (M) at x in f64 on the host, the same formula. */
export function toyObjectives(
  { centres, weights, offsets, saturating }: Toy,
  x: ArrayLike<number>,
): number[] {
  return centres.map((c, m) => {
    const D = c.reduce(
      (s, v, i) => s + (weights?.[m][i] ?? 1) * (x[i] - v) ** 2,
      offsets?.[m] ?? 0,
    );
    return saturating ? -Math.expm1(-D) : D;
  });
}

/** How far F is off the front of `exponential`: |2 − √−ln(1 − f₁) − √−ln(1 − f₂)|. */
export const frontResidual = ([f1, f2]: readonly number[]): number =>
  Math.abs(2 - Math.sqrt(-Math.log1p(-f1)) - Math.sqrt(-Math.log1p(-f2)));
