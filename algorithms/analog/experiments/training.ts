import type { Chart, StudyContext, Table } from "../../../core/study.ts";
import { mnistDigits, type Split } from "../../digits.ts";
import { atLeast, atMost, type Experiment, experiment, meanOf } from "../../experiments.ts";
import { type Config, defaults, type Method, type Response } from "../config.ts";
import { segmentDigits } from "../segments.ts";
import { type Curve, train } from "../train.ts";

// Classification: E2–E5 of the paper page on seven-segment digits, and the tables of the paper on MNIST.

const methodName: Record<Method, string> = {
  digital: "digital SGD",
  "analog-sgd": "Analog SGD",
  ttv1: "Tiki-Taka v1",
  ttv2: "Tiki-Taka v2",
  residual: "Residual Learning",
  "residual-v2": "Residual Learning v2",
  "multi-tile": "multi-tile",
  "mixed-precision": "mixed precision",
};

/** Accuracy of a run: the mean of its last epochs, for the noise of one is larger than a claim's margin. */
const settled = (c: Curve): number => meanOf(c.accuracy.slice(-Math.ceil(c.accuracy.length / 2)));

const points = (v: number): string => `${(100 * v).toFixed(1)}`;
const seedsOf = ({ seed, seeds }: StudyContext): number[] =>
  Array.from({ length: seeds }, (_, k) => seed + k);

/** Runs every (seed, name) of a family of configurations on the split of the seed. */
function trainings(
  ctx: StudyContext,
  label: string,
  family: Readonly<Record<string, Partial<Config>>>,
  split: (seed: number) => Split,
  epochs: number,
  conclude: Parameters<typeof experiment<Curve>>[2],
): Experiment {
  const data = new Map<number, Split>();
  const cells = seedsOf(ctx).flatMap((seed) =>
    Object.entries(family).map(([name, config]): [string, () => Promise<Curve>] => [
      keyOf(seed, name),
      () => {
        const known = data.get(seed) ?? split(seed);
        data.set(seed, known);
        const signal = ctx.signal;
        return train(ctx.backend, { ...defaults, ...config, seed }, known, { epochs, signal });
      },
    ]),
  );
  return experiment(label, Object.fromEntries(cells), conclude);
}

const keyOf = (seed: number, name: string) => `seed ${seed}, ${name}`;

/** accuracy(name, seed) of the results of `trainings`. */
const reader =
  (r: ReadonlyMap<string, Curve>) =>
  (name: string, seed: number): number =>
    settled(r.get(keyOf(seed, name)) as Curve);

const curves = (
  r: ReadonlyMap<string, Curve>,
  title: string,
  names: Readonly<Record<string, string>>,
  seed: number,
): Chart => ({
  title,
  x: "epoch",
  y: "test accuracy, %",
  series: Object.entries(names).map(([key, name]) => ({
    name,
    points: (r.get(keyOf(seed, key)) as Curve).accuracy.map((v, k): [number, number] => [
      k + 1,
      100 * v,
    ]),
  })),
});

const power = (g: number, tau = 0.6): Response => ({ model: "power", tau, g, c: 0 });
const exponential = (g: number, tau = 0.6): Response => ({ model: "exponential", tau, g, c: 0 });

