// The side of a peer in a page that all adapters on WebGPU share: `globalThis.peer` is what answers.
import { handler } from "./handler.mjs";

/** The device that the library got itself; its queue is what is waited for. */
let device;
/** What the device complained of: work that it refused takes no time. */
let refused;
const requestDevice = GPUAdapter.prototype.requestDevice;
GPUAdapter.prototype.requestDevice = async function (...args) {
  device = await requestDevice.apply(this, args);
  device.addEventListener("uncapturederror", ({ error }) => {
    refused ??= error.message.split("\n")[0];
  });
  return device;
};

/** Runs that are queued before the GPU is waited for: as many as take this long, but no more than: */
const BATCH_SECONDS = 0.03;
const MOST_RUNS = 1024;

/** Seconds a run, of `runs` that are queued one after another and then waited for together. */
async function batch(run, runs, flush) {
  const start = performance.now();
  for (let i = 0; i < runs; i++) await run();
  flush?.();
  await device.queue.onSubmittedWorkDone();
  if (refused) throw new Error(refused);
  return (performance.now() - start) / 1000 / runs;
}

/**
 * @param build name and version of the library
 * @param ops see handler.mjs; `run` queues its work
 * @param flush submits what the library holds back
 */
export async function serve(build, ops, flush) {
  const adapter = await navigator.gpu?.requestAdapter();
  if (!adapter) throw new Error("this browser has no WebGPU adapter");
  const { vendor, architecture, device: model, description, isFallbackAdapter } = adapter.info;
  const once = (run) => batch(run, 1, flush);
  const handle = handler(ops, {
    // there is less to lose than in a process: a software adapter is slow for everyone
    tooLong: 60,
    once,
    async warmUp(run) {
      for (const end = performance.now() + 200; performance.now() < end; ) await once(run);
    },
    async time(run, { minSamples, maxSeconds }) {
      const start = performance.now();
      const first = await once(run);
      if (first > 0.2) return [first];
      const runs = Math.max(1, Math.min(MOST_RUNS, Math.ceil(BATCH_SECONDS / first)));
      const seconds = [];
      while (seconds.length < minSamples || performance.now() - start < 1000 * maxSeconds) {
        seconds.push(await batch(run, runs, flush));
      }
      return seconds;
    },
  });
  const name = [vendor, architecture, model, description].filter(Boolean).join(" ");
  globalThis.peer = async (request) =>
    request.do === "hello"
      ? { build, adapter: name || "unknown adapter", software: isFallbackAdapter }
      : handle(request);
}
