import { slab } from "../../../core/index.ts";
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
import type { Examples } from "../examples.ts";
import { sweepOf } from "../sweep.ts";
import { PROXIES, type ProxyName, TASKS, type TaskName } from "../teachers.ts";
import {
  type Corpus,
  corpusOf,
  mailProxyOf,
  OVERLAPS,
  overlapEstimate,
  TEXT,
  type TextWorld,
  textWorldOf,
} from "../texts.ts";
import { evaluate, lossesOf, train } from "../train.ts";
import {
  type Lora,
  loraTransformer,
  type Shapes,
  startOfLora,
  startOfTransformer,
  transformer,
} from "../transformer.ts";
import {
  at,
  type Claims,
  claimsBySeed,
  costOf,
  excess,
  gapOf,
  pathOf,
  pictures,
  rise,
} from "./networks.ts";

export const READER: Shapes = {
  vocabulary: TEXT.vocabulary,
  tokens: TEXT.tokens,
  width: 48,
  heads: 4,
  groups: 2,
  layers: 2,
  inner: 96,
};
/** The same parameters, for the loss of an answer. */
export const ANSWERER: Shapes = { ...READER, answer: 1 };
const LORA: Lora = { rank: 8, alpha: 16 };

/** θ_s, and what is known of it on held-out data. */
interface Aligned {
  readonly corpus: Corpus;
  readonly world: TextWorld;
  readonly theta: Float32Array;
  readonly known: Known;
}
interface Known {
  /** Loss of a token of speeches after pre-training, and that of the frequencies of tokens. */
  readonly language: number;
  readonly frequencies: number;
  /** f_s(θ_s). */
  readonly loss: number;
  /** Share of mails whose right answer has more than half of the probability, and share of the more frequent answer. */
  readonly accuracy: number;
  readonly majority: number;
  readonly proxies: Readonly<Record<ProxyName, { readonly tv: number; readonly gap: number }>>;
  /** Estimates of ov from the texts of held-out contexts. */
  readonly overlaps: Readonly<Record<TaskName, number>>;
}

/** Cross-entropy of held-out tokens against the frequencies of those that are trained on. */
function frequencyLoss(of: TextWorld["language"]): number {
  const counts = new Float64Array(TEXT.vocabulary).fill(1);
  for (const v of of.train.fields.next) counts[v]++;
  const total = counts.reduce((a, b) => a + b);
  return meanOf(Array.from(of.heldOut.fields.next, (v) => -Math.log(counts[v] / total)));
}

const majorityOf = ({ n, fields: { next } }: Examples): number => {
  const first = next.filter((v) => v === next[0]).length / n;
  return Math.max(first, 1 - first);
};

/** Pre-trained on speeches, then aligned on mails: all parameters. */
async function alignedReader(
  { backend: be, signal }: StudyContext,
  corpus: Corpus,
  seed: number,
): Promise<Aligned> {
  const world = textWorldOf(corpus, seed);
  const [reader, answerer] = [transformer(READER), transformer(ANSWERER)];
  const plain = { ...defaults, strategy: "plain" } as const;
  const pretrained = await train(
    be,
    reader,
    { ...plain, lr: 3e-3, batch: 32 },
    startOfTransformer(READER, seed),
    { task: world.language.train },
    { steps: 2000, seed, signal },
  );
  const { theta } = await train(
    be,
    answerer,
    { ...plain, lr: 1e-3 },
    pretrained.theta,
    { task: world.safety.train },
    { steps: 200, seed, signal },
  );
  const losses = await lossesOf(be, answerer, theta, world.safety.heldOut);
  const loss = meanOf(losses);
  const proxies = {} as Record<ProxyName, { tv: number; gap: number }>;
  for (const name of PROXIES) {
    const there = await evaluate(be, answerer, theta, world.proxies[name]);
    proxies[name] = { tv: world.tv[name], gap: there - loss };
  }
  const known = {
    language: await evaluate(be, reader, pretrained.theta, world.language.heldOut),
    frequencies: frequencyLoss(world.language),
    loss,
    accuracy: losses.filter((l) => l < Math.LN2).length / losses.length,
    majority: majorityOf(world.safety.heldOut),
    proxies,
    overlaps: {
      high: overlapEstimate(world.safety, world.tasks.high.heldOut),
      half: overlapEstimate(world.safety, world.tasks.half.heldOut),
      low: overlapEstimate(world.safety, world.tasks.low.heldOut),
    },
  };
  return { corpus, world, theta, known };
}

