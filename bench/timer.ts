import Benchmark from "benchmark";
import type { Backend } from "../core/backend.ts";
import type { Call } from "../core/contract.ts";

export interface TimerOptions {
  readonly minSamples: number;
  /** Sampling goes on until this much time has passed. */
  readonly maxSeconds: number;
  /** Least seconds of warming up a short call; default 0.15. */
  readonly settle?: number;
  readonly signal: AbortSignal;
}

/** A sample takes at least this long, by repeating the call. */
const SAMPLE_SECONDS = 0.0015;
/** Most dispatches of one call that are queued before the GPU is waited for. */
const MAX_QUEUED = 1024;

/**
 * Times one call; seconds of each sample, ascending. What is timed is the replay of a captured
 * step of this one call, so the host's part is what it is in a training loop.
 */
export async function time(call: Call, backend: Backend, o: TimerOptions): Promise<number[]> {
  if (backend.name !== "webgpu") {
    const plan = backend.plan([call]);
    try {
      return await timeRuns(() => plan.run(), backend, o);
    } finally {
      plan.dispose();
    }
  }
  // Waiting for the GPU costs more than most kernels take: it is shared by many dispatches.
  const one = backend.plan([call]);
  const queued = queueLength(await warmUp(() => one.run(), backend, o.settle));
  one.dispose();
  const plan = backend.plan(new Array<Call>(queued).fill(call));
  try {
    const samples = await timeRuns(() => plan.run(), backend, o, 1);
    return samples.map((seconds) => seconds / queued);
  } finally {
    plan.dispose();
  }
}

/** Times anything that runs on a backend; a GPU is waited for once in `queued` runs. */
export async function timeRuns(
  run: () => void,
  backend: Backend,
  o: TimerOptions,
  queued?: number,
): Promise<number[]> {
  o.signal.throwIfAborted();
  const seconds = await warmUp(run, backend, o.settle);
  if (backend.name !== "webgpu") return sample(run, o);
  const times = queued ?? queueLength(seconds);
  const body = async () => {
    for (let i = 0; i < times; i++) run();
    await backend.flush();
  };
  return (await sampleAsync(body, o)).map((s) => s / times);
}

const queueLength = (seconds: number): number =>
  Math.max(1, Math.min(MAX_QUEUED, Math.ceil((4 * SAMPLE_SECONDS) / seconds)));

/** Warm-up: a batch of runs, the least for short and for long calls, the most. */
const BATCH_SECONDS = 0.01;
const SETTLE_SECONDS = { short: 0.15, long: 0.03, most: 1 };
/** Shorter calls are mostly JavaScript, which V8 compiles in stages that lie thousands of calls apart. */
const SHORT_SECONDS = 50e-6;

/**
 * Runs until compilers, caches and clocks have settled: until the best batch has not got better by
 * 2 % for four batches. The seconds of the quickest run.
 */
async function warmUp(
  run: () => void,
  backend: Backend,
  settle = SETTLE_SECONDS.short,
): Promise<number> {
  const start = performance.now();
  const elapsed = () => (performance.now() - start) / 1000;
  let best = Number.POSITIVE_INFINITY;
  let stale = 0;
  let enough = 0;
  while (elapsed() < SETTLE_SECONDS.most && (stale < 4 || elapsed() < enough)) {
    const from = elapsed();
    let runs = 0;
    do {
      run();
      runs++;
      if (backend.name === "webgpu") await backend.flush();
    } while (elapsed() - from < BATCH_SECONDS);
    await backend.flush();
    const seconds = (elapsed() - from) / runs;
    stale = seconds < 0.98 * best ? 0 : stale + 1;
    best = Math.min(best, seconds);
    enough = best < SHORT_SECONDS ? settle : SETTLE_SECONDS.long;
  }
  return best;
}

interface Deferred {
  resolve(): void;
}

/** Seconds a run, ascending. */
export const sample = (body: () => void, o: TimerOptions): Promise<number[]> =>
  benchmark(() => body, false, o);

/** The same for what is done when its promise says so. */
export const sampleAsync = (body: () => Promise<unknown>, o: TimerOptions): Promise<number[]> =>
  benchmark(
    (reject) => (run: Deferred) => {
      body().then(() => run.resolve(), reject);
    },
    true,
    o,
  );

function benchmark(
  body: (reject: (error: Error) => void) => (run: Deferred) => void,
  defer: boolean,
  o: TimerOptions,
): Promise<number[]> {
  return new Promise((resolve, reject) => {
    const benchmark = new Benchmark({
      fn: body(reject) as () => void,
      defer,
      async: true,
      delay: 0,
      minTime: SAMPLE_SECONDS,
      maxTime: o.maxSeconds,
      minSamples: o.minSamples,
    });
    const abort = () => {
      benchmark.abort();
      reject(o.signal.reason);
    };
    o.signal.addEventListener("abort", abort, { once: true });
    benchmark.on("complete", () => {
      o.signal.removeEventListener("abort", abort);
      if (benchmark.error) reject(benchmark.error);
      else resolve(benchmark.stats.sample.sort((a, b) => a - b));
    });
    benchmark.run();
  });
}

/** Of ascending numbers, by nearest rank. */
export const percentile = (sorted: readonly number[], p: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor((p / 100) * sorted.length))];
