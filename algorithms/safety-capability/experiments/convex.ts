import { type Backend, type Counter, capture } from "../../../core/index.ts";
import type { StudyContext } from "../../../core/study.ts";
import { matmul, softmax_xent } from "../../../kernels/index.ts";
import { atLeast, atMost, type Experiment, experiment } from "../../experiments.ts";
import { type Config, defaults } from "../config.ts";
import {
  caseOne,
  caseTwo,
  distance,
  largestLoss,
  lossOf,
  minimiser,
  type Regression,
  regression,
  smoothness,
} from "../regression.ts";
import { type Law, type Laws, proxyOf, randomLaws, totalVariation } from "../tables.ts";
import { init, type Model, step } from "../tradeoff.ts";

const LAMBDAS = Array.from({ length: 25 }, (_, i) => 10 ** (-3 + i / 4));
const RADII = [0.1, 0.3, 1, 3];
const OV = 0.5;

interface Trade {
  readonly strength: number;
  readonly Gs: number;
  readonly Gf: number;
  /** What the theory allows. */
  readonly maxGs: number;
  readonly maxGf: number;
}

interface Findings {
  readonly caseI: Trade[];
  readonly caseII: Trade[];
  /** Largest rise of f_ŝ, and largest fall of f_f, from one λ to the next. */
  readonly monotone: number;
  /** R5 with proxies that are not D_s: G_s less its bound. */
  readonly proxies: number;
  /** How far a Case II point lies below a line of the Case I frontier. */
  readonly belowFrontier: number;
  readonly smoothness: number;
}

function findingsOf(seed: number): Findings {
  const r = regression(seed);
  const laws = randomLaws(seed, OV);
  const { s, f } = laws;
  const aligned = minimiser(r, { terms: [[1, s]] });
  const best = minimiser(r, { terms: [[1, f]] });
  const [fs, ff, least] = [lossOf(r, s, aligned), lossOf(r, f, aligned), lossOf(r, f, best)];
  const gaps = (theta: Float64Array) => ({
    Gs: lossOf(r, s, theta) - fs,
    Gf: lossOf(r, f, theta) - least,
  });
  const caseI: Trade[] = [];
  let theta: Float64Array | undefined;
  for (const lambda of LAMBDAS) {
    theta = caseOne(r, f, s, lambda, theta);
    caseI.push({
      strength: lambda,
      ...gaps(theta),
      maxGs: (ff - least) / lambda,
      maxGf: ff - least,
    });
  }
  let proxies = Number.NEGATIVE_INFINITY;
  for (const c of [0, 0.5, 0.9]) {
    const proxy = proxyOf(laws, c);
    const tv = totalVariation(s, proxy);
    for (const lambda of [0.1, 1, 10]) {
      const at = caseOne(r, f, proxy, lambda);
      const B = Math.max(largestLoss(r, at), largestLoss(r, aligned));
      proxies = Math.max(proxies, gaps(at).Gs - (ff - least) / lambda - 2 * B * tv);
    }
  }
  const L = smoothness(r, s);
  const R = distance(best, aligned);
  const caseII = [...RADII.filter((eps) => eps < R), R].map((eps) => ({
    strength: eps,
    ...gaps(eps === R ? best : caseTwo(r, f, aligned, eps)),
    maxGs: (L / 2) * eps ** 2,
    maxGf: Math.max(0, 1 - eps / R) * (ff - least),
  }));
  const steps = caseI.slice(1).map((t, i) => Math.max(t.Gs - caseI[i].Gs, caseI[i].Gf - t.Gf));
  return {
    caseI,
    caseII,
    monotone: Math.max(...steps),
    proxies,
    belowFrontier: Math.max(
      ...caseI.flatMap(({ strength: l, Gs, Gf }) =>
        caseII.map((t) => (l * Gs + Gf - l * t.Gs - t.Gf) / (1 + l)),
      ),
    ),
    smoothness: L,
  };
}

/** The same problem for the captured step: a row for each context and answer, weighted by its share. */
export function deviceModel(be: Backend, r: Regression): Model {
  const X = r.phi.length;
  const Y = r.outputs;
  const D = r.phi[0].length;
  const phi = be.tensor(
    [X * Y, D],
    Array.from({ length: X * Y }, (_, i) => r.phi[Math.floor(i / Y)]).flat(),
  );
  const label = be.tensor(
    [X * Y],
    Array.from({ length: X * Y }, (_, i) => i % Y),
    "i32",
  );
  return {
    params: { w: [Y, D] },
    format: { fields: {}, tokens: Y },
    losses: ({ w }) => softmax_xent(matmul(phi, w, { tb: 1 }), label).loss,
  };
}

/** Where full-batch steps of `config` end, from θ_s; the ridge is left out, as it is in the step. */
async function descended(
  be: Backend,
  r: Regression,
  { s, f }: Pick<Laws, "s" | "f">,
  config: Partial<Config>,
  start: Float64Array,
): Promise<Float32Array> {
  const model = deviceModel(be, r);
  using state = init(be, model, { ...defaults, ...config }, { w: start });
  const share = (law: Law) => law.P.flatMap((p, x) => p.map((v) => law.mu[x] * v));
  const [ofF, ofS] = [share(f), share(s)];
  const weights = Float32Array.from(
    { length: 2 * ofF.length },
    (_, i) => [ofF, ofS][i % 2][Math.floor(i / 2)],
  );
  const shape = [ofF.length, 2];
  const scalars: Record<string, number | Counter> = { t: { start: 1 }, lr: 0.03 };
  using captured = await capture(be, ({ in: batch, scalar }) => step(state, batch, scalar), {
    inputs: { weights: shape },
    scalars,
  });
  const STEPS = 1500;
  for (let t = 0; t < STEPS; t++) {
    captured.run(t ? undefined : { weights }, { lr: 0.03 * (1 - t / STEPS) ** 2 });
    if (t % 100 === 99) await captured.out.read();
  }
  return (await state.theta.tensors.w.read()) as Float32Array;
}

