import type { StudyContext } from "../../../core/study.ts";
import { atLeast, atMost, type Experiment, experiment } from "../../experiments.ts";
import { Stream } from "../random.ts";
import {
  crossEntropy,
  gap,
  type Laws,
  leastTradeOff,
  overlap,
  proxyOf,
  randomLaws,
  type Table,
  tabularOptimum,
  totalVariation,
} from "../tables.ts";

const OVERLAPS = [0, 0.25, 0.5, 1];
const LAMBDAS = [0.01, 0.1, 1, 10, 100];
const SIMILARITIES = [0, 0.25, 0.5, 0.75, 1];
const EXACT = 1e-9;

const uniform = ({ s }: Laws): Table => s.P.map((row) => row.map(() => 1 / row.length));
const tables = (stream: Stream, { s }: Laws): Table =>
  s.P.map((row) => stream.dirichlet(row.length, 0.5));

interface Trade {
  readonly Gs: number;
  readonly Gf: number;
}

/** What R1–R4 say of one seed, each as how far it is off: nothing, or rounding. */
interface Findings {
  /** By overlap, then by λ. */
  readonly trades: Trade[][];
  readonly bounds: number;
  readonly disjoint: number;
  readonly equality: number;
  readonly below: number;
  readonly optimum: number;
  readonly floor: number;
  /** G_s at ov = ½, λ = 10 by similarity of the proxy, and that proxy's distance. */
  readonly similarity: number[];
  readonly distances: number[];
}

function findingsOf(seed: number): Findings {
  const trades: Trade[][] = [];
  let [bounds, disjoint, equality, below, optimum] = [0, 0, 0, 0, 0];
  for (const ov of OVERLAPS) {
    const laws = randomLaws(seed, ov);
    const { s, f } = laws;
    const random = new Stream(seed, 50);
    const others = Array.from({ length: 1000 / LAMBDAS.length }, () => tables(random, laws));
    trades.push(
      LAMBDAS.map((lambda) => {
        const P = tabularOptimum(f, s, lambda, uniform(laws));
        const Gs = gap(s, P).value;
        const Gf = gap(f, P).value;
        const shared = s.mu.reduce((n, m, x) => n + (f.mu[x] > 0 ? m : 0), 0);
        bounds = Math.max(bounds, Gs - overlap(f, s) / lambda, Gf - lambda * shared);
        if (ov === 0) disjoint = Math.max(disjoint, Gs, Gf);
        const least = leastTradeOff(f, s, lambda);
        equality = Math.max(equality, Math.abs(lambda * Gs + Gf - least));
        const objective = (Q: Table) => crossEntropy(f, Q) + lambda * crossEntropy(s, Q);
        for (const Q of others) {
          below = Math.max(below, least - lambda * gap(s, Q).value - gap(f, Q).value);
          optimum = Math.max(optimum, objective(P) - objective(Q));
        }
        return { Gs, Gf };
      }),
    );
  }
  const laws = randomLaws(seed, 0.5);
  const { s, f } = laws;
  const under = (c: number, lambda: number) => {
    const proxy = proxyOf(laws, c);
    return gap(s, tabularOptimum(f, proxy, lambda, uniform(laws))).value;
  };
  // not c = 0: an answer that P_alt gives 1e-9 takes a λ of 1e12 and more to get there
  const floors = [0.5, 0.75, 1].map((c) =>
    Math.abs(under(c, 1e8) - gap(s, proxyOf(laws, c).P).value),
  );
  return {
    trades,
    bounds,
    disjoint,
    equality,
    below,
    optimum,
    floor: Math.max(...floors),
    similarity: SIMILARITIES.map((c) => under(c, 10)),
    distances: SIMILARITIES.map((c) => totalVariation(s, proxyOf(laws, c))),
  };
}

/** The least step of a sequence that ought to rise. */
const leastRise = (v: readonly number[]): number =>
  Math.min(...v.slice(1).map((next, i) => next - v[i]));

