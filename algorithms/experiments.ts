import type { Chart, Check, StudyContext, StudyResult, Table } from "../core/study.ts";

/** What an experiment has to say: a share of the study's result. */
export interface Findings {
  readonly checks?: readonly Check[];
  readonly metrics?: Readonly<Record<string, unknown>>;
  readonly charts?: readonly Chart[];
  readonly tables?: readonly Table[];
}

/** Measurements that can be resumed one by one, and what follows from them. */
export interface Experiment {
  readonly label: string;
  readonly keys: readonly string[];
  readonly measure: (key: string) => Promise<unknown>;
  readonly conclude: (results: ReadonlyMap<string, unknown>) => Findings;
}

/** `cells` maps the key of each measurement to what makes it; results are plain JSON. */
export function experiment<T>(
  label: string,
  cells: Readonly<Record<string, () => Promise<T>>>,
  conclude: (results: ReadonlyMap<string, T>) => Findings,
): Experiment {
  return {
    label,
    keys: Object.keys(cells),
    measure: (key) => cells[key](),
    conclude: conclude as Experiment["conclude"],
  };
}

/** Runs the experiments in order, with progress and checkpoints, and joins what they say. */
export async function runExperiments(
  ctx: StudyContext,
  experiments: readonly Experiment[],
): Promise<StudyResult> {
  const total = experiments.reduce((n, e) => n + e.keys.length, 0);
  const checks: Check[] = [];
  const charts: Chart[] = [];
  const tables: Table[] = [];
  const metrics: Record<string, unknown> = {};
  let done = 0;
  for (const { label, keys, measure, conclude } of experiments) {
    const results = new Map<string, unknown>();
    for (const key of keys) {
      ctx.signal.throwIfAborted();
      ctx.progress(label, done, total);
      results.set(key, await ctx.cell(`${label}: ${key}`, () => measure(key)));
      done++;
    }
    const found = conclude(results);
    checks.push(...(found.checks ?? []));
    charts.push(...(found.charts ?? []));
    tables.push(...(found.tables ?? []));
    Object.assign(metrics, found.metrics);
  }
  ctx.progress("done", total, total);
  return { checks, metrics, charts, tables };
}

/** A limit that was itself measured is shown to four digits. */
const short = (limit: number): number => Number(limit.toPrecision(4));

/** A claim `value <= limit`; NaN fails. */
export const atMost = (name: string, claim: string, value: number, limit: number): Check => ({
  name,
  claim,
  value,
  bound: `<= ${short(limit)}`,
  pass: value <= limit,
});

/** A claim `value >= limit`; NaN fails. */
export const atLeast = (name: string, claim: string, value: number, limit: number): Check => ({
  name,
  claim,
  value,
  bound: `>= ${short(limit)}`,
  pass: value >= limit,
});

export const meanOf = (v: ArrayLike<number>): number =>
  Array.from(v).reduce((s, x) => s + x, 0) / v.length;

/** Mean and standard deviation over seeds, of one seed its value. */
export const spread = (v: readonly number[], digits = 2): string => {
  const m = meanOf(v);
  const sd = Math.sqrt(meanOf(v.map((e) => (e - m) ** 2)));
  return v.length > 1 ? `${m.toFixed(digits)} ± ${sd.toFixed(digits)}` : m.toFixed(digits);
};

/** What several cells of a seed start from, made once. */
export function oncePerSeed<T>(make: (seed: number) => Promise<T>): (seed: number) => Promise<T> {
  const made = new Map<number, Promise<T>>();
  return (seed) => {
    const found = made.get(seed) ?? make(seed);
    made.set(seed, found);
    return found;
  };
}
