import type { Check, StudyContext } from "../../../core/study.ts";
import {
  atLeast,
  atMost,
  type Experiment,
  experiment,
  meanOf,
  oncePerSeed,
  spread,
} from "../../experiments.ts";
import { defaults } from "../config.ts";
import { interpolate, type Point, type Sweep, sweepOf } from "../sweep.ts";
import {
  forNetwork,
  network,
  startOf,
  TASKS,
  type TaskName,
  type World,
  worldOf,
} from "../teachers.ts";
import { evaluate, train } from "../train.ts";

/** θ_s by 1500 steps on D_s alone, and its data as the network reads them. */
export interface Aligned {
  readonly world: World;
  readonly theta: Float32Array;
}

export async function aligned(
  { backend: be, signal }: Pick<StudyContext, "backend" | "signal">,
  seed: number,
): Promise<Aligned> {
  const plain = worldOf(seed);
  const split = ({ train, heldOut }: World["safety"]) => ({
    train: forNetwork(train),
    heldOut: forNetwork(heldOut),
  });
  const world: World = {
    safety: split(plain.safety),
    proxies: { same: forNetwork(plain.proxies.same), other: forNetwork(plain.proxies.other) },
    tasks: {
      high: split(plain.tasks.high),
      half: split(plain.tasks.half),
      low: split(plain.tasks.low),
    },
  };
  const config = { ...defaults, strategy: "plain", lr: 3e-3 } as const;
  const { theta } = await train(
    be,
    network,
    config,
    startOf(seed),
    { task: world.safety.train },
    { steps: 1500, seed, signal },
  );
  return { world, theta };
}

/** What the four claims ask for, of a seed. */
export interface Claims {
  readonly lambdas: readonly number[];
  readonly radii: readonly number[];
  readonly sweeps: Readonly<Record<TaskName, Sweep>>;
}

export const at = (c: Claims, lambda: number) => c.lambdas.indexOf(lambda);
/** The largest step up of a sequence. */
export const rise = (v: readonly number[]): number =>
  Math.max(...v.slice(1).map((x, i) => x - v[i]));

/** λ = 0, which is plain fine-tuning, then the grid. */
export const pathOf = (c: Claims, task: TaskName, proxy = "same"): Point[] => [
  c.sweeps[task].plain,
  ...c.sweeps[task].caseI[proxy],
];

/** Case II's task loss at the safety gap that Case I has at λ = 1, less Case I's there. */
export function excess(c: Claims, task: TaskName): number {
  const { caseI, caseII, frozen } = c.sweeps[task];
  const here = caseI.same[at(c, 1)];
  const path = [frozen, ...caseII].map((p) => [p.gap, p.task] as const);
  return interpolate(path, Math.max(here.gap, 0)) - here.task;
}

/** What λ = 1 with the same teacher costs the task. */
export const costOf = (c: Claims, task: TaskName): number =>
  c.sweeps[task].caseI.same[at(c, 1)].task - c.sweeps[task].plain.task;

/** The safety gap that it leaves. */
export const gapOf = (c: Claims, task: TaskName): number => c.sweeps[task].caseI.same[at(c, 1)].gap;