/** S1: R1–R4 on tables, where they are exact; the similarity of the proxy on 20 seeds. */
export function tabularExperiments({ seed }: StudyContext): Experiment[] {
  const seeds = Array.from({ length: 20 }, (_, k) => seed + k);
  const cells = Object.fromEntries(
    seeds.map((k) => [`seed ${k}`, () => Promise.resolve(findingsOf(k))]),
  );
  return [
    experiment("tables", cells, (results) => {
      const all = [...results.values()];
      const worst = (f: (r: Findings) => number) => Math.max(...all.map(f));
      const least = (f: (r: Findings) => number) => Math.min(...all.map(f));
      const [shown] = all;
      const byOverlap = (r: Findings, key: keyof Trade) =>
        Math.min(...LAMBDAS.map((_, l) => leastRise(r.trades.map((t) => t[l][key]))));
      return {
        checks: [
          atMost(
            "R1 optimum",
            "f_f + λ f_s of the mixture less that of 1000 random tables",
            worst((r) => r.optimum),
            EXACT,
          ),
          atMost(
            "R2 bounds",
            "G_s − ov/λ and G_f − λ μ_s(supp μ_f), the largest",
            worst((r) => r.bounds),
            EXACT,
          ),
          atMost(
            "R2 no overlap",
            "both gaps at ov = 0, every λ",
            worst((r) => r.disjoint),
            EXACT,
          ),
          atMost(
            "R3 floor",
            "G_s at λ = 1e8 is E KL(P_s ‖ P_ŝ) for c = ½, ¾, 1: how far off",
            worst((r) => r.floor),
            1e-6,
          ),
          atMost(
            "R4 equality",
            "λ G_s + G_f = J_λ at P_λ: how far off",
            worst((r) => r.equality),
            EXACT,
          ),
          atMost(
            "R4 limit",
            "J_λ − (λ G_s + G_f) over 1000 random tables, the largest",
            worst((r) => r.below),
            EXACT,
          ),
          atLeast(
            "S1 overlap",
            "G_s and G_f rise with ov at every λ (least rise)",
            least((r) => Math.min(byOverlap(r, "Gs"), byOverlap(r, "Gf"))),
            1e-6,
          ),
          atLeast(
            "S1 similarity",
            "G_s falls with c at ov = ½, λ = 10, 20 seeds (least fall)",
            least((r) => -Math.max(...r.similarity.slice(1).map((g, i) => g - r.similarity[i]))),
            1e-6,
          ),
        ],
        metrics: {
          tables: {
            trades: shown.trades,
            similarity: shown.similarity,
            distances: shown.distances,
          },
        },
        charts: [
          {
            title: "Tables: the frontier by overlap of contexts",
            x: "G_f",
            y: "G_s",
            series: OVERLAPS.map((ov, i) => ({
              name: `ov ${ov}`,
              points: shown.trades[i].map(({ Gs, Gf }) => [Gf, Gs] as const),
            })),
          },
        ],
        tables: [
          {
            title: `Tables, seed ${seed}: G_s / G_f`,
            columns: ["ov", ...LAMBDAS.map((l) => `λ = ${l}`)],
            rows: OVERLAPS.map((ov, i) => [
              ov,
              ...shown.trades[i].map(({ Gs, Gf }) => `${Gs.toFixed(3)} / ${Gf.toFixed(3)}`),
            ]),
          },
          {
            title: `Tables, seed ${seed}: G_s by similarity of the proxy, ov = 0.5, λ = 10`,
            columns: ["c", ...SIMILARITIES.map(String)],
            rows: [
              ["G_s", ...shown.similarity.map((g) => g.toFixed(3))],
              ["TV(D_s, D_ŝ)", ...shown.distances.map((g) => g.toFixed(3))],
            ],
          },
        ],
      };
    }),
  ];
}