/** S2: R5 and R6 at exact optima, and the captured step against them. */
export function convexExperiments({ backend: be, seed, seeds }: StudyContext): Experiment[] {
  const list = Array.from({ length: Math.max(3, seeds) }, (_, k) => seed + k);
  const exact = Object.fromEntries(
    list.map((k) => [`seed ${k}`, () => Promise.resolve(findingsOf(k))]),
  );
  // a ridge of 0 has its minimiser at infinity: the step is compared where a constraint or f_s holds it
  const onDevice = {
    "Case I, λ = 1": async () => deviceExcess(be, seed, { strategy: "loss", lambda: 1 }),
    "Case II, ε = 1": async () =>
      deviceExcess(be, seed, { strategy: "ball", eps: 1, optimiser: "sgd" }),
    "Case II by Adam": async () => deviceExcess(be, seed, { strategy: "ball", eps: 1 }),
  };
  return [
    experiment("softmax regression", exact, (results) => {
      const all = [...results.values()];
      const worst = (f: (r: Findings) => number) => Math.max(...all.map(f));
      const [shown] = all;
      const text = (v: number) => v.toFixed(4);
      return {
        checks: [
          atMost(
            "R5 monotone",
            "f_s rises, or f_f falls, from one λ to the next of 25",
            worst((r) => r.monotone),
            1e-8,
          ),
          atMost(
            "R5 bound",
            "G_s − (f_f(θ_s) − min f_f)/λ over 25 λ",
            worst((r) => Math.max(...r.caseI.map((t) => t.Gs - t.maxGs))),
            1e-8,
          ),
          atMost(
            "R5 proxies",
            "G_s − (f_f(θ_s) − min f_f)/λ − 2 B TV(D_s, D_ŝ), c = 0, ½, 0.9",
            worst((r) => r.proxies),
            1e-8,
          ),
          atMost(
            "R6 safety",
            "G_s − (L/2) ε² over ε",
            worst((r) => Math.max(...r.caseII.map((t) => t.Gs - t.maxGs))),
            1e-8,
          ),
          atMost(
            "R6 capability",
            "G_f − (1 − ε/R) G_f(θ_s) over ε",
            worst((r) => Math.max(...r.caseII.map((t) => t.Gf - t.maxGf))),
            1e-8,
          ),
          atLeast(
            "R6 sign",
            "G_s of Case II, the least",
            Math.min(...all.flatMap((r) => r.caseII.map((t) => t.Gs))),
            -1e-9,
          ),
          atMost(
            "S2 frontier",
            "how far a Case II point lies below the Case I frontier",
            worst((r) => r.belowFrontier),
            1e-8,
          ),
        ],
        metrics: { convex: shown },
        charts: [
          {
            title: "Softmax regression: exact optima of both cases",
            x: "G_f",
            y: "G_s",
            series: [
              { name: "Case I", points: shown.caseI.map((t) => [t.Gf, t.Gs] as const) },
              { name: "Case II", points: shown.caseII.map((t) => [t.Gf, t.Gs] as const) },
            ],
          },
        ],
        tables: [
          {
            title: `Softmax regression, seed ${list[0]}, ov = ${OV}: gaps and what R5 and R6 allow`,
            columns: ["", "G_s", "at most", "G_f", "at most"],
            rows: [
              ...shown.caseI
                .filter((_, i) => i % 4 === 0)
                .map((t) => [
                  `λ = ${t.strength.toPrecision(3)}`,
                  text(t.Gs),
                  text(t.maxGs),
                  text(t.Gf),
                  text(t.maxGf),
                ]),
              ...shown.caseII.map((t) => [
                `ε = ${t.strength.toPrecision(3)}`,
                text(t.Gs),
                text(t.maxGs),
                text(t.Gf),
                text(t.maxGf),
              ]),
            ],
          },
        ],
      };
    }),
    experiment("softmax regression, captured step", onDevice, (results) => ({
      metrics: { projectedAdam: results.get("Case II by Adam") },
      checks: [...results]
        .slice(0, 2)
        .map(([name, excess]) =>
          atMost(
            `S2 step, ${name}`,
            "objective of the captured step above the exact optimum",
            excess,
            1e-3,
          ),
        ),
    })),
  ];
}

/** What the step of `config` leaves above the exact optimum of its objective. */
async function deviceExcess(be: Backend, seed: number, config: Partial<Config>): Promise<number> {
  const ridged = regression(seed);
  const r = { ...ridged, ridge: 0 };
  const laws = randomLaws(seed, OV);
  const start = minimiser(ridged, { terms: [[1, laws.s]] });
  const found = Float64Array.from(await descended(be, r, laws, config, start));
  const { s, f } = laws;
  if (config.strategy === "ball") {
    const eps = config.eps ?? 1;
    const exact = caseTwo({ ...r, ridge: 1e-9 }, f, start, eps);
    if (distance(found, start) > eps * 1.0001) return Number.POSITIVE_INFINITY;
    return lossOf(r, f, found) - lossOf(r, f, exact);
  }
  const lambda = config.lambda ?? 1;
  const objective = (theta: Float64Array) =>
    (lossOf(r, f, theta) + lambda * lossOf(r, s, theta)) / (1 + lambda);
  return objective(found) - objective(caseOne({ ...r, ridge: 1e-6 }, f, s, lambda));
}
