import { slab } from "../../../core/index.ts";
import type { StudyContext } from "../../../core/study.ts";
import { atMost, type Experiment, experiment, oncePerSeed } from "../../experiments.ts";
import { defaults } from "../config.ts";
import type { Examples } from "../examples.ts";
import { Stream } from "../random.ts";
import { type Sweep, sweepOf } from "../sweep.ts";
import {
  ANSWER,
  answered,
  PROMPT,
  TASKS,
  type TaskName,
  type Teacher,
  VOCABULARY,
  worldOf,
} from "../teachers.ts";
import { train } from "../train.ts";
import {
  type Lora,
  loraTransformer,
  type Shapes,
  startOfLora,
  startOfTransformer,
  transformer,
} from "../transformer.ts";
import { claimsBySeed, claimsOf, pictures } from "./networks.ts";

const TOKENS = PROMPT + ANSWER - 1;
export const SMALL: Shapes = {
  vocabulary: VOCABULARY,
  tokens: TOKENS,
  width: 32,
  heads: 4,
  groups: 2,
  layers: 2,
  inner: 64,
};
export const LORA: Lora = { rank: 4, alpha: 16 };

/** Prompt and answer as one sequence; only the tokens of the answer count. */
export function sequences({ n, fields: { prompt, answer }, prompts }: Examples): Examples {
  const tokens = new Int32Array(n * TOKENS);
  const next = new Int32Array(n * TOKENS);
  const keep = new Uint8Array(n * TOKENS);
  for (let i = 0; i < n; i++) {
    const all = [
      ...prompt.subarray(i * PROMPT, (i + 1) * PROMPT),
      ...answer.subarray(i * ANSWER, (i + 1) * ANSWER),
    ];
    for (let t = 0; t < TOKENS; t++) {
      tokens[i * TOKENS + t] = all[t];
      next[i * TOKENS + t] = all[t + 1];
      keep[i * TOKENS + t] = Number(t >= PROMPT - 1);
    }
  }
  return { n, fields: { tokens, next }, keep, prompts };
}

/** Sixteen random teachers over all tokens, an example from each in turn. */
export function mixedTasks(seed: number, n: number): Examples {
  const stream = new Stream(seed, 70);
  const teachers: Teacher[] = Array.from({ length: 16 }, () =>
    Array.from({ length: ANSWER }, () => stream.permutation(VOCABULARY)),
  );
  const seen = new Set<string>();
  const parts = Array.from({ length: n }, (_, i) =>
    answered(teachers[i % 16], 0, 1, stream, seen, VOCABULARY),
  );
  const join = (name: "prompt" | "answer") =>
    Int32Array.from(parts.flatMap((p) => [...p.fields[name]]));
  return {
    n,
    fields: { prompt: join("prompt"), answer: join("answer") },
    keep: new Uint8Array(n * ANSWER).fill(1),
    prompts: parts.flatMap((p) => p.prompts),
  };
}

/** Steps of pre-training on many tasks, of alignment, and of fine-tuning: past 500, alignment only learns its noise. */
const STEPS = { pretrain: 2000, align: 500, tune: 600, lr: 1e-2 } as const;
const QUICK_STEPS = { pretrain: 500, align: 500, tune: 200, lr: 2e-2 } as const;

/** Pre-trained, then aligned: all parameters. */
async function alignedTransformer(
  { backend: be, signal, size }: StudyContext,
  seed: number,
  safety: Examples,
): Promise<Float32Array> {
  const model = transformer(SMALL);
  const config = { ...defaults, strategy: "plain", lr: 3e-3 } as const;
  const o = { seed, signal };
  const steps = size === "quick" ? QUICK_STEPS : STEPS;
  const pretrained = await train(
    be,
    model,
    config,
    startOfTransformer(SMALL, seed),
    { task: sequences(mixedTasks(seed, 8192)) },
    { ...o, steps: steps.pretrain },
  );
  return (
    await train(be, model, config, pretrained.theta, { task: safety }, { ...o, steps: steps.align })
  ).theta;
}

/** S4: the same data as sequences, a transformer, both cases on LoRA alone. */
export function loraExperiments(ctx: StudyContext): Experiment[] {
  const { backend: be, size, signal } = ctx;
  const quick = size === "quick";
  const { tune, lr } = quick ? QUICK_STEPS : STEPS;
  const seeds = Array.from({ length: size === "full" ? ctx.seeds : 1 }, (_, k) => ctx.seed + k);
  const lambdas = quick ? [1] : [0.1, 1, 10];
  const radii = quick ? [1, 4] : [1, 2, 4, 8];
  const tasks: readonly TaskName[] = quick ? ["high", "low"] : TASKS;
  const start = oncePerSeed((seed) =>
    alignedTransformer(ctx, seed, sequences(worldOf(seed).safety.train)),
  );
  const cells = Object.fromEntries(
    seeds.flatMap((seed) =>
      tasks.map((task): [string, () => Promise<Sweep>] => [
        `seed ${seed}, ${task}`,
        async () => {
          const world = worldOf(seed);
          using frozen = slab(be, transformer(SMALL).params);
          frozen.load(await start(seed));
          const model = loraTransformer(SMALL, LORA, frozen);
          using own = slab(be, model.params, startOfLora(SMALL, LORA, seed));
          const theta = await own.save();
          const { train, heldOut } = world.tasks[task];
          const data = {
            safety: sequences(world.safety.heldOut),
            alignment: sequences(world.safety.train),
            proxies: { same: sequences(world.proxies.same), other: sequences(world.proxies.other) },
            task: sequences(train),
            heldOut: sequences(heldOut),
          };
          const set = {
            be,
            model,
            config: { lr },
            steps: tune,
            seed,
            signal,
            lambdas,
            radii,
          };
          return await sweepOf(set, theta, data);
        },
      ]),
    ),
  );
  return [
    experiment("LoRA", cells, (results) => {
      const all = claimsBySeed(results, seeds, tasks, lambdas, radii);
      return {
        checks: [
          atMost(
            "S4 aligned",
            "loss of θ_s on held-out D_s (noise floor 0.36)",
            Math.max(...[...results.values()].map((r) => r.safe)),
            0.6,
          ),
          ...claimsOf("S4", all, 0.5),
        ],
        metrics: { lora: all.map((c) => c.sweeps) },
        ...pictures("S4", all),
      };
    }),
  ];
}
