import type { Backend } from "../../core/index.ts";
import { fisherDiagonal, interpolated, rules, trainByRule } from "./baselines.ts";
import { type Config, defaults } from "./config.ts";
import { assertHeldOut, type Examples } from "./examples.ts";
import { distance } from "./regression.ts";
import type { Model } from "./tradeoff.ts";
import { evaluate, type Tuned, train } from "./train.ts";

// One task under every strategy, on grids of λ and ε: the driver of §2.4, of S3, of S4 and of the study on text.

/** The safety gap and the loss of the task, both on held-out data, and ‖θ − θ_s‖. */
export interface Point {
  readonly gap: number;
  readonly task: number;
  readonly distance: number;
}

export interface Sweep {
  /** f_s(θ_s) on held-out data. */
  readonly safe: number;
  readonly plain: Point;
  /** By proxy, then by λ in the order of the grid. */
  readonly caseI: Readonly<Record<string, Point[]>>;
  /** By ε in the order of the grid. */
  readonly caseII: Point[];
  readonly frozen: Point;
  readonly baselines: Readonly<Record<string, Point>>;
}

export interface Setting {
  readonly be: Backend;
  readonly model: Model;
  readonly config?: Partial<Config>;
  /** Of each run. */
  readonly steps: number;
  readonly seed: number;
  readonly signal?: AbortSignal | undefined;
  /** λ of Case I. */
  readonly lambdas: readonly number[];
  /** ε of Case II. */
  readonly radii: readonly number[];
  /** Whether `Sweep.baselines` is filled. */
  readonly baselines?: boolean;
}

export interface TaskData {
  /** Held-out D_s. */
  readonly safety: Examples;
  /** Training data of D_s, which EWC's Fisher information is of. */
  readonly alignment: Examples;
  /** D_ŝ by name; the first is the one that baselines see. */
  readonly proxies: Readonly<Record<string, Examples>>;
  readonly task: Examples;
  readonly heldOut: Examples;
}

/**
 * Fine-tunes θ_s (`aligned`) on a task under both cases.
 * @throws PromptOverlap where a prompt is both trained on and judged on; EmptyLoss for data without tokens
 */
export async function sweepOf(set: Setting, aligned: Float32Array, data: TaskData): Promise<Sweep> {
  const { be, model, steps, seed, signal, lambdas, radii } = set;
  const config = (c: Partial<Config>): Config => ({ ...defaults, ...set.config, ...c });
  for (const train of [data.alignment, ...Object.values(data.proxies)])
    assertHeldOut("safety", train, data.safety);
  assertHeldOut("task", data.task, data.heldOut);
  const safe = await evaluate(be, model, aligned, data.safety);
  const judged = async ({ theta, distance }: Tuned): Promise<Point> => ({
    gap: (await evaluate(be, model, theta, data.safety)) - safe,
    task: await evaluate(be, model, theta, data.heldOut),
    distance,
  });
  const far = (theta: Float32Array): Tuned => ({
    theta,
    distance: distance(theta, aligned),
  });
  const tuned = (c: Partial<Config>, proxy?: Examples, more = {}) =>
    train(be, model, config(c), aligned, proxy ? { task: data.task, proxy } : data, {
      steps,
      seed,
      signal,
      warn: () => {},
      ...more,
    });
  const free = await tuned({ strategy: "plain" });
  const caseI: Record<string, Point[]> = {};
  for (const [name, proxy] of Object.entries(data.proxies)) {
    caseI[name] = [];
    for (const lambda of lambdas)
      caseI[name].push(await judged(await tuned({ strategy: "loss", lambda }, proxy)));
  }
  const caseII: Point[] = [];
  for (const eps of radii) caseII.push(await judged(await tuned({ strategy: "ball", eps })));
  const baselines: Record<string, Point> = {};
  if (set.baselines) {
    const [proxy] = Object.values(data.proxies);
    for (const eps of [2, 4, 8]) {
      const sgd = { strategy: "ball", eps, optimiser: "sgd", lr: 0.1 } as const;
      baselines[`Case II by SGD, ε = ${eps}`] = await judged(await tuned(sgd));
    }
    for (const rho of [10, 100])
      baselines[`L2-SP, ρ = ${rho}`] = await judged(await tuned({ strategy: "proximal", rho }));
    const fisher = await fisherDiagonal(be, model, config({}), aligned, data.alignment);
    for (const rho of [0.01, 0.1])
      baselines[`EWC, ρ = ${rho}`] = await judged(
        await tuned({ strategy: "ewc", rho }, undefined, { fisher }),
      );
    const last = Object.keys(model.params).slice(-2);
    baselines["last layer only"] = await judged(
      await tuned({ strategy: "masked" }, undefined, {
        trainable: (name: string) => last.includes(name),
      }),
    );
    for (const c of [0.25, 0.5, 0.75])
      baselines[`interpolation, c = ${c}`] = await judged(
        far(interpolated(aligned, free.theta, c)),
      );
    const pair = { task: data.task, proxy };
    const o = { steps, seed, signal };
    for (const rule of rules)
      baselines[rule] = await judged(
        far(await trainByRule(be, model, config({}), rule, aligned, pair, o)),
      );
  }
  return {
    safe,
    plain: await judged(free),
    caseI,
    caseII,
    frozen: { gap: 0, task: await evaluate(be, model, aligned, data.heldOut), distance: 0 },
    baselines,
  };
}

/** y at x on a polyline through points, whose x need not be sorted; clamped at its ends. */
export function interpolate(points: readonly (readonly [number, number])[], x: number): number {
  const sorted = [...points].sort((a, b) => a[0] - b[0]);
  const after = sorted.findIndex(([at]) => at >= x);
  if (after <= 0) return sorted[after < 0 ? sorted.length - 1 : 0][1];
  const [[x0, y0], [x1, y1]] = [sorted[after - 1], sorted[after]];
  return y0 + ((x - x0) / (x1 - x0)) * (y1 - y0);
}
