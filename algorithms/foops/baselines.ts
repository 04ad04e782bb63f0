import { type Backend, capture, slab, valueAndGrad } from "../../core/index.ts";
import { mul, sum } from "../../kernels/index.ts";
import { objectives, type Problem, ratioRows, runsOf } from "./problem.ts";
import {
  apply,
  congruent,
  dot,
  linearSolve,
  minNorm,
  nonNegativeQp,
  simplexLp,
  simplexQp,
} from "./solvers.ts";

/**
 * What FOOPS is compared with. Every method here steps along a combination Jᵀβ of the gradients of
 * the objectives, and finds β from F and the Gram matrix C = J Jᵀ alone: small host code in f64.
 */
export interface Situation {
  readonly F: readonly number[];
  /** C = J Jᵀ, (M,M). */
  readonly C: readonly (readonly number[])[];
  /** The preference, F ∥ v. */
  readonly v: readonly number[];
  /** All preferences of the experiment, for PMTL. */
  readonly all: readonly (readonly number[])[];
  readonly t: number;
  readonly steps: number;
}

/** x ← x − α · factor · Jᵀβ. */
export interface Move {
  readonly beta: readonly number[];
  readonly factor?: number;
}

export type Rule = (s: Situation) => Move;

/** r = 1/v scaled to sum 1, so that r ∘ F is flat where F ∥ v. */
const inverse = (v: readonly number[]): number[] => {
  const r = v.map((e) => 1 / e);
  const total = r.reduce((a, b) => a + b);
  return r.map((e) => e / total);
};
const unit = (v: readonly number[]): number[] => v.map((e) => e / Math.hypot(...v));
/** Bᵀλ */
const back = (B: readonly (readonly number[])[], lambda: readonly number[]): number[] =>
  B[0].map((_, m) => B.reduce((s, row, k) => s + row[m] * lambda[k], 0));
const plus = (a: readonly number[], b: readonly number[]): number[] => a.map((e, i) => e + b[i]);

/** Linear scalarisation: r · F. */
export const linearScalarisation: Rule = ({ v }) => ({ beta: inverse(v) });

/** Smoothed Tchebycheff (Lin et al. 2024, arXiv:2402.19078): μ ln Σ e^(r_m f_m/μ). */
export const tchebycheff =
  (mu = 0.05): Rule =>
  ({ F, v }) => {
    const r = inverse(v);
    const z = F.map((f, m) => (r[m] * f) / mu);
    const e = z.map((u) => Math.exp(u - Math.max(...z)));
    const total = e.reduce((a, b) => a + b);
    return { beta: r.map((w, m) => (w * e[m]) / total) };
  };

/** MGDA (Désidéri 2012): the shortest vector in the convex hull of the gradients. */
export const mgda: Rule = ({ C }) => ({ beta: minNorm(C) });

/**
 * PMTL (Lin et al. 2019, arXiv:1912.12854): stays in the sector of the own reference vector u_k among all
 * of them. Constraints (u_j − u_k)·F <= 0; the first fifth of the steps only repairs those that are broken.
 */
export const pmtl: Rule = ({ F, C, v, all, t, steps }) => {
  const u = unit(v);
  const broken = all
    .map((w) => unit(w).map((e, m) => e - u[m]))
    .filter((d) => dot(d, F) / Math.hypot(...F) > 0);
  const own = t < 0.2 * steps ? [] : F.map((_, m) => F.map((_, k) => Number(k === m)));
  const W = [...own, ...broken];
  if (!W.length) return { beta: F.map(() => 0) };
  return { beta: back(W, minNorm(congruent(W, C))) };
};

/** EPO (Mahapatra and Rajan 2020, arXiv:2010.06313), with the step of its toy: 10 max(μ, 0.1). */
export const epo: Rule = ({ F, C, v }) => {
  const M = F.length;
  const r = inverse(v);
  const rF = F.map((f, m) => r[m] * f);
  const total = rF.reduce((a, b) => a + b);
  const share = rF.map((e) => e / total);
  const mu = share.reduce((s, e) => s + e * Math.log(M * e), 0);
  const factor = 10 * Math.max(mu, 0.1);
  if (mu <= 1e-4) {
    const none = F.map(() => 0);
    const beta = simplexLp(apply(C, new Array(M).fill(1)), C, none) ?? minNorm(C);
    return { beta, factor };
  }
  const a = r.map((w, m) => w * (Math.log(M * share[m]) - mu));
  const Ca = apply(C, a);
  const most = Math.max(...rF);
  const rhs = Ca.some((e) => e > 0)
    ? Ca.map((e, m) => (rF[m] === most ? 0 : e > 0 ? Number.NEGATIVE_INFINITY : e))
    : Ca.map(() => 0);
  return { beta: simplexLp(Ca, C, rhs) ?? minNorm(C), factor };
};

