// Targets against rows: which are met, by how much the others are missed.
import { type BenchRow, samePlace } from "./rows.ts";
import type { Aim, Target } from "./targets.ts";

export interface Verdict {
  readonly row: BenchRow;
  readonly target: Target;
  /** The aim in words. */
  readonly aim: string;
  readonly measured: string;
  readonly met: boolean;
}

/** Rows of the same machine and Node that a row may be held against. */
export type Rows = readonly BenchRow[];

const major = (row: BenchRow): number => Number.parseInt(row.node, 10);

/** Whether a text fits a pattern in which `*` stands for anything. */
export function matches(pattern: string, text: string): boolean {
  const parts = pattern.split("*").map((part) => part.replace(/[.+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(`^${parts.join(".*")}$`).test(text);
}

function concerns(t: Target, row: BenchRow): boolean {
  return (
    row.peer === "tilegrad" &&
    row.backend === "wasm" &&
    row.kernel === t.kernel &&
    matches(t.shape, row.shape) &&
    (t.build === undefined || row.build === t.build) &&
    (t.threads === undefined || row.threads === t.threads) &&
    major(row) >= (t.node?.from ?? 0) &&
    major(row) <= (t.node?.to ?? Number.POSITIVE_INFINITY)
  );
}

/** What a peer did at the same point: on as many threads, or on its one where it has no more. */
export function peerTwin(row: BenchRow, peer: string, rows: Rows): BenchRow | undefined {
  const its = rows.filter((r) => r.peer === peer && r.node === row.node && samePlace(r, row));
  const threads = its.some((r) => r.threads > 1) ? row.threads : 1;
  return its.find((r) => r.kernel === row.kernel && r.shape === row.shape && r.threads === threads);
}

const sameSetting = (a: BenchRow, b: BenchRow): boolean =>
  a.peer === b.peer &&
  a.backend === b.backend &&
  a.build === b.build &&
  a.node === b.node &&
  samePlace(a, b);

/** The verdict on one row, or undefined where the row to hold it against is missing. */
function judge(row: BenchRow, target: Target, rows: Rows): Verdict | undefined {
  const verdict = (aim: string, measured: string, met: boolean) => ({
    row,
    target,
    aim,
    measured,
    met,
  });
  const { aim } = target;
  if ("roof" in aim) {
    return verdict(
      `≥ ${aim.roof} % of roof`,
      `${row.roof_pct.toFixed(1)} %`,
      row.roof_pct >= aim.roof,
    );
  }
  if ("us" in aim) return verdict(`≤ ${aim.us} µs`, `${row.p50_us} µs`, row.p50_us <= aim.us);
  if ("bytes" in aim) {
    const bytes = row.bytes ?? Number.NaN;
    return verdict(`≤ ${aim.bytes} bytes`, `${bytes} bytes`, bytes <= aim.bytes);
  }
  const other = twinOf(row, aim, rows);
  if (!other) return undefined;
  if ("peer" in aim) {
    const faster = other.p50_us / row.p50_us;
    const copies = other.copies ? ", which copies" : "";
    return verdict(
      `≥ ${aim.faster} × ${aim.peer}`,
      `${faster.toFixed(2)} ×${copies}`,
      faster >= aim.faster,
    );
  }
  if ("threads" in aim) {
    const faster = other.p50_us / row.p50_us;
    return verdict(
      `≥ ${aim.threads} × one thread`,
      `${faster.toFixed(2)} ×`,
      faster >= aim.threads,
    );
  }
  const of = `${aim.of.kernel} ${aim.of.shape}`;
  if ("rate" in aim) {
    const rate = row.gflops / other.gflops;
    return verdict(`≥ ${aim.rate} of the rate of ${of}`, rate.toFixed(2), rate >= aim.rate);
  }
  const time = row.p50_us / other.p50_us;
  return verdict(`≤ ${aim.time} of the time of ${of}`, time.toFixed(2), time <= aim.time);
}

function twinOf(row: BenchRow, aim: Aim, rows: Rows): BenchRow | undefined {
  if ("peer" in aim) return peerTwin(row, aim.peer, rows);
  if ("threads" in aim) {
    return rows.find(
      (r) =>
        sameSetting(r, row) && r.kernel === row.kernel && r.shape === row.shape && r.threads === 1,
    );
  }
  if (!("of" in aim)) return undefined;
  return rows.find(
    (r) =>
      sameSetting(r, row) &&
      r.kernel === aim.of.kernel &&
      r.shape === aim.of.shape &&
      r.threads === row.threads,
  );
}

/** Every target on every row that it concerns. */
export const verdicts = (rows: Rows, targets: readonly Target[]): Verdict[] =>
  targets.flatMap((target) =>
    rows.filter((row) => concerns(target, row)).flatMap((row) => judge(row, target, rows) ?? []),
  );