/** H(p), in nats. */
const entropy = (p: number): number =>
  p > 0 && p < 1 ? -p * Math.log(p) - (1 - p) * Math.log(1 - p) : 0;

/**
 * J_λ of R4 for answers that are never those of D_s, where a share `overlap` of the task's contexts is spread over
 * those of D_s as they are.
 */
const leastSum = (lambda: number, overlap: number): number =>
  overlap === 0 ? 0 : (lambda + overlap) * entropy(lambda / (lambda + overlap));

/** λ of the runs that differ in similarity alone. */
const FIXED = 3;
const GRID = [0, 0.25, 0.5, 0.75, 1];

/** Half overlap under Case I by proxies of each similarity. */
type Similar = readonly { readonly tv: number; readonly gap: number; readonly task: number }[];

function correlation(a: readonly number[], b: readonly number[]): number {
  const centred = (v: readonly number[]) => v.map((x) => x - meanOf(v));
  const dot = (u: readonly number[], v: readonly number[]) =>
    u.reduce((sum, x, i) => sum + x * v[i], 0);
  const [x, y] = [centred(a), centred(b)];
  return dot(x, y) / Math.sqrt(dot(x, x) * dot(y, y));
}

/** What holds of the claims, over all seeds. */
function textClaims(
  all: readonly Claims[],
  known: readonly Known[],
  similar: readonly Similar[],
): Check[] {
  const worst = (f: (c: Claims) => number) => Math.max(...all.map(f));
  const least = (f: (c: Claims) => number) => Math.min(...all.map(f));
  const { lambdas } = all[0];
  const tasks = TASKS.filter((t) => all[0].sweeps[t]);
  const range = (v: number[]) => Math.max(...v) - Math.min(...v);
  const steps = (c: Claims, f: (c: Claims, t: TaskName) => number) =>
    Math.min(...tasks.slice(1).map((t, i) => f(c, tasks[i]) - f(c, t)));
  const points = (c: Claims, t: TaskName) => [
    ...pathOf(c, t),
    ...c.sweeps[t].caseII,
    c.sweeps[t].frozen,
  ];
  const best = (c: Claims, t: TaskName) => Math.min(...points(c, t).map((p) => p.task));
  return [
    atMost(
      "text language",
      "pre-trained: loss of a token of speeches not seen, over that of frequencies of tokens",
      Math.max(...known.map((k) => k.language / k.frequencies)),
      0.75,
    ),
    atLeast(
      "text aligned",
      "θ_s: share of held-out mails answered rightly, less that of always the same answer",
      Math.min(...known.map((k) => k.accuracy - k.majority)),
      0.2,
    ),
    atLeast(
      "text (a)",
      "similarity: gap with other labels less that with the same ones, every λ and task",
      least((c) =>
        Math.min(
          ...tasks.flatMap((t) =>
            lambdas.map((_, i) => c.sweeps[t].caseI.other[i].gap - c.sweeps[t].caseI.same[i].gap),
          ),
        ),
      ),
      0,
    ),
    ...(similar.length
      ? [
          // not of neighbours: a few labels of another opinion do no more than noise does
          atLeast(
            "text (a) TV",
            `half overlap, λ = ${FIXED}: correlation of the gap with TV(D_s, D_ŝ) over similarities`,
            Math.min(
              ...similar.map((s) =>
                correlation(
                  s.map((p) => p.tv),
                  s.map((p) => p.gap),
                ),
              ),
            ),
            0.7,
          ),
        ]
      : []),
    atMost(
      "text (b) gap",
      "same labels, high overlap: the safety gap does not rise with λ (largest rise over its range)",
      worst((c) => {
        const v = pathOf(c, "high").map((p) => p.gap);
        return rise(v) / range(v);
      }),
      0.05,
    ),
    atMost(
      "text (b) task",
      "and the loss of the task does not fall (largest fall over its range)",
      worst((c) => {
        const v = pathOf(c, "high").map((p) => -p.task);
        return rise(v) / range(v);
      }),
      0.05,
    ),
    atLeast(
      "text (c) gap",
      "overlap: gaps at λ = 1 fall with it (least difference of neighbours)",
      least((c) => steps(c, gapOf)),
      0,
    ),
    atLeast(
      "text (c) task",
      "and so does what λ = 1 costs the task",
      least((c) => steps(c, costOf)),
      0,
    ),
    atLeast(
      "text (d)",
      "Case II costs more: its task loss above Case I's at the gap of λ = 1, every task",
      least((c) => Math.min(...tasks.map((t) => excess(c, t)))),
      0.5,
    ),
    atMost(
      "text R1",
      "same labels, high overlap: the safety gap is ln(1 + 1/λ), largest difference",
      worst((c) =>
        Math.max(
          ...lambdas.map((l, i) => Math.abs(c.sweeps.high.caseI.same[i].gap - Math.log(1 + 1 / l))),
        ),
      ),
      0.2,
    ),
    // no model is below 1, but the least f_f of all points stands for min f_f, which is lower: G_f is too small
    atLeast(
      "text R4",
      "λ G_s + G_f over J_λ, every point of both cases where contexts overlap: 1 but for min f_f",
      least((c) =>
        Math.min(
          ...tasks
            .filter((t) => OVERLAPS[t] > 0)
            .flatMap((t) =>
              points(c, t).flatMap((p) =>
                lambdas.map((l) => (l * p.gap + p.task - best(c, t)) / leastSum(l, OVERLAPS[t])),
              ),
            ),
        ),
      ),
      0.8,
    ),
    atMost(
      "text R5",
      "same labels: λ G_s over f_f(θ_s) − min f_f, every λ and task",
      worst((c) =>
        Math.max(
          ...tasks.flatMap((t) =>
            lambdas.map(
              (l) =>
                (l * c.sweeps[t].caseI.same[at(c, l)].gap) / (c.sweeps[t].frozen.task - best(c, t)),
            ),
          ),
        ),
      ),
      1,
    ),
  ];
}