/** E2: response asymmetry. */
function asymmetry(ctx: StudyContext, split: (seed: number) => Split): Experiment {
  const responses = {
    "power 0.5": power(0.5),
    "power 1": power(1),
    "power 2": power(2),
    "exponential 2": exponential(2),
  };
  const analog: Method[] = ["analog-sgd", "ttv1", "residual"];
  if (ctx.size === "full") analog.push("ttv2", "residual-v2");
  const family: Record<string, Partial<Config>> = { digital: { method: "digital" } };
  for (const [name, response] of Object.entries(responses))
    for (const method of analog) family[`${method}, ${name}`] = { method, response };
  return trainings(ctx, "Asymmetry", family, split, 6, (r) => {
    const accuracy = reader(r);
    const seeds = seedsOf(ctx);
    const worst = (f: (seed: number) => number, pick: (...v: number[]) => number = Math.max) =>
      pick(...seeds.map(f));
    const names = Object.keys(responses);
    const loss = (key: string) => (seed: number) =>
      100 * (accuracy("digital", seed) - accuracy(key, seed));
    const sgd = (g: string, seed: number) => accuracy(`analog-sgd, power ${g}`, seed);
    const row = (label: string, key: (name: string) => string): (string | number)[] => [
      label,
      ...names.map((n) => points(meanOf(seeds.map((s) => accuracy(key(n), s))))),
    ];
    return {
      checks: [
        atLeast(
          "E2 order",
          "Analog SGD loses accuracy as the exponent g grows 0.5, 1, 2 (smallest drop, points)",
          worst(
            (s) => 100 * Math.min(sgd("0.5", s) - sgd("1", s), sgd("1", s) - sgd("2", s)),
            Math.min,
          ),
          0,
        ),
        atLeast(
          "E2 Analog SGD",
          "at g = 2 it is 15 points or more below digital SGD (points)",
          worst(loss("analog-sgd, power 2"), Math.min),
          15,
        ),
        atMost(
          "E2 Residual Learning",
          "Residual Learning is within 4 points of digital SGD for every response (points lost)",
          Math.max(...names.map((n) => worst(loss(`residual, ${n}`)))),
          4,
        ),
        atMost(
          "E2 γ = 0",
          "and within 5 points with γ = 0, Tiki-Taka v1 (points lost)",
          Math.max(...names.map((n) => worst(loss(`ttv1, ${n}`)))),
          5,
        ),
      ],
      tables: [
        {
          title: "Seven-segment digits, 144-48-10, test accuracy in % by response, τ = 0.6",
          columns: ["method", ...names],
          rows: [
            row(methodName.digital, () => "digital"),
            ...analog.map((m) => row(methodName[m], (n) => `${m}, ${n}`)),
          ],
        },
      ],
    };
  });
}

/** A buffer that averages 50 batches: with coarse pulses 0.1 is too short, see the README. */
const BUFFER_RATE = 0.02;

/** E3: number of states. */
function granularity(ctx: StudyContext, split: (seed: number) => Split): Experiment {
  const counts = ctx.size === "quick" ? [16, 64, 1200] : [16, 64, 256, 1200];
  const kinds: Method[] = ["analog-sgd", "ttv1", "residual-v2"];
  if (ctx.size !== "quick") kinds.push("mixed-precision");
  if (ctx.size === "full") kinds.push("residual", "ttv2");
  const family: Record<string, Partial<Config>> = {};
  for (const states of counts)
    for (const method of kinds)
      family[`${method}, ${states}`] = { method, states, mode: "pulse", bufferRate: BUFFER_RATE };
  return trainings(ctx, "States", family, split, 4, (r) => {
    const accuracy = reader(r);
    const seeds = seedsOf(ctx);
    // Largest loss of accuracy from one number of states to the next larger one.
    const drop = (method: Method) =>
      Math.max(
        ...seeds.flatMap((s) =>
          counts
            .slice(1)
            .map(
              (n, k) =>
                100 * (accuracy(`${method}, ${counts[k]}`, s) - accuracy(`${method}, ${n}`, s)),
            ),
        ),
      );
    return {
      checks: [
        atMost(
          "E3 Analog SGD",
          "more states are no worse (largest drop, points)",
          drop("analog-sgd"),
          2,
        ),
        atMost(
          "E3 Tiki-Taka",
          "nor are they for Tiki-Taka v1 (largest drop, points)",
          drop("ttv1"),
          2,
        ),
        atMost(
          "E3 few states",
          "at 16 and 64 states Residual Learning v2 is no worse than Tiki-Taka v1 (points below)",
          Math.max(
            ...[16, 64].flatMap((n) =>
              seeds.map(
                (s) => 100 * (accuracy(`ttv1, ${n}`, s) - accuracy(`residual-v2, ${n}`, s)),
              ),
            ),
          ),
          1,
        ),
      ],
      tables: [
        {
          title:
            "Seven-segment digits by number of states, pulses, power response g = 2, accuracy in %",
          columns: ["method", ...counts.map(String)],
          rows: kinds.map((m) => [
            methodName[m],
            ...counts.map((n) => points(meanOf(seeds.map((s) => accuracy(`${m}, ${n}`, s))))),
          ]),
        },
      ],
    };
  });
}