/**
 * FERERO (Chen et al. 2024, arXiv:2412.01773) with A = I: d = Jᵀ(λ_f + Bᵀλ_h) minimises ½‖d‖² − c λ_h·H over
 * λ_f in the simplex and λ_h free, which is eliminated: λ_h = K⁻¹(cH − BCλ_f), K = BCBᵀ.
 */
export const ferero =
  (c = 0.5): Rule =>
  ({ F, C, v }) => {
    const B = ratioRows(v);
    const H = apply(B, [...F]);
    const K = congruent(B, C);
    const BC = B.map((row) => apply(C, row));
    const columns = F.map((_, m) =>
      linearSolve(
        K,
        BC.map((row) => row[m]),
      ),
    );
    const pull = linearSolve(K, H);
    // the gradient of H has vanished: no direction changes it
    if (!pull || columns.some((col) => !col)) return { beta: minNorm(C) };
    const Q = C.map((row, i) =>
      row.map(
        (e, j) =>
          e -
          dot(
            BC.map((b) => b[i]),
            columns[j] as number[],
          ),
      ),
    );
    const linear = F.map(
      (_, m) =>
        -c *
        dot(
          pull,
          BC.map((row) => row[m]),
        ),
    );
    const lambda = simplexQp(Q, linear) as number[];
    const free = linearSolve(
      K,
      H.map((h, k) => c * h - dot(BC[k], lambda)),
    ) as number[];
    return { beta: plus(lambda, back(B, free)) };
  };

/** XWC-MGDA (Momma, Dong, Liu 2022): max u a·(r∘F) − ‖J_rᵀa‖² over the simplex, J_r = diag(r) J. */
export const xwcMgda =
  (u = 0.1): Rule =>
  ({ F, C, v }) => {
    const r = inverse(v);
    const Q = C.map((row, i) => row.map((e, j) => 2 * r[i] * r[j] * e));
    const a = simplexQp(
      Q,
      F.map((f, m) => u * r[m] * f),
    ) as number[];
    return { beta: a.map((e, m) => e * r[m]) };
  };

/** PMGDA (Zhang et al. 2024, arXiv:2402.09492): while h = ‖H‖ > ε, also ∇h·d >= σ‖∇h‖. */
export const pmgda =
  (sigma = 0.1, eps = 0.01): Rule =>
  ({ F, C, v }) => {
    const B = ratioRows(v);
    const H = apply(B, [...F]);
    const h = Math.hypot(...H);
    if (h <= eps) return { beta: minNorm(C) };
    const eta = back(B, H).map((e) => e / h);
    const a = apply(C, eta);
    const b = sigma * Math.sqrt(Math.max(0, dot(eta, a)));
    // where no convex combination corrects as much, the one that corrects most
    const beta = simplexQp(C, undefined, { a, b }) ?? a.map((e) => Number(e === Math.max(...a)));
    return { beta };
  };

/** PNG (Ye and Liu 2022, arXiv:2110.08713): the step nearest to ∇f₀ that still descends while ‖g‖ > ε. */
export const png =
  (kappa = 0.5, eps = 0.01): Rule =>
  ({ F, C, v }) => {
    const B = ratioRows(v);
    const eta = back(B, apply(B, [...F])).map((e) => 2 * e);
    const w = minNorm(C);
    const norm = Math.sqrt(Math.max(0, dot(w, apply(C, w))));
    if (norm <= eps) return { beta: eta };
    const slopes = apply(C, eta);
    const lambda = nonNegativeQp(
      C,
      slopes.map((e) => kappa * norm - e),
    );
    return { beta: lambda ? plus(eta, lambda) : w };
  };

