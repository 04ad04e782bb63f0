// What all adapters do with a request, in a process of Node or in a page:
//   {do: "prepare", problem, indices} → {values, indices, copies, facts}   without indices it picks them
//   {do: "time", minSamples, maxSeconds} → {seconds}
//   {do: "dispose"} → {}               anything may answer {error}
import { inputData, sampled } from "../../dist/bench/uniform.js";

/**
 * @param ops by operation: `(inputs, shapes, params, problem) => {run, read, dispose?, copies?, facts?}`.
 *   `run` does the work, or puts it into the GPU's queue, and may return a promise; `read` gives the
 *   output of one run in our layout; what is missing throws with the reason.
 * @param timing `{tooLong, once, warmUp, time}` of such a `run`
 */
export function handler(ops, timing) {
  let current;
  return async (request) => {
    try {
      return await handle(request);
    } catch (error) {
      return { error: String(error?.message ?? error).split("\n")[0] };
    }
  };

  async function handle(request) {
    if (request.do === "time") return { seconds: await timing.time(current.run, request) };
    await current?.dispose?.();
    current = undefined;
    if (request.do === "dispose") return {};
    const { op, inputs, params = {} } = request.problem;
    if (!ops[op]) throw new Error(`has no ${op}`);
    current = await ops[op](inputData(inputs), inputs, params, request.problem);
    const start = performance.now();
    const output = await current.read();
    const first = (performance.now() - start) / 1000;
    // so long a call has warmed up
    const seconds = first > 5 ? first : await timing.once(current.run);
    if (seconds > timing.tooLong) {
      throw new Error(`takes ${seconds.toFixed(1)} s a call, not timed`);
    }
    if (seconds < 0.3) await timing.warmUp(current.run);
    const { indices = sampled(output.length) } = request;
    const values = indices.map((i) => output[i]);
    return { values, indices, copies: current.copies ?? false, facts: current.facts };
  }
}
