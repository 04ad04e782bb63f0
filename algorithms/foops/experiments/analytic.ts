import type { Chart, StudyContext } from "../../../core/study.ts";
import { normalPair, threefry2x32 } from "../../../core/threefry.ts";
import { atLeast, atMost, type Experiment, experiment, meanOf } from "../../experiments.ts";
import { baselines, linearScalarisation, type Rule, runBaseline } from "../baselines.ts";
import { type Config, defaults } from "../config.ts";
import { ratio, ratioRows } from "../problem.ts";
import { solve } from "../solve.ts";
import { apply, hypervolume } from "../solvers.ts";
import {
  exampleA1,
  exponential,
  exponential3,
  frontResidual,
  type Toy,
  toyObjectives,
  toyProblem,
} from "../toys.ts";

/** A run: where it starts, and what it should reach. */
export interface Run {
  readonly x0: readonly number[];
  readonly v: readonly number[];
}

export interface End {
  readonly F: number[];
  readonly x: number[];
  /** ‖H‖ with ‖v‖ = 1. */
  readonly H: number;
}

/** Steps of the methods that FOOPS is compared with, and how much longer than needed FOOPS runs. */
const SIZES = {
  quick: { longer: 1, baselineSteps: 200 },
  default: { longer: 2, baselineSteps: 1000 },
  full: { longer: 10, baselineSteps: 5000 },
} as const;

const Q = 20;
/** On the two-objective toys a run has arrived where both residuals are below this. */
const ARRIVED = 0.05;
const quiet = { warn: () => {} };

const normals = (n: number, seed: number, stream: number): number[] =>
  Array.from({ length: n }, (_, i) => normalPair(...threefry2x32(seed, stream, i, 0))[0]);

/** T5: alternating ±0.3 and a little noise, four preferences on the quarter circle, five seeds. */
export function standardRuns(seed: number): Run[] {
  const angles = [0, 1, 2, 3].map((k) => ((1 + (8 * k) / 3) * Math.PI) / 20);
  return angles.flatMap((angle) =>
    Array.from({ length: 5 }, (_, s) => ({
      v: [1 / Math.cos(angle), 1 / Math.sin(angle)],
      x0: normals(Q, seed + s, 1).map((z, i) => (i % 2 ? -0.3 : 0.3) + 0.1 * z),
    })),
  );
}

/** T6: beyond the ends of the front along its line, and off it: t a + z u, u a unit vector across a. */
export function outsideRuns(seed: number): Run[] {
  const places = [
    [-1.6, 0.3],
    [1.6, 0.3],
    [2, 0.2],
  ];
  const preferences = [
    [4, 5],
    [1, 3],
    [3, 1],
  ];
  const a = 1 / Math.sqrt(Q);
  return places.flatMap(([t, z]) =>
    preferences.flatMap((v) =>
      Array.from({ length: 5 }, (_, s) => {
        const n = normals(Q, seed + s, 2);
        const along = n.reduce((sum, e) => sum + a * e, 0);
        const across = n.map((e) => e - along * a);
        const size = Math.hypot(...across);
        return { v, x0: across.map((e) => t * a + (z * e) / size) };
      }),
    ),
  );
}

function ends(toy: Toy, runs: readonly Run[], x: ArrayLike<number>): End[] {
  const q = toy.centres[0].length;
  return runs.map(({ v }, r) => {
    const at = Array.from({ length: q }, (_, i) => x[r * q + i]);
    const F = toyObjectives(toy, at);
    return { F, x: at, H: Math.hypot(...apply(ratioRows(v), F)) };
  });
}

export const arrived = ({ F, H }: End): boolean => H < ARRIVED && frontResidual(F) < ARRIVED;

const flat = (runs: readonly Run[]) => ({ x: runs.flatMap((r) => [...r.x0]) });
const problemOf = (toy: Toy, runs: readonly Run[]) =>
  toyProblem(toy, ratio(...runs.map((r) => r.v)), runs.length);

/** FOOPS on all runs side by side. */
async function foopsEnds(
  { backend, signal }: StudyContext,
  toy: Toy,
  runs: readonly Run[],
  config: Partial<Config>,
  steps: number,
): Promise<End[]> {
  const { x } = await solve(
    backend,
    problemOf(toy, runs),
    { ...defaults, ...config },
    flat(runs),
    // the settings that fail are wanted too
    { steps, every: 100, signal, allowDivergence: true, ...quiet },
  );
  return ends(toy, runs, x.x);
}

