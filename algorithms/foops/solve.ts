import { type Backend, type Counter, capture, scope } from "../../core/index.ts";
import type { Config } from "./config.ts";
import {
  FoopsDiverged,
  FoopsNotFinite,
  type InitOptions,
  init,
  type Seen,
  type State,
  step,
} from "./foops.ts";
import { type Problem, runsOf, squaredDistance } from "./problem.ts";

type Data = Readonly<Record<string, ArrayLike<number>>>;

/** What a look shows, one entry a run; F and π have one entry a run and objective. */
export interface Look {
  readonly t: number;
  readonly F: readonly number[];
  readonly f0: readonly number[];
  readonly v: readonly number[];
  readonly pi: readonly number[];
  /** ‖x − y‖² */
  readonly distance: readonly number[];
}

export interface SolveOptions extends InitOptions {
  readonly steps: number;
  /** α_t, β_t, γ_t as factors on the config's; t counts from 0. Default 1. */
  readonly schedule?: (t: number) => {
    readonly alpha?: number;
    readonly beta?: number;
    readonly gamma?: number;
  };
  /** Data of `Problem.inputs` for step t. */
  readonly batch?: (t: number) => Data;
  /** Steps between two looks; each waits for the device. Default 20. */
  readonly every?: number;
  readonly onLook?: (look: Look, state: State) => void | Promise<void>;
  readonly signal?: AbortSignal | undefined;
  /** Goes on where x runs away, for those who want to see it. */
  readonly allowDivergence?: boolean;
}

/** x has diverged when for as many steps and looks ‖x − y‖ grew, to twice what it was, and v fell. */
const DIVERGED = { steps: 100, looks: 5, growth: 2 };
/** Skipped steps that are one too many. */
const SKIPPED = 3;

const numbers = async (t: { read(): Promise<ArrayLike<number>> }) => Array.from(await t.read());

/** ‖x − y‖² of each run. */
async function distanceOf({ problem, x, y }: State): Promise<number[]> {
  const d = scope(() => squaredDistance(x.tensors, y.tensors, runsOf(problem)));
  const values = await numbers(d);
  d.dispose();
  return values;
}

/**
 * Throws where the numbers have gone: FoopsNotFinite after three skipped steps.
 * `Look` is of the step before, so a caller that steps by hand asks now and then.
 */
export async function assertFinite({ skipped, config }: State, t: number): Promise<void> {
  const [x] = await skipped.x.read();
  const [y] = await skipped.y.read();
  if (x >= SKIPPED || y >= SKIPPED * config.innerSteps) {
    throw new FoopsNotFinite(
      "FoopsNotFinite",
      `foops: objectives were NaN or infinite in ${x} steps of x and ${y} of y by step ${t}; they were skipped`,
    );
  }
}

/** What a solved problem leaves: the last look, and x by name. */
export interface Solution {
  readonly look: Look;
  readonly x: Readonly<Record<string, Float32Array | Float64Array>>;
}

/**
 * Algorithm 1 from `start`: one captured step, replayed.
 * @throws FoopsNotFinite, FoopsDiverged
 */
export async function solve(
  be: Backend,
  problem: Problem,
  config: Config,
  start: Data,
  o: SolveOptions,
): Promise<Solution> {
  using state = init(be, problem, config, start, o);
  const { alpha, beta, gamma } = config;
  const scalars: Record<string, number | Counter> = { alpha, beta, gamma, t: { start: 1 } };
  using captured = await capture(
    be,
    ({ in: batch, scalar: { alpha, beta, gamma, t } }) =>
      step(state, batch, { alpha, beta, gamma, t }),
    { ...(problem.inputs ? { inputs: problem.inputs } : {}), scalars },
  );
  const every = o.every ?? 20;
  let look: Look | undefined;
  let away: Away[] = [];
  for (let t = 0; t < o.steps; t++) {
    const by = o.schedule?.(t);
    captured.run(
      o.batch?.(t),
      by && {
        alpha: alpha * (by.alpha ?? 1),
        beta: beta * (by.beta ?? 1),
        gamma: gamma * (by.gamma ?? 1),
      },
    );
    if ((t + 1) % every && t + 1 < o.steps) continue;
    o.signal?.throwIfAborted();
    const next = await lookAt(captured.out, state, t + 1);
    await assertFinite(state, t + 1);
    away = runningAway(away, look, next);
    look = next;
    const lost = away.find(
      (a, r) =>
        a.looks >= DIVERGED.looks &&
        a.looks * every >= DIVERGED.steps &&
        next.distance[r] >= DIVERGED.growth ** 2 * a.from,
    );
    if (lost && config.l > 0 && !o.allowDivergence) {
      throw new FoopsDiverged(
        "FoopsDiverged",
        `foops: ‖x − y‖ grew and v fell for ${lost.looks * every} steps up to ${t + 1}; ‖x − y‖² was ` +
          `${lost.from.toPrecision(3)}. l = ${config.l} pushes x away from y*: take l = 0 or a smaller one`,
      );
    }
    await o.onLook?.(look, state);
  }
  const x: Record<string, Float32Array> = {};
  for (const [name, p] of Object.entries(state.x.tensors))
    x[name] = (await p.read()) as Float32Array;
  return { look: look as Look, x };
}

async function lookAt({ F, f0, v, pi }: Seen, state: State, t: number): Promise<Look> {
  return {
    t,
    F: await numbers(F),
    f0: await numbers(f0),
    v: await numbers(v),
    pi: await numbers(pi),
    distance: await distanceOf(state),
  };
}

/** Looks in a row at which a run's ‖x − y‖ had grown and its v fallen, and ‖x − y‖² before them. */
interface Away {
  readonly looks: number;
  readonly from: number;
}

function runningAway(away: readonly Away[], before: Look | undefined, now: Look): Away[] {
  return now.distance.map((d, r) => {
    const grows = before && d > before.distance[r] && now.v[r] < before.v[r];
    if (!grows) return { looks: 0, from: d };
    const { looks, from } = away[r];
    return { looks: looks + 1, from: looks ? from : before.distance[r] };
  });
}
