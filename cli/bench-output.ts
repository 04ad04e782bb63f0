import type { Change } from "../bench/compare.ts";
import type { Explained, Part } from "../bench/explain.ts";
import { peak, type Roof } from "../bench/roof.ts";
import { type BenchRow, round } from "../bench/rows.ts";
import { formatNumber, textTable } from "./format.ts";

const size = (bytes: number): string =>
  bytes < 2 ** 20 ? `${bytes / 1024} KiB` : `${bytes / 2 ** 20} MiB`;

export function roofLine({ flopsPerSecond, bandwidth }: Roof): string {
  const giga = (v: number) => formatNumber(round(v / 1e9));
  const steps = bandwidth.map((b) => `${giga(peak(b))} (${size(b.footprint)})`);
  return `roofs: ${giga(flopsPerSecond)} GFLOP/s; GB/s by working set ${steps.join(", ")}`;
}

const byWhom = ({ peer, copies, why }: BenchRow): string => {
  if (why !== undefined) return `${peer}: ${why}`;
  return copies ? `${peer} (copies)` : peer;
};

export function rowsTable(rows: readonly BenchRow[]): string {
  const peers = rows.some((r) => r.peer !== "tilegrad");
  const head = [
    "kernel",
    "shape",
    "p10 µs",
    "p50 µs",
    "p90 µs",
    "GFLOP/s",
    "GB/s",
    "roof %",
    "bytes",
  ];
  const cells = rows.map((r) => [
    r.variant === "default" ? r.kernel : `${r.kernel}__${r.variant}`,
    r.shape,
    ...(r.why === undefined
      ? [
          ...[r.p10_us, r.p50_us, r.p90_us, r.gflops, r.gbps].map(formatNumber),
          r.roof_pct.toFixed(1),
        ]
      : ["", "", "", "", "", ""]),
    r.bytes === undefined ? "" : String(r.bytes),
    ...(peers ? [byWhom(r)] : []),
  ]);
  const right = [2, 3, 4, 5, 6, 7, 8];
  return textTable(peers ? [...head, "by"] : head, cells, { right, flexible: [1] });
}

export function changesTable(changes: readonly Change[], commit: string): string {
  if (changes.length === 0) return `Nothing is over 10 % off ${commit} in both of two runs.`;
  const rows = changes.map((c) => [
    c.kernel,
    c.shape,
    ...[c.before_us, c.first_us, c.second_us].map(formatNumber),
    `${c.ratio > 1 ? "+" : ""}${(100 * (c.ratio - 1)).toFixed(0)} %`,
  ]);
  const head = ["kernel", "shape", `${commit} µs`, "now µs", "again µs", "change"];
  return `Over 10 % off in both runs:\n${textTable(head, rows, { right: [2, 3, 4, 5], flexible: [1] })}`;
}

/** Microseconds, their share of the measured time, and whether they are measured or an estimate. */
export function explainTable(parts: readonly Explained[]): string {
  const part = (p: Part | undefined, total: number) =>
    p ? `${formatNumber(round(p.us))} (${((100 * p.us) / total).toFixed(0)} %, ${p.how})` : "none";
  const rows = parts.map((e) => [
    e.shape,
    formatNumber(e.flops),
    formatNumber(e.bytes),
    formatNumber(round(e.intensity)),
    `${e.binds} ${formatNumber(round(e.roof_us))}`,
    `${formatNumber(round(e.p50_us))} (${((100 * e.roof_us) / e.p50_us).toFixed(0)} % of roof)`,
    part(e.dispatch, e.p50_us),
    part(e.edges, e.p50_us) + (e.edges ? ` against ${e.edges.at}` : ""),
    part(e.packing, e.p50_us),
  ]);
  const head = [
    "shape",
    "FLOP",
    "bytes",
    "FLOP/B",
    "roof µs",
    "p50 µs",
    "dispatch µs",
    "edges µs",
    "packing µs",
  ];
  return textTable(head, rows, { right: [1, 2, 3], flexible: [0, 6, 7, 8], ruled: true });
}