async function baselineEnds(
  { backend, signal }: StudyContext,
  toy: Toy,
  runs: readonly Run[],
  { rule, alpha }: { rule: Rule; alpha: number },
  steps: number,
): Promise<End[]> {
  const x = await runBaseline(backend, problemOf(toy, runs), flat(runs), {
    rule,
    preferences: runs.map((r) => r.v),
    steps,
    alpha: () => alpha,
    signal,
  });
  return ends(toy, runs, x.x);
}

const median = (v: readonly number[]): number => [...v].sort((a, b) => a - b)[v.length >> 1];

/** θ = 2 as the defaults have it, and the plain variant. */
const PLAIN: Partial<Config> = { theta: 1, gamma: 3, alpha: 0.067 };

function exampleA1Experiment(ctx: StudyContext): Experiment {
  const runs: Run[] = [{ x0: [3, 0], v: [8, 9] }];
  const steps = 500 * SIZES[ctx.size].longer;
  const off = async (config: Partial<Config>) => {
    const beta = config.tau === 0.02 ? 0.01 : 0.05;
    const all = { gamma: 1, l: 0, innerSteps: 10, beta, ...config };
    const [{ x }] = await foopsEnds(ctx, exampleA1, runs, all, steps);
    return Math.hypot(x[0] - 0.6, x[1]);
  };
  return experiment(
    "Example A.1 from (3, 0)",
    {
      "θ 2, τ 0.02": () => off({ theta: 2, tau: 0.02 }),
      "θ 2, τ 0.1, l 2": () => off({ theta: 2, tau: 0.1, l: 2 }),
      "θ 1, τ 0.02": () => off({ theta: 1, tau: 0.02 }),
      "θ 1, τ 0.1": () => off({ theta: 1, tau: 0.1 }),
      "θ 1, τ 0.5": () => off({ theta: 1, tau: 0.5 }),
      FERERO: async () => {
        const [{ x }] = await baselineEnds(ctx, exampleA1, runs, baselines.FERERO, 100);
        return Math.hypot(x[0] - 3, x[1]);
      },
    },
    (r) => {
      const value = (key: string) => r.get(key) as number;
      return {
        checks: [
          atMost(
            "A.1 θ = 2",
            "FOOPS reaches (0.6, 0) (worse of two settings)",
            Math.max(value("θ 2, τ 0.02"), value("θ 2, τ 0.1, l 2")),
            1e-3,
          ),
          atMost(
            "A.1 θ = 1",
            "bias at γτ = 0.02 (§5 of the page: 0.0027)",
            value("θ 1, τ 0.02"),
            0.003,
          ),
          atLeast(
            "A.1 bias",
            "with θ = 1 it grows with γτ: at τ = 0.1 over 0.02, and 0.5 over 0.1 (lesser ratio)",
            Math.min(
              value("θ 1, τ 0.1") / value("θ 1, τ 0.02"),
              value("θ 1, τ 0.5") / value("θ 1, τ 0.1"),
            ),
            1.5,
          ),
          atMost(
            "A.1 KKT point",
            "(3, 0) is KKT but not Pareto stationary: FERERO does not move from it",
            value("FERERO"),
            1e-6,
          ),
        ],
        metrics: { exampleA1: Object.fromEntries(r) },
      };
    },
  );
}

