// The side of a peer process that all adapters share: JSON lines in, JSON lines out.
import { createInterface } from "node:readline";
import { sample, sampleAsync } from "../../dist/bench/timer.js";
import { handler } from "./handler.mjs";

/** Libraries print; stdout belongs to the answers. */
const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);
console.log = console.info = console.warn = console.error;

export const threads = Number(process.argv[2] ?? 1);

/** @param hello `{build, backend, native, threads}`, @param ops see handler.mjs */
export async function serve(hello, ops) {
  say(hello);
  // seconds a call may take to be timed in rounds
  const handle = handler(ops, { tooLong: 2, once, warmUp, time });
  for await (const line of createInterface({ input: process.stdin })) {
    say(await handle(JSON.parse(line)));
  }
}

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
