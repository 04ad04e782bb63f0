import type { Backend } from "../core/backend.ts";
import {
  type Call,
  type Case,
  invoke,
  resolveCase,
  type Suite,
  shapeOf,
} from "../core/contract.ts";
import type { Tensor } from "../core/tensor.ts";
import { bandwidthFor, measureRoof, type Roof } from "./roof.ts";
import { percentile, type TimerOptions, time } from "./timer.ts";

export interface BenchRow {
  readonly kernel: string;
  /** How the kernel is implemented, where there are several ways: right of `__` in its symbol. */
  readonly variant: string;
  readonly backend: string;
  readonly build: string;
  readonly shape: string;
  readonly samples: number;
  readonly p10_us: number;
  readonly p50_us: number;
  readonly p90_us: number;
  readonly gflops: number;
  readonly gbps: number;
  /** Of the FLOP or the memory roof, whichever the kernel comes closer to. */
  readonly roof_pct: number;
  readonly machine: string;
  readonly commit: string;
}

export interface BenchRequest {
  readonly backend: Backend;
  readonly suites: readonly Suite[];
  /** Fewer samples, and only the first shape of each kernel. */
  readonly quick: boolean;
  readonly machine: string;
  readonly commit: string;
  readonly signal: AbortSignal;
  readonly progress: (label: string, done: number, total: number) => void;
  /** Told about every kernel that this backend lacks. */
  readonly skipped: (kernel: string, why: string) => void;
}

export interface BenchResult {
  readonly roof: Roof;
  readonly rows: readonly BenchRow[];
}

/** Measures the roofs of the backend, then every bench shape of every suite against them. */
export async function runBench(request: BenchRequest): Promise<BenchResult> {
  const { backend, quick, signal } = request;
  const options: TimerOptions = {
    minSamples: quick ? 10 : 30,
    maxSeconds: quick ? 0.03 : 0.3,
    signal,
  };
  const points = request.suites.flatMap((suite) => {
    const { spec } = suite.kernel;
    if (!backend.supports(spec)) {
      request.skipped(spec.name, `has no ${backend.name} implementation`);
      return [];
    }
    const shapes = suite.bench();
    return (quick ? shapes.slice(0, 1) : shapes).map((c) => ({ suite, c }));
  });

  const roof = await measureRoof(
    backend,
    { ...options, minSamples: 10, maxSeconds: 0.03 },
    (d, t) => request.progress("roofs", d, t),
  );
  const rows: BenchRow[] = [];
  for (const { suite, c } of points) {
    const { spec } = suite.kernel;
    request.progress(spec.name, rows.length, points.length);
    const { call, tensors } = prepare(backend, suite, c);
    const seconds = await time(call, backend, options);
    for (const t of tensors) t.dispose();

    const { flops, bytes } = spec.cost(call.dims, call.params);
    const median = percentile(seconds, 50);
    const share = Math.max(
      flops / median / roof.flopsPerSecond,
      bytes / median / bandwidthFor(roof, bytes),
    );
    const micro = (p: number) => round(percentile(seconds, p) * 1e6);
    rows.push({
      kernel: spec.name,
      variant: variantOf(backend, call),
      backend: backend.name,
      build: backend.build,
      shape: shapeText(c),
      samples: seconds.length,
      p10_us: micro(10),
      p50_us: micro(50),
      p90_us: micro(90),
      gflops: round(flops / median / 1e9),
      gbps: round(bytes / median / 1e9),
      roof_pct: round(100 * share),
      machine: request.machine,
      commit: request.commit,
    });
  }
  request.progress("kernels", rows.length, points.length);
  return { roof, rows };
}

/** Tensors of a bench shape with reproducible content, and the call over them. */
function prepare(backend: Backend, suite: Suite, c: Case): { call: Call; tensors: Tensor[] } {
  const { spec } = suite.kernel;
  const { dims, runs, params } = resolveCase(spec, c);
  const next = uniform();
  const given = spec.args.map((arg) => {
    if (arg.role === "opt" && !c.with?.includes(arg.name)) return undefined;
    const shape = shapeOf(arg, dims, runs, params);
    // Outputs start as zeros as well, so that an accumulating kernel never meets a stray NaN.
    const tensor = backend.tensor(shape, undefined, arg.dtype);
    if (arg.role === "out" || arg.role === "acc") return tensor;
    const standard =
      arg.dtype === "f32" ? (u: number) => 2 * u - 1 : (u: number) => Math.floor(8 * u);
    const fill = suite.fill?.[arg.name] ?? standard;
    tensor.write(Float32Array.from({ length: tensor.size }, (_, i) => fill(next(), i, dims)));
    return tensor;
  });
  const tensors = given.filter((t) => t !== undefined);
  return { call: invoke(spec, given, { ...c.params }), tensors };
}

/** Mulberry32: a few lines, the same numbers everywhere. */
function uniform(): () => number {
  let state = 1;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

function variantOf(backend: Backend, { spec, dims, params }: Call): string {
  const symbol =
    backend.name === "webgpu"
      ? spec.webgpu?.find((v) => !v.when || v.when(dims, params))?.entry
      : spec.wasm?.export;
  return symbol?.split("__")[1] ?? "default";
}

function shapeText({ dims, params = {} }: Case): string {
  const extents = Object.entries(dims).map(
    ([name, v]) => `${name}=${typeof v === "number" ? v : `(${v.join(",")})`}`,
  );
  return [...extents, ...Object.entries(params).map(([name, v]) => `${name}=${v}`)].join(" ");
}

const round = (v: number): number => Number(v.toPrecision(4));