function example312(ctx: StudyContext): Experiment {
  const toy = exponential(1);
  const steps = 500 * SIZES[ctx.size].longer;
  // not x = 0, where equal weights would stay for reasons of symmetry alone
  const starts = Array.from({ length: 18 }, (_, i): Run => ({ x0: [-0.85 + 0.1 * i], v: [4, 5] }));
  return experiment(
    "Example 3.12, q = 1",
    {
      FOOPS: async () => {
        const config = { theta: 1, l: 1, gamma: 1, beta: 0.1 };
        const all = await foopsEnds(ctx, toy, starts, config, steps);
        return Math.max(...all.map(({ x }) => Math.abs(x[0] - 0.095248)));
      },
      "linear scalarisation": async () => {
        // every weight from every start; the preference that counts stays (4, 5)
        const weights = Array.from({ length: 9 }, (_, k) => [0.1 * (k + 1), 1 - 0.1 * (k + 1)]);
        const each = weights.flatMap((v) => starts.map(({ x0 }): Run => ({ x0, v })));
        const found = await baselineEnds(
          ctx,
          toy,
          each,
          { rule: linearScalarisation, alpha: 0.3 },
          1000,
        );
        const [row] = ratioRows([4, 5]);
        return Math.min(...found.map(({ F }) => Math.abs(apply([row], F)[0])));
      },
    },
    (r) => ({
      checks: [
        atMost(
          "3.12 FOOPS",
          "every start in [−0.9, 0.9] ends at x* = 0.095248 (page: 0.0021 off)",
          r.get("FOOPS") as number,
          0.005,
        ),
        atLeast(
          "3.12 linear scalarisation",
          "no weight comes near H = 0: local minima have |x| >= 1/√2, so |H| >= 0.52",
          r.get("linear scalarisation") as number,
          0.5,
        ),
      ],
    }),
  );
}

/** FOOPS and all baselines on the same runs; what each ends with. */
function compared(
  ctx: StudyContext,
  runs: readonly Run[],
  configs: Readonly<Record<string, readonly [steps: number, config: Partial<Config>]>>,
): Record<string, () => Promise<End[]>> {
  const toy = exponential(Q);
  const { longer, baselineSteps } = SIZES[ctx.size];
  return {
    ...Object.fromEntries(
      Object.entries(configs).map(([name, [steps, c]]) => [
        name,
        () => foopsEnds(ctx, toy, runs, c, steps * longer),
      ]),
    ),
    ...Object.fromEntries(
      Object.entries(baselines).map(([name, b]) => [
        name,
        () => baselineEnds(ctx, toy, runs, b, baselineSteps),
      ]),
    ),
  };
}

const number = (v: number) => Number(v.toPrecision(3));
const summary = (runs: readonly Run[], r: ReadonlyMap<string, End[]>) =>
  [...r].map(([name, all]) => {
    const group = runs.length / 5;
    const volumes = [0, 1, 2, 3, 4].map((s) =>
      hypervolume(
        Array.from({ length: group }, (_, k) => all[5 * k + s].F),
        [1, 1],
      ),
    );
    return [
      name,
      `${all.filter(arrived).length}/${all.length}`,
      all.filter(({ F }) => frontResidual(F) < ARRIVED).length,
      number(median(all.map((e) => e.H))),
      number(meanOf(all.map((e) => e.H))),
      number(meanOf(volumes)),
    ];
  });
const COLUMNS = ["method", "arrived", "on the front", "median |H|", "mean |H|", "hypervolume"];

function easyStarts(ctx: StudyContext): Experiment {
  const runs = standardRuns(ctx.seed);
  const plain = { theta: 1, gamma: 0.3, l: 0.05, alpha: 0.2 };
  return experiment(
    "20 dimensions, standard starts",
    compared(ctx, runs, { "FOOPS θ 2": [600, {}], "FOOPS θ 1": [600, plain] }),
    (r) => {
      const count = (name: string) => (r.get(name) as End[]).filter(arrived).length;
      const H = (name: string) => median((r.get(name) as End[]).map((e) => e.H));
      return {
        checks: [
          atLeast(
            "T5 FOOPS",
            "arrives from 20 of 20 starts (worse of θ = 1, 2)",
            Math.min(count("FOOPS θ 2"), count("FOOPS θ 1")),
            20,
          ),
          atMost("T5 FOOPS θ 1", "median |H| (page: 0.0014)", H("FOOPS θ 1"), 0.003),
          atLeast("T5 FERERO", "arrives from 20 of 20 starts", count("FERERO"), 20),
          atLeast("T5 EPO", "arrives from 20 of 20 starts", count("EPO"), 20),
          atMost(
            "T5 linear scalarisation, MGDA",
            "arrive from none",
            Math.max(count("linear scalarisation"), count("MGDA")),
            0,
          ),
          atLeast(
            "T5 PMTL",
            "ends on the front, whatever |H| (of 20)",
            (r.get("PMTL") as End[]).filter(({ F }) => frontResidual(F) < ARRIVED).length,
            18,
          ),
        ],
        tables: [{ title: "Standard starts, q = 20", columns: COLUMNS, rows: summary(runs, r) }],
      };
    },
  );
}