/** E4: cycle-to-cycle noise. */
function cycleNoise(ctx: StudyContext, split: (seed: number) => Split): Experiment {
  const sigmas = ctx.size === "full" ? [0.1, 0.3, 0.6, 0.9, 1.2] : [0.1, 0.6, 1.2];
  const kinds: Method[] = ctx.size === "quick" ? ["ttv1"] : ["ttv1", "analog-sgd", "residual"];
  const family: Record<string, Partial<Config>> = {};
  for (const sigma of sigmas)
    for (const method of kinds) family[`${method}, ${sigma}`] = { method, sigma, mode: "pulse" };
  return trainings(ctx, "Noise", family, split, 4, (r) => {
    const accuracy = reader(r);
    const seeds = seedsOf(ctx);
    const spread = (seed: number) => {
      const v = sigmas.map((n) => 100 * accuracy(`ttv1, ${n}`, seed));
      return Math.max(...v) - Math.min(...v);
    };
    return {
      checks: [
        atMost(
          "E4 noise",
          "cycle-to-cycle noise of 10 to 120 % moves Tiki-Taka by 3 points or less (Table 7; spread, points)",
          Math.max(...seeds.map(spread)),
          3,
        ),
      ],
      tables: [
        {
          title: "Seven-segment digits by cycle-to-cycle noise σ_c, 1200 states, accuracy in %",
          columns: ["method", ...sigmas.map(String)],
          rows: kinds.map((m) => [
            methodName[m],
            ...sigmas.map((n) => points(meanOf(seeds.map((s) => accuracy(`${m}, ${n}`, s))))),
          ]),
        },
      ],
    };
  });
}

/** E5: devices of four states, one residual array against a cascade. */
function fewStates(ctx: StudyContext, split: (seed: number) => Split): Experiment {
  const four: Partial<Config> = {
    mode: "pulse",
    states: 4,
    response: { model: "linear", tau: 0.6, g: 1, c: 0 },
  };
  const cascade = (tiles: number): Partial<Config> => ({
    ...four,
    method: "multi-tile",
    tiles,
    fastLr: 1,
    transferLr: 0.03,
    transferEvery: 2,
    everyGrowth: 5,
  });
  const family: Record<string, Partial<Config>> = {
    [methodName.ttv1]: { ...four, method: "ttv1" },
    "4 tiles": cascade(4),
    ...(ctx.size === "quick"
      ? {}
      : {
          "2 tiles": cascade(2),
          "3 tiles": cascade(3),
          [methodName["analog-sgd"]]: { ...four, method: "analog-sgd" },
          [methodName.ttv2]: { ...four, method: "ttv2" },
          [methodName["mixed-precision"]]: { ...four, method: "mixed-precision" },
        }),
  };
  return trainings(ctx, "Four states", family, split, 6, (r) => {
    const accuracy = reader(r);
    const seeds = seedsOf(ctx);
    return {
      checks: [
        atLeast(
          "E5 four states",
          "four tiles of four states beat Tiki-Taka v1 by 20 points or more (2510.02516; points)",
          Math.min(
            ...seeds.map((s) => 100 * (accuracy("4 tiles", s) - accuracy(methodName.ttv1, s))),
          ),
          20,
        ),
      ],
      tables: [
        {
          title: "Seven-segment digits on soft-bounds devices of four states, accuracy in %",
          columns: ["method", "accuracy"],
          rows: Object.keys(family).map((n) => [
            n,
            points(meanOf(seeds.map((s) => accuracy(n, s)))),
          ]),
        },
      ],
    };
  });
}

export function segmentExperiments(ctx: StudyContext): Experiment[] {
  const split = (seed: number) => segmentDigits(seed);
  // Pulses cost more than the mean field: one seed, unless there is time for all.
  const pulsed = ctx.size === "full" ? ctx : { ...ctx, seeds: 1 };
  return [
    asymmetry(ctx, split),
    ...[granularity, cycleNoise, fewStates].map((f) => f(pulsed, split)),
  ];
}

