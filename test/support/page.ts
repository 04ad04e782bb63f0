// Bundled for a browser by test/support/browser.ts. The page runs what a test asks for itself or has
// a dedicated Worker, which is this same file, run it.
import { type Backend, type BackendName, type InitOptions, init } from "../../core/index.ts";
import type { WasmBackend } from "../../core/wasm.ts";
import { WebgpuBackend } from "../../core/webgpu.ts";
import { caseName, fewCases, problem, suites } from "./registry.ts";
import { trainTwice } from "./training.ts";
import { verify } from "./verify.ts";

export type Label = "webgpu" | "wasm" | "wasm, 2 threads";
const setups: Record<Label, [BackendName, InitOptions]> = {
  webgpu: ["webgpu", {}],
  wasm: ["wasm", {}],
  "wasm, 2 threads": ["wasm", { wasm: { threads: 2 } }],
};

const opened = new Map<Label, Promise<Backend>>();
function open(label: Label): Promise<Backend> {
  const open = async () => {
    const be = await init(...setups[label]);
    if (be.name === "wasm") await (be as WasmBackend).startThreads();
    return be;
  };
  const known = opened.get(label) ?? open();
  opened.set(label, known);
  return known;
}

/** What a test may ask for. Arguments and results are plain data. */
const tasks = {
  /** What the backend calls itself; of WebGPU also whether the adapter is a software one. */
  async about(label: Label) {
    const be = await open(label);
    const software = be instanceof WebgpuBackend && be.adapterInfo.isFallbackAdapter;
    return {
      build: be.build,
      software,
      page: "document" in globalThis,
      isolated: crossOriginIsolated,
    };
  },
  /** A few cases of a suite, by its place in the registry, against its definition; how many. */
  async suite(label: Label, index: number) {
    const be = await open(label);
    const suite = suites[index];
    if (!be.supports(suite.kernel.spec)) throw new Error(`${label} has no implementation`);
    const cases = fewCases(suite);
    for (const c of cases) {
      await verify(be, problem(suite, c)).catch((e: Error) => {
        throw new Error(`${caseName(c)}: ${e.message}`);
      });
    }
    return cases.length;
  },
  training: async (label: Label) => trainTwice(await open(label)),
};
export type Tasks = typeof tasks;
export type Task = keyof Tasks;
export type Place = "page" | "worker";

interface Request {
  readonly place: Place;
  readonly task: Task;
  readonly args: readonly unknown[];
}
export type Answer = { readonly value: unknown } | { readonly error: string };

async function answer({ task, args }: Request): Promise<Answer> {
  try {
    return { value: await (tasks[task] as (...a: readonly unknown[]) => unknown)(...args) };
  } catch (e) {
    return { error: (e as Error).message };
  }
}

let worker: Worker | undefined;
/** One request at a time: the next message is its answer. */
function inWorker(request: Request): Promise<Answer> {
  worker ??= new Worker(import.meta.url, { type: "module" });
  const w = worker;
  return new Promise((resolve) => {
    w.onmessage = ({ data }) => resolve(data);
    w.onerror = (e) => resolve({ error: e.message || "the worker did not start" });
    w.postMessage(request);
  });
}

if ("document" in globalThis) {
  // what test/support/browser.ts calls
  const ask = (request: Request) =>
    request.place === "page" ? answer(request) : inWorker(request);
  Object.assign(globalThis, { ask });
} else {
  globalThis.onmessage = async ({ data }: MessageEvent<Request>) => {
    globalThis.postMessage(await answer(data));
  };
}
