import { bandwidthFor, peak, type Roof } from "./roof.ts";
import type { Measured } from "./subject.ts";
import { percentile } from "./timer.ts";

/** One measurement; a line of bench/results/<machine>.jsonl. */
export interface BenchRow {
  readonly kernel: string;
  /** How the kernel is implemented, where there are several ways: right of `__` in its symbol. */
  readonly variant: string;
  readonly backend: string;
  readonly build: string;
  /** Extents by letter, then the params that are not at their default. */
  readonly shape: string;
  /** Where the shape comes from. */
  readonly source: string;
  readonly threads: number;
  /** `tilegrad`, or the library that did it instead. */
  readonly peer: string;
  /** Machine code of this CPU instead of WebAssembly. */
  readonly native: boolean;
  /** The peer copies its inputs in or its outputs out at every call, and that is in the time. */
  readonly copies?: true;
  readonly samples: number;
  readonly p10_us: number;
  readonly p50_us: number;
  readonly p90_us: number;
  readonly gflops: number;
  readonly gbps: number;
  /** Of the FLOP or the memory roof, whichever is closer; 0 for what moves no data of a kernel. */
  readonly roof_pct: number;
  /** What else was counted: heap bytes of a call, size of a .wasm file. */
  readonly bytes?: number;
  /** Why a peer has no time; the numbers are 0 then. */
  readonly why?: string;
  /** On WebGPU: the adapter, and whether it is one that computes on the CPU. */
  readonly adapter?: string;
  readonly software?: boolean;
  /** Name and version of the browser, where it ran in a page. */
  readonly browser?: string;
  readonly machine: string;
  readonly node: string;
  readonly commit: string;
}

/** What all rows of one run share. */
export interface Setting {
  readonly backend: string;
  readonly build: string;
  readonly threads: number;
  readonly adapter?: string;
  readonly software?: boolean;
  readonly browser?: string;
  readonly machine: string;
  readonly node: string;
  readonly commit: string;
}

/** Who measured, when it was not tilegrad itself. */
export interface By {
  readonly peer: string;
  readonly build: string;
  readonly backend: string;
  readonly threads: number;
  readonly native: boolean;
  readonly copies: boolean;
  /** Why it did not measure. */
  readonly why?: string;
  readonly adapter?: string;
  readonly software?: boolean;
  readonly browser?: string;
}

/** The build without its threads, which a row has in a column of their own. */
export const buildName = (build: string): string =>
  build.replace(/(\.threads)? \(\d+ threads\)$/, "");

export function toRow(m: Measured, setting: Setting, roof: Roof, by?: By): BenchRow {
  const { flops, bytes } = m.cost;
  if (by?.why !== undefined) return unmeasured(m, setting, by, by.why);
  const median = percentile(m.seconds, 50);
  const share = Math.max(
    flops / median / roof.flopsPerSecond,
    bytes && bytes / median / bandwidthFor(roof, m.memory),
  );
  const micro = (p: number) => round(percentile(m.seconds, p) * 1e6);
  return {
    kernel: m.kernel,
    variant: m.variant,
    backend: by?.backend ?? setting.backend,
    build: by?.build ?? setting.build,
    shape: m.shape,
    source: m.source,
    threads: by?.threads ?? setting.threads,
    peer: by?.peer ?? "tilegrad",
    native: by?.native ?? false,
    ...(by?.copies ? { copies: true as const } : {}),
    samples: m.seconds.length,
    p10_us: micro(10),
    p50_us: micro(50),
    p90_us: micro(90),
    gflops: round(flops / median / 1e9),
    gbps: round(bytes / median / 1e9),
    roof_pct: round(100 * share),
    ...(m.bytes === undefined ? {} : { bytes: m.bytes }),
    ...place(by ?? setting),
    machine: setting.machine,
    node: setting.node,
    commit: setting.commit,
  };
}

function unmeasured(m: Measured, setting: Setting, by: By, why: string): BenchRow {
  const { peer, backend, build, threads, native } = by;
  const { kernel, variant, shape, source } = m;
  const { machine, node, commit } = setting;
  const zeros = { samples: 0, p10_us: 0, p50_us: 0, p90_us: 0, gflops: 0, gbps: 0, roof_pct: 0 };
  const what = { kernel, variant, backend, build, shape, source, threads, peer, native };
  return { ...what, ...zeros, why, ...place(by), machine, node, commit };
}

/** The roofs as rows, so that a chart drawn later has the roof of the very run. */
export function roofRows(roof: Roof, setting: Setting): BenchRow[] {
  const row = (kernel: string, shape: string, perSecond: number, unit: "flops" | "bytes") => {
    const cost = { flops: 0, bytes: 0, [unit]: perSecond };
    const memory = { footprint: 0, written: 0 };
    const m = { kernel, variant: "default", shape, source: "roof", cost, memory, seconds: [1] };
    return { ...toRow(m, setting, roof), roof_pct: 100 };
  };
  return [
    row("roof_flops", "registers only", roof.flopsPerSecond, "flops"),
    ...roof.bandwidth.map((b) => row("roof_memory", `bytes=${b.footprint}`, peak(b), "bytes")),
  ];
}

/** Where on WebGPU it ran; rows that differ in it are never held against each other. */
const place = ({
  adapter,
  software,
  browser,
}: Pick<BenchRow, "adapter" | "software" | "browser">) => ({
  ...(adapter === undefined ? {} : { adapter }),
  ...(software === undefined ? {} : { software }),
  ...(browser === undefined ? {} : { browser }),
});
export const samePlace = (a: BenchRow, b: BenchRow): boolean =>
  a.adapter === b.adapter && a.software === b.software && a.browser === b.browser;

/** Rows with one key measure the same thing, at whatever commit. */
export const rowKey = (r: BenchRow): string =>
  [
    ...[r.machine, r.node, r.peer, r.backend, r.build, r.threads, r.kernel, r.variant, r.shape],
    ...Object.values(place(r)),
  ].join("|");

export const round = (v: number): number => Number(v.toPrecision(4));
