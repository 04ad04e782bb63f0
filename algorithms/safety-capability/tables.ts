import { ValueError } from "../../core/index.ts";
import { checkShare } from "./config.ts";
import { Stream } from "./random.ts";

// Laws over finite sets of contexts and outputs, where every quantity of the theory is a finite sum: S1 and R1–R4.

/** P(y|x), a row for each context. */
export type Table = readonly (readonly number[])[];

/** A data law D = (μ, P): how often a context comes, and what is answered. */
export interface Law {
  readonly mu: readonly number[];
  readonly P: Table;
}

/** Probabilities below this count as this in a divergence, and the gap says so. */
const CLIP = 1e-12;

const total = (n: number, f: (i: number) => number): number => {
  let s = 0;
  for (let i = 0; i < n; i++) s += f(i);
  return s;
};

/** A divergence in nats; `infiniteGap` where q has no support under p, whose terms are clipped at 1e-12. */
export interface Gap {
  readonly value: number;
  readonly infiniteGap: boolean;
}

/** KL(p ‖ q) = Σ p ln(p/q), with 0 ln 0 = 0. */
export function kl(p: readonly number[], q: readonly number[]): Gap {
  const value = total(p.length, (i) =>
    p[i] > 0 ? p[i] * Math.log(p[i] / Math.max(q[i], CLIP)) : 0,
  );
  return { value, infiniteGap: p.some((v, i) => v > 0 && !(q[i] > 0)) };
}

/** E_μ KL(P_D ‖ P): G_s for D = D_s, G_f for D = D_f, where models can be anything. */
export function gap({ mu, P: of }: Law, P: Table): Gap {
  const parts = mu.map((m, x) => (m > 0 ? kl(of[x], P[x]) : { value: 0, infiniteGap: false }));
  return {
    value: total(mu.length, (x) => mu[x] * parts[x].value),
    infiniteGap: parts.some((g) => g.infiniteGap),
  };
}

/** f_D(P) = E_D −ln P(y|x). */
export const crossEntropy = ({ mu, P: of }: Law, P: Table): number =>
  total(
    mu.length,
    (x) =>
      mu[x] *
      total(of[x].length, (y) =>
        of[x][y] > 0 ? -of[x][y] * Math.log(Math.max(P[x][y], CLIP)) : 0,
      ),
  );

/** ov = μ_f(supp μ_s). */
export const overlap = (f: Law, s: Law): number =>
  total(f.mu.length, (x) => (s.mu[x] > 0 ? f.mu[x] : 0));

/** Total variation between joint laws, in [0, 1]. */
export const totalVariation = (a: Law, b: Law): number =>
  total(a.mu.length, (x) =>
    total(a.P[x].length, (y) => Math.abs(a.mu[x] * a.P[x][y] - b.mu[x] * b.P[x][y]) / 2),
  );

/** w p + (1 − w) q */
export const mixture = (w: number, p: readonly number[], q: readonly number[]): number[] =>
  p.map((v, i) => w * v + (1 - w) * q[i]);

/** JS_w = w KL(p ‖ m) + (1 − w) KL(q ‖ m), m the mixture; at most the entropy of w. */
export function jensenShannon(w: number, p: readonly number[], q: readonly number[]): number {
  const m = mixture(w, p, q);
  return (w > 0 ? w * kl(p, m).value : 0) + (w < 1 ? (1 - w) * kl(q, m).value : 0);
}

/** R1: the minimiser of f_f + λ f_ŝ over all tables; contexts of neither keep `start`. */
export function tabularOptimum(f: Law, proxy: Law, lambda: number, start: Table): Table {
  if (!(Number.isFinite(lambda) && lambda >= 0))
    throw new ValueError(
      "RangeError",
      `safety-capability: lambda: expected finite and >= 0, got ${lambda}`,
    );
  return start.map((row, x) => {
    const weight = f.mu[x] + lambda * proxy.mu[x];
    return weight > 0 ? mixture(f.mu[x] / weight, f.P[x], proxy.P[x]) : row;
  });
}

/** R4: J_λ, below which λ G_s + G_f of no model lies. */
export const leastTradeOff = (f: Law, s: Law, lambda: number): number =>
  total(f.mu.length, (x) => {
    const weight = f.mu[x] + lambda * s.mu[x];
    return weight > 0 ? weight * jensenShannon((lambda * s.mu[x]) / weight, s.P[x], f.P[x]) : 0;
  });

/** The laws of S1 and S2: D_s on the first half of the contexts, D_f on as many, a share `ov` of them the same. */
export interface Laws {
  readonly s: Law;
  readonly f: Law;
  /** Answers that resemble neither, for proxies. */
  readonly alt: Table;
}

/** @throws ValueError for ov outside [0, 1] */
export function randomLaws(seed: number, ov: number, contexts = 24, outputs = 6): Laws {
  checkShare("overlap", ov);
  const rows = (key: number): Table => {
    const stream = new Stream(seed, key);
    return Array.from({ length: contexts }, () => stream.dirichlet(outputs, 0.3));
  };
  const half = contexts / 2;
  const shared = Math.round(ov * half);
  const where = (inside: (x: number) => boolean) =>
    Array.from({ length: contexts }, (_, x) => (inside(x) ? 1 / half : 0));
  return {
    s: { mu: where((x) => x < half), P: rows(1) },
    f: { mu: where((x) => x < shared || (x >= half && x < contexts - shared)), P: rows(2) },
    alt: rows(3),
  };
}

/** The proxy of similarity c: P_ŝ = c P_s + (1 − c) P_alt on the contexts of D_s. */
export function proxyOf({ s, alt }: Laws, c: number): Law {
  checkShare("similarity", c);
  return { mu: s.mu, P: s.P.map((p, x) => mixture(c, p, alt[x])) };
}
