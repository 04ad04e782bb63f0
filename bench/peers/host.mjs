// The side of a peer process that all adapters share: JSON lines in, JSON lines out.
//   {do: "prepare", problem, indices} → {values, copies}   {do: "time", minSamples, maxSeconds} → {seconds}
//   {do: "dispose"} → {}               anything may answer {error}
import { createInterface } from "node:readline";
import { sample, sampleAsync } from "../../dist/bench/timer.js";
import { inputData } from "../../dist/bench/uniform.js";

/** Libraries print; stdout belongs to the answers. */
const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);
console.log = console.info = console.warn = console.error;

export const threads = Number(process.argv[2] ?? 1);

/**
 * @param hello `{build, backend, native, threads}`
 * @param ops by operation: `(inputs, shapes, params) => {run, read, dispose?, copies?}`. `run` does the
 *   work and may return a promise; `read` gives the output of one run in our layout; what is missing
 *   throws with the reason.
 */
export async function serve(hello, ops) {
  say(hello);
  let current;
  for await (const line of createInterface({ input: process.stdin })) {
    const request = JSON.parse(line);
    try {
      say(await handle(request));
    } catch (error) {
      say({ error: String(error?.message ?? error).split("\n")[0] });
    }
  }

  async function handle(request) {
    if (request.do === "prepare") {
      current?.dispose?.();
      current = undefined;
      const { op, inputs, params = {} } = request.problem;
      if (!ops[op]) throw new Error(`has no ${op}`);
      current = await ops[op](inputData(inputs), inputs, params);
      const output = await current.read();
      const seconds = await once(current.run);
      if (seconds > TOO_LONG) throw new Error(`takes ${seconds.toFixed(1)} s a call, not timed`);
      if (seconds < 0.3) await warmUp(current.run);
      return { values: request.indices.map((i) => output[i]), copies: current.copies ?? false };
    }
    if (request.do === "time") return { seconds: await time(current.run, request) };
    current?.dispose?.();
    current = undefined;
    return {};
  }
}

/** Seconds a call may take to be timed in rounds. */
const TOO_LONG = 2;

/** V8 compiles a large module's functions anew once they are hot: give it the time before the rounds. */
async function warmUp(run) {
  const end = performance.now() + 400;
  for (let runs = 0; runs < 2 || performance.now() < end; runs++) await run();
}

async function once(run) {
  const start = performance.now();
  await run();
  return (performance.now() - start) / 1000;
}

/** A round of samples. Calls that are no shorter than a sample are samples themselves. */
async function time(run, { minSamples, maxSeconds }) {
  const start = performance.now();
  const first = await once(run);
  if (first > 0.2) return [first];
  if (first > 0.005) {
    const samples = [];
    while (samples.length < minSamples || performance.now() - start < 1000 * maxSeconds) {
      samples.push(await once(run));
    }
    return samples;
  }
  while (performance.now() - start < 30) await run();
  const options = { minSamples, maxSeconds, signal: new AbortController().signal };
  const asynchronous = run() instanceof Promise;
  return asynchronous ? sampleAsync(run, options) : sample(run, options);
}
