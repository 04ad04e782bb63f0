// A commit against saved results of the same machine. Shared machines are noisy, so a difference
// counts only when a second look at the same point shows it too.
import { type BenchRow, rowKey } from "./rows.ts";

/** Smaller differences are not told. */
const THRESHOLD = 0.1;

export interface Change {
  readonly kernel: string;
  readonly shape: string;
  readonly before_us: number;
  readonly first_us: number;
  readonly second_us: number;
  /** Second look over before; above 1 is slower. */
  readonly ratio: number;
}

/** The rows of a commit, each point at the median of all times it was saved. */
export function baseline(saved: readonly BenchRow[], commit: string): Map<string, number> {
  const times = new Map<string, number[]>();
  for (const row of saved) {
    if (!sameCommit(row.commit, commit)) continue;
    const list = times.get(rowKey(row)) ?? [];
    list.push(row.p50_us);
    times.set(rowKey(row), list);
  }
  return new Map(
    [...times].map(([key, list]) => {
      const sorted = list.sort((a, b) => a - b);
      return [key, sorted[Math.floor((sorted.length - 1) / 2)]];
    }),
  );
}

/** Full and shortened hashes; what was saved from a changed tree is not that commit. */
export const sameCommit = (a: string, b: string): boolean =>
  a === b ||
  (Math.min(a.length, b.length) >= 7 &&
    (a.startsWith(b) || b.startsWith(a)) &&
    !/-dirty$/.test(a + b));

export const commitsOf = (saved: readonly BenchRow[]): string[] => [
  ...new Set(saved.map((row) => row.commit)),
];

/** Which way a row moved: 1 slower, -1 faster, 0 within the threshold or not known before. */
export function direction(row: BenchRow, before: ReadonlyMap<string, number>): number {
  const was = before.get(rowKey(row));
  if (was === undefined) return 0;
  if (row.p50_us > was * (1 + THRESHOLD)) return 1;
  return row.p50_us < was * (1 - THRESHOLD) ? -1 : 0;
}

/** What moved the same way in both runs; `second` needs only hold the rows that moved in `first`. */
export function changes(
  before: ReadonlyMap<string, number>,
  first: readonly BenchRow[],
  second: readonly BenchRow[],
): Change[] {
  const again = new Map(second.map((row) => [rowKey(row), row]));
  return first.flatMap((row) => {
    const key = rowKey(row);
    const twin = again.get(key);
    const was = before.get(key);
    const moved = direction(row, before);
    if (!twin || was === undefined || moved === 0 || direction(twin, before) !== moved) return [];
    return [
      {
        kernel: row.kernel,
        shape: row.shape,
        before_us: was,
        first_us: row.p50_us,
        second_us: twin.p50_us,
        ratio: twin.p50_us / was,
      },
    ];
  });
}
