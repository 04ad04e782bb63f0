import { ValueError } from "../../core/index.ts";
import { Stream } from "./random.ts";
import type { Law } from "./tables.ts";

// Softmax regression over features of contexts, in f64 on the host: convex, so that the optima of both cases are
// exact; S2, R5 and R6. θ is a matrix (Y, D), a row for each output.

export interface Regression {
  /** φ(x), a row for each context. */
  readonly phi: readonly (readonly number[])[];
  readonly outputs: number;
  /** r of the term r‖θ‖²/2 that every loss has. */
  readonly ridge: number;
}

export function regression(seed: number, contexts = 24, outputs = 6, features = 10): Regression {
  const stream = new Stream(seed, 9);
  return {
    phi: Array.from({ length: contexts }, () =>
      Array.from({ length: features }, () => stream.normal()),
    ),
    outputs,
    ridge: 1e-3,
  };
}

const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  let s = 0;
  for (let i = 0; i < a.length; i++) s += a[i] * b[i];
  return s;
};
export const distance = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  let s = 0;
  for (let i = 0; i < a.length; i++) s += (a[i] - b[i]) ** 2;
  return Math.sqrt(s);
};

/** ln P_θ(·|x) */
function logits({ phi, outputs }: Regression, theta: Float64Array, x: number): Float64Array {
  const D = phi[x].length;
  const z = Float64Array.from({ length: outputs }, (_, y) =>
    dot(phi[x], theta.subarray(y * D, (y + 1) * D)),
  );
  const m = Math.max(...z);
  const lse = m + Math.log(z.reduce((s, v) => s + Math.exp(v - m), 0));
  return z.map((v) => v - lse);
}

/** f_D(θ), the ridge included. */
export function lossOf(r: Regression, { mu, P }: Law, theta: Float64Array): number {
  let f = (r.ridge / 2) * dot(theta, theta);
  mu.forEach((m, x) => {
    if (m > 0) f -= m * dot(P[x], logits(r, theta, x));
  });
  return f;
}

/** The largest loss of a single answer: B of R5. */
export function largestLoss(r: Regression, theta: Float64Array): number {
  return Math.max(...r.phi.map((_, x) => -Math.min(...logits(r, theta, x))));
}

/** A weighted sum of losses, and ν‖θ − centre‖²/2. */
export interface Objective {
  readonly terms: readonly (readonly [weight: number, law: Law])[];
  readonly pull?: { readonly nu: number; readonly centre: Float64Array };
}

export const objectiveAt = (
  r: Regression,
  { terms, pull }: Objective,
  theta: Float64Array,
): number =>
  terms.reduce((s, [w, law]) => s + w * lossOf(r, law, theta), 0) +
  (pull ? (pull.nu / 2) * distance(theta, pull.centre) ** 2 : 0);

function derivatives(r: Regression, { terms, pull }: Objective, theta: Float64Array) {
  const { phi, outputs: Y } = r;
  const D = phi[0].length;
  const n = Y * D;
  const gradient = new Float64Array(n);
  const hessian = new Float64Array(n * n);
  const ridge = r.ridge * terms.reduce((s, [w]) => s + w, 0);
  for (let i = 0; i < n; i++) {
    gradient[i] = ridge * theta[i] + (pull ? pull.nu * (theta[i] - pull.centre[i]) : 0);
    hessian[i * n + i] = ridge + (pull?.nu ?? 0);
  }
  phi.forEach((f, x) => {
    const weight = terms.reduce((s, [w, law]) => s + w * law.mu[x], 0);
    if (weight === 0) return;
    const p = logits(r, theta, x).map(Math.exp);
    for (let a = 0; a < Y; a++) {
      const pull = terms.reduce((s, [w, law]) => s + w * law.mu[x] * (p[a] - law.P[x][a]), 0);
      for (let i = 0; i < D; i++) gradient[a * D + i] += pull * f[i];
      for (let b = 0; b < Y; b++) {
        const h = weight * (Number(a === b) * p[a] - p[a] * p[b]);
        for (let i = 0; i < D; i++)
          for (let j = 0; j < D; j++) hessian[(a * D + i) * n + b * D + j] += h * f[i] * f[j];
      }
    }
  });
  return { gradient, hessian };
}