/** Settings that the page found wanting. They get no more steps in the long form: more of them arrive in the end. */
const POOR: Readonly<Record<string, Partial<Config>>> = {
  "FOOPS θ 1, K 1": { ...PLAIN, innerSteps: 1 },
  "FOOPS θ 1, γ 1": { ...PLAIN, gamma: 1 },
  "FOOPS θ 1, l 0.05": { ...PLAIN, l: 0.05 },
};
const POOR_STEPS = 3000;

function outsideStarts(ctx: StudyContext): Experiment {
  const runs = outsideRuns(ctx.seed);
  const poor = Object.entries(ctx.size === "quick" ? {} : POOR).map(
    ([name, c]): [string, () => Promise<End[]>] => [
      name,
      () => foopsEnds(ctx, exponential(Q), runs, c, POOR_STEPS),
    ],
  );
  return experiment(
    "20 dimensions, outside starts",
    {
      ...compared(ctx, runs, { "FOOPS θ 2": [3000, {}], "FOOPS θ 1": [1500, PLAIN] }),
      ...Object.fromEntries(poor),
    },
    (r) => {
      const count = (name: string) => (r.get(name) as End[]).filter(arrived).length;
      const H = (name: string) => median((r.get(name) as End[]).map((e) => e.H));
      const worst = (names: string[]) => Math.max(...names.map(count));
      return {
        checks: [
          atLeast(
            "T6 FOOPS",
            "reaches the preferred Pareto point from outside starts, of 45 (Fig. 4; worse of θ = 1, 2)",
            Math.min(count("FOOPS θ 2"), count("FOOPS θ 1")),
            43,
          ),
          atMost("T6 FOOPS θ 1", "median |H| (page: 0.023)", H("FOOPS θ 1"), 0.03),
          atMost("T6 FOOPS θ 2", "median |H| (page: 4e-4)", H("FOOPS θ 2"), 2e-3),
          atMost("T6 FERERO", "stops off the front in most (Fig. 4)", count("FERERO"), 20),
          atMost("T6 PMTL", "hardly ever arrives", count("PMTL"), 5),
          atMost(
            "T6 linear scalarisation, MGDA",
            "never arrive",
            worst(["linear scalarisation", "MGDA"]),
            0,
          ),
          ...(ctx.size === "quick"
            ? []
            : [
                atMost(
                  "T6 settings",
                  "one inner step, γ = 1 or l = 0.05 arrive from 20 of 45 at most",
                  worst(Object.keys(POOR)),
                  20,
                ),
              ]),
        ],
        tables: [
          { title: "Outside starts, q = 20 (Fig. 4)", columns: COLUMNS, rows: summary(runs, r) },
        ],
      };
    },
  );
}

/** The picture of Fig. 4: ways through the plane of the objectives from outside starts, F ∥ (4, 5) wanted. */
function trajectories(ctx: StudyContext): Experiment {
  const toy = exponential(Q);
  const runs = outsideRuns(ctx.seed).filter((_, i) => i % 15 === 0);
  const { baselineSteps } = SIZES[ctx.size];
  const steps = 1500;
  type Ways = [number, number][][];
  const first = (): Ways => runs.map(({ x0 }) => [toyObjectives(toy, x0) as [number, number]]);
  const follow = async (name: string): Promise<Ways> => {
    const ways = first();
    await runBaseline(ctx.backend, problemOf(toy, runs), flat(runs), {
      ...baselines[name],
      preferences: runs.map((r) => r.v),
      all: [
        [4, 5],
        [1, 3],
        [3, 1],
      ],
      steps: baselineSteps,
      alpha: () => baselines[name].alpha,
      onStep: (t, F) => {
        if (t % 5 === 0) for (const [r, [a, b]] of F.entries()) ways[r].push([a, b]);
      },
    });
    return ways;
  };
  const names = ["FERERO", "EPO", "PMTL", "MGDA"];
  return experiment(
    "ways to the front",
    {
      FOOPS: async () => {
        const ways = first();
        await solve(ctx.backend, problemOf(toy, runs), defaults, flat(runs), {
          ...quiet,
          steps,
          every: 20,
          onLook: ({ F }) => {
            for (const [r, way] of ways.entries()) way.push([F[2 * r], F[2 * r + 1]]);
          },
        });
        return ways;
      },
      ...Object.fromEntries(names.map((name) => [name, () => follow(name)])),
    },
    (r) => {
      const front = Array.from({ length: 101 }, (_, k): [number, number] => {
        const at = new Array(Q).fill((-1 + k / 50) / Math.sqrt(Q));
        return toyObjectives(toy, at) as [number, number];
      });
      const chart = (run: number): Chart => ({
        title: `F on the way from outside, start ${run + 1}`,
        x: "f₁",
        y: "f₂",
        series: [
          { name: "Pareto front", points: front },
          {
            name: "F ∥ (4, 5)",
            points: [
              [0, 0],
              [0.8, 1],
            ],
          },
          ...[...r].map(([name, ways]) => ({ name, points: ways[run] })),
        ],
      });
      return { charts: [0, 1, 2].map(chart) };
    },
  );
}