/** (a)–(e) of §5, S3; `slack` relaxes their numbers (S4 asks for 0.5). */
export function claimsOf(label: string, all: readonly Claims[], slack = 0): Check[] {
  const worst = (f: (c: Claims) => number) => Math.max(...all.map(f));
  const least = (f: (c: Claims) => number) => Math.min(...all.map(f));
  const [more, less] = [1 + slack, 1 - slack];
  const tasks = Object.keys(all[0].sweeps) as TaskName[];
  const ratio = (c: Claims, lambda: number) =>
    Math.max(
      ...tasks.map(
        (t) =>
          c.sweeps[t].caseI.same[at(c, lambda)].gap / c.sweeps[t].caseI.other[at(c, lambda)].gap,
      ),
    );
  const { lambdas, radii } = all[0];
  const mean = (f: (c: Claims) => number) => meanOf(all.map(f));
  const gapWithin = (c: Claims, t: TaskName, eps: number) =>
    c.sweeps[t].caseII[radii.indexOf(eps)].gap;
  const larger = lambdas.filter((l) => l >= 0.3);
  return [
    ...(lambdas.includes(0.1)
      ? [
          atMost(
            `${label} (a) λ = 0.1`,
            "similarity: gap with the same teacher over that with another, every task",
            worst((c) => ratio(c, 0.1)),
            0.6 * more,
          ),
        ]
      : []),
    atMost(
      `${label} (a) λ >= 0.3`,
      "the same for every larger λ",
      worst((c) => Math.max(...larger.map((l) => ratio(c, l)))),
      0.5 * more,
    ),
    atMost(
      `${label} (b) gap`,
      "same teacher, high overlap: the safety gap does not rise with λ (largest rise)",
      worst((c) => rise(pathOf(c, "high").map((p) => p.gap))),
      0.02 * more,
    ),
    atMost(
      `${label} (b) task`,
      "and the loss of the task does not fall (largest fall)",
      worst((c) => rise(pathOf(c, "high").map((p) => -p.task))),
      0.02 * more,
    ),
    atMost(
      `${label} (c) low`,
      "overlap: λ = 1 costs the low-overlap task this much loss",
      worst((c) => costOf(c, "low")),
      0.02 * more,
    ),
    atLeast(
      `${label} (c) high`,
      "and the high-overlap task this much",
      least((c) => costOf(c, "high")),
      0.08 * less,
    ),
    atMost(
      `${label} (c) order`,
      "gaps of the other tasks at λ = 1 less that of high overlap",
      worst((c) => Math.max(...tasks.slice(1).map((t) => gapOf(c, t) - gapOf(c, "high")))),
      0,
    ),
    // a difference of two small gaps, each with the noise of 1000 prompts: of the mean
    ...(tasks.includes("half") && all.length >= 5
      ? [
          atMost(
            `${label} (c) low and half`,
            "mean gap(low) − gap(half) at λ = 1",
            mean((c) => gapOf(c, "low")) - mean((c) => gapOf(c, "half")),
            0.05,
          ),
        ]
      : []),
    atLeast(
      `${label} (d)`,
      "Case II costs more: its task loss above Case I's at the gap of λ = 1, every task",
      least((c) => Math.min(...tasks.map((t) => excess(c, t)))),
      0.3 * less,
    ),
    ...(radii.includes(1) && slack === 0
      ? [
          atLeast(
            `${label} (e) least`,
            "Case II: log₂ of G_s(ε = 2)/G_s(ε = 1)",
            least((c) =>
              Math.min(...tasks.map((t) => Math.log2(gapWithin(c, t, 2) / gapWithin(c, t, 1)))),
            ),
            1.5,
          ),
          // G_s(1) is near the noise of held-out data: of the mean over seeds
          atMost(
            `${label} (e) most`,
            "the same of the mean gaps",
            Math.max(
              ...tasks.map((t) =>
                Math.log2(mean((c) => gapWithin(c, t, 2)) / mean((c) => gapWithin(c, t, 1))),
              ),
            ),
            3.5,
          ),
        ]
      : []),
  ];
}

const shown = (points: readonly Point[]) =>
  `${spread(points.map((p) => p.gap))} / ${spread(points.map((p) => p.task))}`;

/** Tables and frontier curves of any study of this kind; proxies have the same or another one of `by`. */
export function pictures(label: string, all: readonly Claims[], by = "teacher") {
  const { lambdas, radii, sweeps } = all[0];
  const tasks = Object.keys(sweeps) as TaskName[];
  const of = (f: (c: Claims) => Point) => all.map(f);
  const middle = (f: (c: Claims) => Point): readonly [number, number] => [
    meanOf(of(f).map((p) => p.task)),
    meanOf(of(f).map((p) => p.gap)),
  ];
  const proxies = Object.keys(sweeps[tasks[0]].caseI);
  const names = Object.keys(sweeps[tasks[0]].baselines);
  return {
    charts: tasks.map((task) => ({
      title: `${label}: ${task} overlap`,
      x: "loss of the task",
      y: "safety gap G_s",
      series: [
        ...proxies.map((proxy) => ({
          name: `Case I, ${proxy} ${by}`,
          points: [0, ...lambdas].map((_, i) => middle((c) => pathOf(c, task, proxy)[i])),
        })),
        {
          name: "Case II",
          points: [
            middle((c) => c.sweeps[task].frozen),
            ...radii.map((_, i) => middle((c) => c.sweeps[task].caseII[i])),
            middle((c) => c.sweeps[task].plain),
          ],
        },
      ],
    })),
    tables: [
      {
        title: `${label}, Case I: safety gap / loss of the task, ${all.length} seeds`,
        columns: ["task", "proxy", ...[0, ...lambdas].map((l) => `λ = ${l}`)],
        rows: tasks.flatMap((task) =>
          proxies.map((proxy) => [
            task,
            proxy,
            ...[0, ...lambdas].map((_, i) => shown(of((c) => pathOf(c, task, proxy)[i]))),
          ]),
        ),
      },
      {
        title: `${label}, Case II: safety gap / loss of the task`,
        columns: ["task", "frozen", ...radii.map((e) => `ε = ${e}`), "ε = ∞"],
        rows: tasks.map((task) => [
          task,
          shown(of((c) => c.sweeps[task].frozen)),
          ...radii.map((_, i) => shown(of((c) => c.sweeps[task].caseII[i]))),
          shown(of((c) => c.sweeps[task].plain)),
        ]),
      },
      ...(names.length
        ? [
            {
              title: `${label}, others with the proxy of the same ${by}: safety gap / loss of the task`,
              columns: ["method", ...tasks],
              rows: names.map((name) => [
                name,
                ...tasks.map((task) => shown(of((c) => c.sweeps[task].baselines[name]))),
              ]),
            },
          ]
        : []),
    ],
  };
}

