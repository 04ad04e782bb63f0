import type { Backend } from "../core/backend.ts";
import type { Suite } from "../core/contract.ts";
import { TilegradError } from "../core/errors.ts";
import { measureRoof, type Roof } from "./roof.ts";
import { type BenchRow, type Setting, toRow } from "./rows.ts";
import { paperPoints, randomPoints, seriesPoints } from "./shapes.ts";
import { casePoint, type Measured, measure, type Point } from "./subject.ts";
import type { TimerOptions } from "./timer.ts";

/** Reports as it goes. */
export interface Watch {
  readonly signal: AbortSignal;
  readonly progress: (label: string, done: number, total: number) => void;
  /** Told about everything that is not measured. */
  readonly skipped: (what: string, why: string) => void;
}

/** How long a run looks at one point. */
export const sampling = (quick: boolean, signal: AbortSignal): TimerOptions =>
  quick
    ? { minSamples: 10, maxSeconds: 0.03, signal }
    : { minSamples: 30, maxSeconds: 0.3, signal };

/** The points of a run: quick is the first bench shape of each suite; without a seed none is random. */
export function pointsOf(suites: readonly Suite[], quick: boolean, seed?: number): Point[] {
  const contracts = suites.flatMap((suite) => {
    const shapes = suite.bench();
    return (quick ? shapes.slice(0, 1) : shapes).map((c) => casePoint(suite, c));
  });
  if (quick) return contracts;
  return [
    ...seriesPoints(suites),
    ...contracts,
    ...paperPoints(suites),
    ...(seed === undefined ? [] : randomPoints(suites, seed, 10)),
  ];
}

/** Points that this backend has, without repeats; the others are told to `skipped`. */
export function possible(points: readonly Point[], backend: Backend, watch: Watch): Point[] {
  const told = new Set<string>();
  return points.filter((point) => {
    const why = point.lacks?.(backend);
    if (why && !told.has(point.kernel)) watch.skipped(point.kernel, why);
    told.add(point.kernel);
    return !why;
  });
}

export interface BenchResult {
  readonly roof: Roof;
  readonly rows: readonly BenchRow[];
  /** The point behind each row. */
  readonly points: readonly Point[];
}

/** Points after which the machine may have changed so much that the roofs are looked at again. */
const LONG_RUN = 10;

/** Measures the roofs of the backend, unless they are known already, and every point against them. */
export async function runBench(
  backend: Backend,
  points: readonly Point[],
  setting: Setting,
  options: TimerOptions,
  watch: Watch,
  known?: Roof,
): Promise<BenchResult> {
  const roofs = () =>
    measureRoof(backend, watch.signal, (done, total) => watch.progress("roofs", done, total));
  const before = known ?? (await roofs());
  const found = new Map<string, { m: Measured; point: Point }>();
  for (const [i, point] of points.entries()) {
    watch.progress(point.kernel, i, points.length);
    let m: Measured;
    try {
      m = await measure(point, backend, options);
    } catch (error) {
      if (!(error instanceof TilegradError)) throw error;
      // a contract may come to refuse a shape that is listed elsewhere
      watch.skipped(`${point.kernel} (${point.source})`, error.message);
      continue;
    }
    // a shape that is listed twice keeps its first name
    const key = `${m.kernel}|${m.shape}`;
    if (!found.has(key)) found.set(key, { m, point });
  }
  watch.progress("kernels", points.length, points.length);
  // Whoever else used the machine held one of the two back: the better is nearer to the truth.
  const roof = points.length > LONG_RUN ? higher(before, await roofs()) : before;
  const all = [...found.values()];
  return {
    roof,
    rows: all.map(({ m }) => toRow(m, setting, roof)),
    points: all.map(({ point }) => point),
  };
}

const higher = (a: Roof, b: Roof): Roof => ({
  flopsPerSecond: Math.max(a.flopsPerSecond, b.flopsPerSecond),
  bandwidth: a.bandwidth.map((x, i) => {
    const y = b.bandwidth[i];
    return {
      footprint: x.footprint,
      read: Math.max(x.read, y.read),
      copy: Math.max(x.copy, y.copy),
      fill: Math.max(x.fill, y.fill),
    };
  }),
});
