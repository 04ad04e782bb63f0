import Benchmark from "benchmark";
import type { Backend, Plan } from "../core/backend.ts";
import type { Call } from "../core/contract.ts";

export interface TimerOptions {
  readonly minSamples: number;
  /** Sampling goes on until this much time has passed. */
  readonly maxSeconds: number;
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
  o.signal.throwIfAborted();
  if (backend.name !== "webgpu") {
    const plan = backend.plan([call]);
    try {
      await warmUp(plan, backend);
      return await sample(() => plan.run(), o);
    } finally {
      plan.dispose();
    }
  }
  // Waiting for the GPU costs more than most kernels take: it is shared by many dispatches.
  const one = backend.plan([call]);
  const seconds = await warmUp(one, backend);
  one.dispose();
  const queued = Math.max(1, Math.min(MAX_QUEUED, Math.ceil((4 * SAMPLE_SECONDS) / seconds)));
  const plan = backend.plan(new Array<Call>(queued).fill(call));
  try {
    await warmUp(plan, backend);
    const body = (run: Deferred) => {
      plan.run();
      backend.flush().then(() => run.resolve(), run.reject);
    };
    return (await sample(body, o, true)).map((seconds) => seconds / queued);
  } finally {
    plan.dispose();
  }
}

/** Runs until compilers, caches and clocks have settled; the seconds of the quickest run. */
async function warmUp(plan: Plan, backend: Backend): Promise<number> {
  let best = Number.POSITIVE_INFINITY;
  const end = performance.now() + 30;
  for (let runs = 0; runs < 3 || performance.now() < end; runs++) {
    const start = performance.now();
    plan.run();
    await backend.flush();
    best = Math.min(best, (performance.now() - start) / 1000);
  }
  return best;
}

interface Deferred {
  resolve(): void;
  reject(error: Error): void;
}

/** Seconds a run, ascending. A body that is `deferred` says itself when it is through. */
function sample(
  body: (run: Deferred) => void,
  o: TimerOptions,
  deferred = false,
): Promise<number[]> {
  return new Promise((resolve, reject) => {
    const benchmark = new Benchmark({
      fn: deferred
        ? (run: Deferred) => body({ resolve: () => run.resolve(), reject })
        : (body as () => void),
      defer: deferred,
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