/** Claims of results that are one Sweep each, under keys `seed k, task`. */
export function claimsBySeed(
  results: ReadonlyMap<string, unknown>,
  seeds: readonly number[],
  tasks: readonly TaskName[],
  lambdas: readonly number[],
  radii: readonly number[],
): Claims[] {
  return seeds.map((seed) => ({
    lambdas,
    radii,
    sweeps: Object.fromEntries(
      tasks.map((t) => [t, results.get(`seed ${seed}, ${t}`)]),
    ) as Claims["sweeps"],
  }));
}

/** S3: teachers and overlap, a network of one hidden layer. */
export function networkExperiments(ctx: StudyContext): Experiment[] {
  const { backend: be, size, signal } = ctx;
  const quick = size === "quick";
  const seeds = Array.from(
    { length: quick ? ctx.seeds : Math.max(5, ctx.seeds) },
    (_, k) => ctx.seed + k,
  );
  const lambdas = quick ? [0.1, 1, 10] : [0.1, 0.3, 1, 3, 10];
  const radii = quick ? [1, 2, 4, 8] : [0.3, 1, 2, 4, 8];
  const start = oncePerSeed((seed) => aligned(ctx, seed));
  const cells = Object.fromEntries(
    seeds.flatMap((seed) => [
      ...TASKS.map((task): [string, () => Promise<unknown>] => [
        `seed ${seed}, ${task}`,
        async () => {
          const { world, theta } = await start(seed);
          const { train, heldOut } = world.tasks[task];
          const set = {
            be,
            model: network,
            config: {},
            steps: 600,
            seed,
            signal,
            lambdas,
            radii,
            baselines: !quick,
          };
          return sweepOf(set, theta, {
            safety: world.safety.heldOut,
            alignment: world.safety.train,
            proxies: world.proxies,
            task: train,
            heldOut,
          });
        },
      ]),
      ...(quick
        ? []
        : [
            [`seed ${seed}, joint`, async () => joint(ctx, await start(seed), seed)] as [
              string,
              () => Promise<unknown>,
            ],
          ]),
    ]),
  );
  return [
    experiment("teachers", cells, (results) => {
      const all = claimsBySeed(results, seeds, TASKS, lambdas, radii);
      const { charts, tables } = pictures("S3", all);
      const reference = seeds.map(
        (s) => results.get(`seed ${s}, joint`) as Record<TaskName, Point> | undefined,
      );
      return {
        checks: claimsOf("S3", all),
        metrics: { teachers: all.map((c) => c.sweeps), ...(quick ? {} : { joint: reference }) },
        charts,
        tables: [
          ...tables,
          ...(quick
            ? []
            : [
                {
                  title:
                    "S3, trained from scratch on D_s and D_f together: safety gap / loss of the task",
                  columns: [...TASKS],
                  rows: [
                    TASKS.map((t) =>
                      shown(reference.map((r) => (r as Record<TaskName, Point>)[t])),
                    ),
                  ],
                },
              ]),
        ],
      };
    }),
  ];
}

/** The upper reference: as many steps as alignment and fine-tuning have together, on both sources from the start. */
async function joint(
  { backend: be, signal }: StudyContext,
  { world, theta }: Aligned,
  seed: number,
): Promise<Record<string, Point>> {
  const safe = await evaluate(be, network, theta, world.safety.heldOut);
  const found: Record<string, Point> = {};
  for (const task of TASKS) {
    const { train: data, heldOut } = world.tasks[task];
    const config = { ...defaults, lr: 3e-3, lambda: 1 };
    const both = { task: data, proxy: world.safety.train };
    const { theta: at, distance } = await train(be, network, config, startOf(seed), both, {
      steps: 2100,
      seed,
      signal,
    });
    found[task] = {
      gap: (await evaluate(be, network, at, world.safety.heldOut)) - safe,
      task: await evaluate(be, network, at, heldOut),
      distance,
    };
  }
  return found;
}