/** Beside what Case I comes to, what R1 and R2 expect of a model that can be anything. */
function expected(all: readonly Claims[]) {
  const { lambdas } = all[0];
  const tasks = TASKS.filter((t) => all[0].sweeps[t]);
  return {
    title: "text, same labels: safety gap measured, and ln(1 + ov/λ) of R2",
    columns: ["task", ...lambdas.map((l) => `λ = ${l}`)],
    rows: tasks.map((t) => [
      t,
      ...lambdas.map(
        (l, i) =>
          `${spread(all.map((c) => c.sweeps[t].caseI.same[i].gap))}, ${Math.log(1 + OVERLAPS[t] / l).toFixed(2)}`,
      ),
    ]),
  };
}

/** A transformer that has read speeches is aligned on mails; both cases by LoRA. */
export function textExperiments(ctx: StudyContext): Experiment[] {
  const { backend: be, size, signal } = ctx;
  if (size === "quick") return [];
  const full = size === "full";
  const seeds = Array.from({ length: full ? ctx.seeds : 1 }, (_, k) => ctx.seed + k);
  const lambdas = full ? [0.1, 0.3, 1, 3, 10] : [0.1, 1, 10];
  const radii = full ? [0.3, 0.5, 1, 2, 4] : [0.5, 1, 2];
  const tasks = full ? TASKS : (["high", "low"] as const);
  let read: Corpus | undefined;
  const start = oncePerSeed((seed) => {
    read ??= corpusOf();
    return alignedReader(ctx, read, seed);
  });
  const settings = async (seed: number) => {
    const { corpus, world, theta } = await start(seed);
    const frozen = slab(be, transformer(ANSWERER).params);
    frozen.load(theta);
    const model = loraTransformer(ANSWERER, LORA, frozen);
    using own = slab(be, model.params, startOfLora(ANSWERER, LORA, seed));
    const dispose = () => frozen.dispose();
    return { corpus, world, model, theta: await own.save(), [Symbol.dispose]: dispose };
  };
  const config = { lr: 1e-3, batch: 32 };
  const steps = 300;
  const sweep = async (seed: number, task: TaskName) => {
    using s = await settings(seed);
    const { train, heldOut } = s.world.tasks[task];
    const set = {
      be,
      model: s.model,
      config,
      steps,
      seed,
      signal,
      lambdas,
      radii,
    };
    return await sweepOf(set, s.theta, {
      safety: s.world.safety.heldOut,
      alignment: s.world.safety.train,
      proxies: s.world.proxies,
      task: train,
      heldOut,
    });
  };
  const bySimilarity = async (seed: number): Promise<Similar> => {
    using s = await settings(seed);
    const { safety, tasks, unlabelled } = s.world;
    const loss = (theta: Float32Array, of: Examples) => evaluate(be, s.model, theta, of);
    const safe = await loss(s.theta, safety.heldOut);
    const found: { tv: number; gap: number; task: number }[] = [];
    for (const similarity of GRID) {
      const proxy = mailProxyOf(s.corpus, unlabelled, similarity, seed);
      const { theta } = await train(
        be,
        s.model,
        { ...defaults, ...config, lambda: FIXED },
        s.theta,
        { task: tasks.half.train, proxy: proxy.examples },
        { steps, seed, signal },
      );
      const gap = (await loss(theta, safety.heldOut)) - safe;
      found.push({ tv: proxy.tv, gap, task: await loss(theta, tasks.half.heldOut) });
    }
    return found;
  };
  const cells = Object.fromEntries(
    seeds.flatMap((seed): [string, () => Promise<unknown>][] => [
      [`seed ${seed}, aligned`, async () => (await start(seed)).known],
      ...tasks.map((task): [string, () => Promise<unknown>] => [
        `seed ${seed}, ${task}`,
        () => sweep(seed, task),
      ]),
      ...(full
        ? [
            [`seed ${seed}, similarity`, () => bySimilarity(seed)] as [
              string,
              () => Promise<unknown>,
            ],
          ]
        : []),
    ]),
  );
  return [
    experiment("text", cells, (results) => {
      const all = claimsBySeed(results, seeds, tasks, lambdas, radii);
      const found = seeds.map((seed) => results.get(`seed ${seed}, aligned`) as Known);
      const similar = full
        ? seeds.map((seed) => results.get(`seed ${seed}, similarity`) as Similar)
        : [];
      const { charts, tables } = pictures("text", all, "labels");
      const of = (f: (k: Known) => number) => spread(found.map(f));
      return {
        checks: textClaims(all, found, similar),
        metrics: { text: { sweeps: all.map((c) => c.sweeps), aligned: found, similar } },
        charts,
        tables: [
          {
            title: "text, θ_s on held-out mails: a loss on alignment data, not a rate of refusals",
            columns: ["", "measured"],
            rows: [
              ["loss of a token of speeches, pre-trained", of((k) => k.language)],
              ["that of frequencies of tokens", of((k) => k.frequencies)],
              ["f_s(θ_s)", of((k) => k.loss)],
              ["share answered rightly", of((k) => k.accuracy)],
              ["share of the more frequent answer", of((k) => k.majority)],
              ...PROXIES.flatMap((name) => [
                [`TV(D_s, D_ŝ), ${name} labels`, of((k) => k.proxies[name].tv)],
                [`f_ŝ(θ_s) − f_s(θ_s), ${name} labels`, of((k) => k.proxies[name].gap)],
              ]),
              ...TASKS.map((t) => [
                `ov of ${t} overlap (${OVERLAPS[t]}), estimated from texts`,
                of((k) => k.overlaps[t]),
              ]),
            ],
          },
          ...tables,
          expected(all),
          ...(full
            ? [
                {
                  title: `text, half overlap, λ = ${FIXED}, by similarity: TV, safety gap / loss of the task`,
                  columns: ["", ...GRID.map((c) => `c = ${c}`)],
                  rows: [
                    ["TV(D_s, D_ŝ)", ...GRID.map((_, i) => spread(similar.map((s) => s[i].tv)))],
                    [
                      "gap / task",
                      ...GRID.map(
                        (_, i) =>
                          `${spread(similar.map((s) => s[i].gap))} / ${spread(similar.map((s) => s[i].task))}`,
                      ),
                    ],
                  ],
                },
              ]
            : []),
        ],
      };
    }),
  ];
}