/** By name, with the step α that suits the toys in 20 dimensions. */
export const baselines: Readonly<Record<string, { readonly rule: Rule; readonly alpha: number }>> =
  {
    "linear scalarisation": { rule: linearScalarisation, alpha: 0.1 },
    Tchebycheff: { rule: tchebycheff(), alpha: 0.1 },
    MGDA: { rule: mgda, alpha: 0.2 },
    PMTL: { rule: pmtl, alpha: 0.2 },
    EPO: { rule: epo, alpha: 0.1 },
    FERERO: { rule: ferero(), alpha: 0.2 },
    "XWC-MGDA": { rule: xwcMgda(), alpha: 0.2 },
    PMGDA: { rule: pmgda(), alpha: 0.2 },
    PNG: { rule: png(), alpha: 0.1 },
  };

type Data = Readonly<Record<string, ArrayLike<number>>>;

export interface BaselineOptions {
  readonly rule: Rule;
  /** v of each run. */
  readonly preferences: readonly (readonly number[])[];
  readonly all?: readonly (readonly number[])[];
  readonly steps: number;
  /** α_t */
  readonly alpha: (t: number) => number;
  readonly momentum?: number;
  readonly batch?: (t: number) => Data;
  readonly onStep?: (t: number, F: readonly (readonly number[])[]) => void;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Runs a baseline on every run of the problem: F and all of J in a captured step, the rest on the
 * host. Returns x by name.
 */
export async function runBaseline(
  be: Backend,
  problem: Problem,
  start: Data,
  o: BaselineOptions,
): Promise<Record<string, Float64Array>> {
  const { M } = problem;
  const R = runsOf(problem);
  using x = slab(be, problem.params, start);
  const units = Array.from({ length: M }, (_, m) =>
    Array.from({ length: M }, (_, k) => Number(k === m)),
  );
  using evaluate = await capture(
    be,
    ({ in: batch }) => {
      const sweep = (e: readonly number[]) =>
        valueAndGrad((p: typeof x.tensors) => {
          const F = objectives(problem, p, batch);
          return [sum(mul(F, F.backend.tensor([M], e)).reshape([R * M])), F] as const;
        })(x.tensors);
      const sweeps = units.map(sweep);
      return { F: sweeps[0].value[1], J: sweeps.map((s) => s.grads) };
    },
    problem.inputs ? { inputs: problem.inputs } : {},
  );
  const names = Object.keys(problem.params);
  const host = Object.fromEntries(names.map((n) => [n, Float64Array.from(start[n])]));
  const heavy = Object.fromEntries(names.map((n) => [n, new Float64Array(start[n].length)]));
  const all = o.all ?? [...new Map(o.preferences.map((v) => [v.join(), v])).values()];
  for (let t = 0; t < o.steps; t++) {
    if (t % 100 === 0) o.signal?.throwIfAborted();
    evaluate.run(o.batch?.(t));
    const F = await evaluate.out.F.read();
    const J: Record<string, ArrayLike<number>>[] = [];
    for (const g of evaluate.out.J) {
      const of: Record<string, ArrayLike<number>> = {};
      for (const n of names) of[n] = await g[n].read();
      J.push(of);
    }
    const rows: number[][] = [];
    for (let r = 0; r < R; r++) {
      const part = (a: ArrayLike<number>) =>
        (a as Float32Array).subarray((r * a.length) / R, ((r + 1) * a.length) / R);
      const C = J.map((a) =>
        J.map((b) => names.reduce((s, n) => s + dot(part(a[n]), part(b[n])), 0)),
      );
      const f = Array.from(part(F));
      rows.push(f);
      const { beta, factor = 1 } = o.rule({
        F: f,
        C,
        v: o.preferences[r],
        all,
        t,
        steps: o.steps,
      });
      for (const n of names) {
        const size = host[n].length / R;
        for (let i = r * size; i < (r + 1) * size; i++) {
          let d = 0;
          for (let m = 0; m < M; m++) d += beta[m] * J[m][n][i];
          heavy[n][i] = (o.momentum ?? 0) * heavy[n][i] + factor * d;
          host[n][i] -= o.alpha(t) * heavy[n][i];
        }
      }
    }
    for (const n of names) x.tensors[n].write(host[n]);
    o.onStep?.(t, rows);
  }
  return host;
}