/** The table of the paper on real digits: one network over responses. */
function digitTable(
  ctx: StudyContext,
  o: {
    label: string;
    layers: Config["layers"];
    epochs: number;
    split: (seed: number) => Split;
    responses: Readonly<Record<string, Response>>;
    kinds: readonly Method[];
    config?: Partial<Config>;
    /** The response at which the claim is made, and what Analog SGD must lose there, in points. */
    strong: string;
    loses: number;
    within: number;
  },
): Experiment {
  const { responses, kinds, strong } = o;
  const family: Record<string, Partial<Config>> = {
    digital: { ...o.config, layers: o.layers, method: "digital" },
  };
  for (const [name, response] of Object.entries(responses))
    for (const method of kinds)
      family[`${method}, ${name}`] = { ...o.config, layers: o.layers, method, response };
  return trainings(ctx, o.label, family, o.split, o.epochs, (r) => {
    const accuracy = reader(r);
    const seeds = seedsOf(ctx);
    const lost = (method: Method) =>
      seeds.map((s) => 100 * (accuracy("digital", s) - accuracy(`${method}, ${strong}`, s)));
    const names = Object.keys(responses);
    const table: Table = {
      title: `MNIST digits, ${o.label}, test accuracy in % by response`,
      columns: ["method", ...names],
      rows: [
        [
          methodName.digital,
          ...names.map(() => points(meanOf(seeds.map((s) => accuracy("digital", s))))),
        ],
        ...kinds.map((m) => [
          methodName[m],
          ...names.map((n) => points(meanOf(seeds.map((s) => accuracy(`${m}, ${n}`, s))))),
        ]),
      ],
    };
    const shown = Object.fromEntries([
      ["digital", methodName.digital],
      ...kinds.map((m) => [`${m}, ${strong}`, methodName[m]]),
    ]);
    return {
      checks: [
        atLeast(
          `${o.label}: Analog SGD`,
          `response ${strong}: Analog SGD loses ${o.loses} points or more (Tables 1 and 8; least of the seeds)`,
          Math.min(...lost("analog-sgd")),
          o.loses,
        ),
        atMost(
          `${o.label}: Residual Learning`,
          `response ${strong}: Residual Learning loses ${o.within} points or less (most of the seeds)`,
          Math.max(...lost("residual")),
          o.within,
        ),
      ],
      metrics: { [o.label]: Object.fromEntries(r) },
      charts: [curves(r, `MNIST digits, ${o.label}, response ${strong}`, shown, ctx.seed)],
      tables: [table],
    };
  });
}

export function digitExperiments(ctx: StudyContext): Experiment[] {
  const { size } = ctx;
  const kinds: Method[] = ["analog-sgd", "ttv1", "ttv2", "residual"];
  if (size !== "quick") kinds.push("residual-v2");
  const strong = "power 2, τ 0.3";
  const responses: Record<string, Response> =
    size === "quick"
      ? { [strong]: power(2, 0.3) }
      : size === "default"
        ? { "power 2, τ 0.6": power(2), [strong]: power(2, 0.3) }
        : {
            ...Object.fromEntries(
              [power, exponential].flatMap((model) =>
                [0.5, 1, 2].flatMap((g) =>
                  [0.6, 0.7, 0.8].map((tau) => [`${model.name} ${g}, τ ${tau}`, model(g, tau)]),
                ),
              ),
            ),
            [strong]: power(2, 0.3),
          };
  const [train, test] = size === "quick" ? [2000, 1000] : [8000, 2000];
  const fcn: Config["layers"] = size === "full" ? [784, 256, 128, 10] : [784, 64, 10];
  const cnn: Config["layers"] =
    size === "full"
      ? [784, { conv: 5, channels: 16 }, { conv: 5, channels: 32 }, 128, 10]
      : [784, { conv: 5, channels: 8 }, { conv: 5, channels: 16 }, 32, 10];
  const cnnTrain = size === "full" ? 8000 : 2000;
  return [
    digitTable(ctx, {
      label: `FCN ${fcn.join("-")}`,
      layers: fcn,
      epochs: size === "full" ? 30 : 3,
      split: (seed) => mnistDigits(seed, train, test),
      responses,
      kinds,
      strong,
      loses: 10,
      within: 4,
    }),
    digitTable(ctx, {
      label: "CNN",
      layers: cnn,
      epochs: size === "full" ? 10 : 4,
      split: (seed) => mnistDigits(seed, cnnTrain, 1000),
      responses: { [strong]: responses[strong] },
      kinds: size === "full" ? kinds : ["analog-sgd", "residual"],
      strong,
      loses: 10,
      within: 4,
    }),
  ];
}