const TRIANGLE = [
  [1, 1, 1],
  [1, 1.2, 0.8],
  [0.8, 1.2, 1],
];

/**
 * T7: where F ∥ v, in the plane of the centres (1,0), (−1,0), (0,1): |p − c_m|² = −ln(1 − c v_m), with c by
 * bisection.
 */
export function triangleTarget(v: readonly number[]): [number, number] {
  const at = (c: number) => {
    const [a, b, d] = v.map((e) => -Math.log1p(-c * e));
    const p1 = (b - a) / 4;
    const p2 = 1 - Math.sqrt(Math.max(0, d - p1 * p1));
    return { p: [p1, p2] as [number, number], excess: a - (p1 - 1) ** 2 - p2 ** 2 };
  };
  let [lo, hi] = [0, 1 / Math.max(...v)];
  for (let k = 0; k < 60; k++) {
    const mid = (lo + hi) / 2;
    if (at(mid).excess < 0) lo = mid;
    else hi = mid;
  }
  return at(lo).p;
}

function threeObjectives(ctx: StudyContext): Experiment {
  const toy = exponential3(Q);
  const runs = TRIANGLE.flatMap((v) =>
    Array.from(
      { length: 3 },
      (_, s): Run => ({
        v,
        x0: normals(Q, ctx.seed + s, 3).map((z) => 0.15 * z),
      }),
    ),
  );
  const steps = 3000 * SIZES[ctx.size].longer;
  /** How far each run is from its target, in the plane and off it. */
  const distances = async (theta: number) => {
    const found = await foopsEnds(ctx, toy, runs, { theta, gamma: 1, alpha: 0.2 }, steps);
    const e1 = toy.centres[0];
    const e2 = toy.centres[2];
    return found.map(({ x }, r) => {
      const p = triangleTarget(runs[r].v);
      return Math.hypot(...x.map((z, i) => z - p[0] * e1[i] - p[1] * e2[i]));
    });
  };
  return experiment(
    "three objectives",
    { "θ 2": () => distances(2), "θ 1": () => distances(1) },
    (r) => {
      const two = r.get("θ 2") as number[];
      const one = r.get("θ 1") as number[];
      return {
        checks: [
          atMost(
            "T7 θ = 2",
            "distance to the preferred point, worst of 9 runs",
            Math.max(...two),
            0.01,
          ),
          atLeast(
            "T7 θ = 1",
            "is this many times farther off (page: 10 to 30)",
            meanOf(one) / meanOf(two),
            5,
          ),
        ],
        tables: [
          {
            title: "Three objectives, q = 20: distance to the preferred point",
            columns: ["v", "θ = 2", "θ = 1"],
            rows: TRIANGLE.map((v, k) => [
              v.join(" : "),
              number(meanOf(two.slice(3 * k, 3 * k + 3))),
              number(meanOf(one.slice(3 * k, 3 * k + 3))),
            ]),
          },
        ],
      };
    },
  );
}

/** T3 to T7 of the paper page. */
export const analyticExperiments = (ctx: StudyContext): Experiment[] => [
  exampleA1Experiment(ctx),
  example312(ctx),
  easyStarts(ctx),
  outsideStarts(ctx),
  threeObjectives(ctx),
  trajectories(ctx),
];
