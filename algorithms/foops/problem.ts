import { type Declared, ShapeError, type Tensor, ValueError } from "../../core/index.ts";
import { add, expand, mul, square, sub, sum } from "../../kernels/index.ts";

/** Tensors by name: parameters, or what `Problem.inputs` declares. */
export type Named = Readonly<Record<string, Tensor>>;

/**
 * M objectives over the same parameters, and what is preferred among their Pareto optima. `runs` of R
 * solves R copies side by side: every parameter then has a leading axis of R, and no copy may look
 * at another. R = 1 (default) asks for no such axis.
 */
export interface Problem {
  readonly M: number;
  readonly runs?: number;
  /** Shapes of the parameters. */
  readonly params: Readonly<Record<string, readonly number[]>>;
  /** Data of a batch; x and y are always evaluated on the same one. */
  readonly inputs?: NonNullable<Declared["inputs"]>;
  /** F: (R,M), or M tensors of R elements. Objectives share one graph: one reverse sweep serves all. */
  readonly losses: (p: Named, batch: Named) => Tensor | readonly Tensor[];
  /** f₀ of each run, (R), or () for one run; of F (R,M), of the parameters, or of both. */
  readonly preference: (F: Tensor, p: Named, batch: Named) => Tensor;
  /** X = [low, high]^q; default all of R^q. */
  readonly box?: readonly [low: number, high: number];
  /** μ of `Known`. */
  readonly modulus?: number;
}

export const runsOf = (problem: Problem): number => problem.runs ?? 1;

/**
 * F (R,M) at p.
 * @throws ShapeError when the objectives are not R·M numbers
 */
export function objectives(problem: Problem, p: Named, batch: Named): Tensor {
  const { M } = problem;
  const R = runsOf(problem);
  const f = problem.losses(p, batch);
  if (!Array.isArray(f)) {
    const F = f as Tensor;
    if (F.size !== R * M || F.shape.at(-1) !== M) refuse(problem, `(${F.shape.join(",")})`);
    return F.reshape([R, M]);
  }
  const each = f as readonly Tensor[];
  if (each.length !== M || each.some((t) => t.size !== R))
    refuse(problem, each.map((t) => `(${t.shape.join(",")})`).join(" ") || "none");
  return stack(each.map((t) => t.reshape([R])));
}

function refuse(problem: Problem, got: string): never {
  throw new ShapeError(
    "objectives",
    `foops: losses: expected (R,M)=(${runsOf(problem)},${problem.M}) or M of (R), got ${got}`,
  );
}

/** (R,M) whose columns are the M tensors (R): Σ_m f_m e_mᵀ. */
function stack(columns: readonly Tensor[]): Tensor {
  const M = columns.length;
  return columns
    .map((f, m) => {
      const e = f.backend.tensor(
        [M],
        Array.from({ length: M }, (_, k) => (k === m ? 1 : 0)),
      );
      return mul(expand(f, { size: M }), e);
    })
    .reduce((a, b) => add(a, b));
}

/**
 * Rows of H: H_k(x) = v_{k+1} f_k − v_k f_{k+1}, k = 1 … M−1, with v scaled to ‖v‖ = 1; H = 0 exactly
 * where F is parallel to v.
 * @throws ValueError for a dead preference: an entry that is not finite and > 0
 */
export function ratioRows(v: readonly number[]): number[][] {
  if (v.length < 2 || !v.every((e) => e > 0 && Number.isFinite(e))) {
    throw new ValueError(
      "preference",
      `foops: preference v: expected two or more finite entries > 0, got ${v.join(", ") || "none"}`,
    );
  }
  const norm = Math.hypot(...v);
  return v.slice(1).map((_, k) =>
    v.map((_, m) => {
      if (m === k) return v[k + 1] / norm;
      return m === k + 1 ? -v[k] / norm : 0;
    }),
  );
}

/** f₀ = ‖H‖², F to be parallel to v; several preferences, one for each run. */
export function ratio(...preferences: readonly (readonly number[])[]): Problem["preference"] {
  const rows = preferences.map(ratioRows);
  return (F) => {
    const [, M] = F.shape;
    const terms = rows[0].map((_, k) => {
      const b = F.backend.tensor(
        [rows.length, M],
        rows.flatMap((r) => r[k]),
      );
      return square(sum(mul(F, rows.length === 1 ? b.reshape([M]) : b)));
    });
    return terms.reduce((a, b) => add(a, b));
  };
}

/** f₀ = (f_i − f_j)²: fairness between two objectives. */
export function fairness(i: number, j: number): Problem["preference"] {
  return (F) => {
    const [, M] = F.shape;
    const d = Array.from({ length: M }, (_, m) => Number(m === i) - Number(m === j));
    return square(sum(mul(F, F.backend.tensor([M], d))));
  };
}

/** Σ (x − y)² over all parameters, of each run: (R). */
export function squaredDistance(x: Named, y: Named, runs: number): Tensor {
  return Object.keys(x)
    .map((name) => sum(square(sub(x[name], y[name])).reshape([runs, x[name].size / runs])))
    .reduce((a, b) => add(a, b));
}
