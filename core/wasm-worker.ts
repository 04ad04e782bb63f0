import { isNode, nodeModule } from "./runtime.ts";
import { callWith, type WasmFunction } from "./wasm-call.ts";
import { ARGS, DONE, EPOCH, FUNCTION, JOB_BYTES, movesOn, NARGS, READY } from "./wasm-job.ts";

// A pool thread: instantiates the threaded build over the shared memory and runs the job that the
// main thread leaves in its mailbox, each time the epoch there moves on.

export interface WorkerStart {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  /** Export names in the order that jobs refer to them by. */
  readonly names: readonly string[];
  /** Address of this worker's mailbox. */
  readonly mailbox: number;
}

/** Between two parallel kernels of a step stand small ones that the main thread does alone. */
const PATIENCE = 0.05;

function serve({ module, memory, names, mailbox }: WorkerStart): void {
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  const functions = names.map((n) => exports[n] as WasmFunction);
  const word = new Int32Array(memory.buffer, mailbox, JOB_BYTES / 4);
  const values = new Float64Array(memory.buffer, mailbox + ARGS, (JOB_BYTES - ARGS) / 8);
  const args: number[][] = [];
  // A function of its own: V8 optimises what is called often, and this loop is entered once.
  const work = (epoch: number): number => {
    if (!movesOn(word, EPOCH, epoch, PATIENCE)) Atomics.wait(word, EPOCH, epoch);
    const now = Atomics.load(word, EPOCH);
    if (now === epoch) return epoch;
    const n = word[NARGS];
    args[n] ??= new Array<number>(n).fill(0);
    const a = args[n];
    for (let i = 0; i < n; i++) a[i] = values[i];
    callWith(functions[word[FUNCTION]], a);
    Atomics.store(word, DONE, now);
    Atomics.notify(word, DONE);
    return now;
  };
  Atomics.store(word, READY, 1);
  for (let epoch = 0; ; ) epoch = work(epoch);
}

if (isNode) {
  const { parentPort } = nodeModule<typeof import("node:worker_threads")>("node:worker_threads");
  parentPort?.once("message", serve);
} else {
  globalThis.addEventListener("message", (e) => serve((e as MessageEvent<WorkerStart>).data), {
    once: true,
  });
}