/** A⁻¹ b for a symmetric positive definite A, by Cholesky. */
function solve(A: Float64Array, b: Float64Array): Float64Array {
  const n = b.length;
  const L = Float64Array.from(A);
  for (let j = 0; j < n; j++) {
    for (let k = 0; k < j; k++)
      for (let i = j; i < n; i++) L[i * n + j] -= L[i * n + k] * L[j * n + k];
    const d = Math.sqrt(L[j * n + j]);
    for (let i = j; i < n; i++) L[i * n + j] /= d;
  }
  const x = Float64Array.from(b);
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < i; k++) x[i] -= L[i * n + k] * x[k];
    x[i] /= L[i * n + i];
  }
  for (let i = n - 1; i >= 0; i--) {
    for (let k = i + 1; k < n; k++) x[i] -= L[k * n + i] * x[k];
    x[i] /= L[i * n + i];
  }
  return x;
}

/** The minimiser to a gradient norm of 1e-10, by Newton steps that are halved until the value falls. */
export function minimiser(r: Regression, o: Objective, from?: Float64Array): Float64Array {
  let theta: Float64Array = from ?? new Float64Array(r.outputs * r.phi[0].length);
  let value = objectiveAt(r, o, theta);
  for (let t = 0; t < 200; t++) {
    const { gradient, hessian } = derivatives(r, o, theta);
    const slope = Math.sqrt(dot(gradient, gradient));
    if (slope < 1e-10) return theta;
    const d = solve(hessian, gradient);
    let by = 1;
    let next = theta.map((v, i) => v - by * d[i]);
    let after = objectiveAt(r, o, next);
    // at the bottom the value no longer tells: its last digits are noise
    while (after > value && by > 1e-6 && slope > 1e-6) {
      by /= 2;
      next = theta.map((v, i) => v - by * d[i]);
      after = objectiveAt(r, o, next);
    }
    theta = next;
    value = after;
  }
  return theta;
}

/** Case I: argmin (f_f + λ f_ŝ)/(1 + λ). */
export const caseOne = (r: Regression, f: Law, proxy: Law, lambda: number, from?: Float64Array) =>
  minimiser(
    r,
    {
      terms: [
        [1 / (1 + lambda), f],
        [lambda / (1 + lambda), proxy],
      ],
    },
    from,
  );

/** Case II: argmin f_f over the ball of radius eps around centre; its multiplier ν by bisection. */
export function caseTwo(r: Regression, f: Law, centre: Float64Array, eps: number): Float64Array {
  if (!(eps > 0))
    throw new ValueError("RangeError", `safety-capability: eps: expected > 0, got ${eps}`);
  const at = (nu: number, from?: Float64Array) =>
    minimiser(r, { terms: [[1, f]], pull: { nu, centre } }, from);
  let theta = minimiser(r, { terms: [[1, f]] });
  if (distance(theta, centre) <= eps) return theta;
  let [low, high] = [Math.log(1e-8), Math.log(1e6)];
  while (high - low > 1e-13) {
    const nu = (low + high) / 2;
    theta = at(Math.exp(nu), theta);
    if (distance(theta, centre) > eps) low = nu;
    else high = nu;
  }
  return theta;
}

/** L of R6: f_D is L-smooth with λ_max(E φφᵀ)/2, and the ridge. */
export function smoothness({ phi, ridge }: Regression, { mu }: Law): number {
  let v = phi[0].map(() => 1);
  let largest = 0;
  for (let t = 0; t < 2000; t++) {
    const w = v.map(() => 0);
    phi.forEach((f, x) => {
      const c = mu[x] * dot(f, v);
      for (let i = 0; i < w.length; i++) w[i] += c * f[i];
    });
    largest = Math.sqrt(dot(w, w));
    v = w.map((e) => e / largest);
  }
  return largest / 2 + ridge;
}
