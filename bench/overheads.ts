// What a call costs besides its arithmetic: the host's part of a call, handing work to threads, and
// the first result in a fresh process.
import { execFile } from "node:child_process";
import { stat } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { Backend } from "../core/backend.ts";
import { capture } from "../core/capture.ts";
import { invoke } from "../core/contract.ts";
import { WasmBackend } from "../core/wasm.ts";
import { add } from "../kernels/binary.ts";
import { roof_idle } from "./roof.ts";
import { buildName } from "./rows.ts";
import type { Point, Subject } from "./subject.ts";
import { time, timeRuns } from "./timer.ts";

const NOTHING = { flops: 0, bytes: 0 };
/** Elements: so few that only the call itself is left. */
const SMALL = 16;
/** Calls in the replayed step. */
const STEP = 64;

function smallTensors(backend: Backend) {
  const [a, b, y] = [1, 2, 0].map((v) => backend.tensor([SMALL], new Array(SMALL).fill(v)));
  const dispose = () => {
    for (const t of [a, b, y]) t.dispose();
  };
  return { a, b, y, dispose };
}

/** One `add` of 16 elements with its checks, its output and the end of that output. */
const eager: Point = {
  kernel: "call_eager",
  source: "overhead",
  async prepare(backend) {
    const { a, b, dispose } = smallTensors(backend);
    const run = () => add(a, b).dispose();
    return {
      variant: "default",
      shape: `add N=${SMALL}`,
      cost: NOTHING,
      memory: { footprint: 0, written: 0 },
      time: (o) => timeRuns(run, backend, o),
      dispose,
    };
  },
};

/** The same inside a captured step, and the heap bytes that a replay of the step allocates. */
const replayed: Point = {
  kernel: "call_replayed",
  source: "overhead",
  async prepare(backend) {
    const { a, b, y, dispose } = smallTensors(backend);
    const step = await capture(backend, () => {
      for (let i = 0; i < STEP; i++) add.into({ y }, { a, b });
    });
    return {
      variant: "default",
      shape: `add N=${SMALL}, ${STEP} in a step`,
      cost: NOTHING,
      memory: { footprint: 0, written: 0 },
      time: async (o) =>
        (await timeRuns(() => step.run(), backend, o)).map((seconds) => seconds / STEP),
      bytes: () => allocated(() => step.run()),
      dispose: () => {
        step.dispose();
        dispose();
      },
    };
  },
};

/** Heap bytes of a run: the quietest of many windows, since the process itself allocates as well. */
function allocated(run: () => void): number {
  const runs = 1000;
  let least = Number.POSITIVE_INFINITY;
  for (let window = 0; window < 20; window++) {
    const before = process.memoryUsage().heapUsed;
    for (let i = 0; i < runs; i++) run();
    const grown = process.memoryUsage().heapUsed - before;
    // a collection inside the window would hide what was allocated
    if (grown >= 0) least = Math.min(least, grown);
  }
  return Math.floor(least / runs);
}

/** A call of so many tiles with nothing to do in them, replayed. */
export const idlePoint = (tiles: number): Point => ({
  kernel: "idle",
  source: "overhead",
  async prepare(backend) {
    const y = backend.empty([tiles]);
    const call = invoke(roof_idle.spec, [y], { iterations: 1 });
    return {
      variant: "default",
      shape: `tiles=${tiles}`,
      cost: NOTHING,
      memory: { footprint: 0, written: 0 },
      time: (o) => time(call, backend, o),
      dispose: () => y.dispose(),
    };
  },
});

/** Handing one call to the pool and waiting for all of it, while the pool's threads are awake. */
const dispatchJoin: Point = {
  kernel: "dispatch_join",
  source: "overhead",
  lacks: (backend) =>
    backend instanceof WasmBackend && backend.threads > 1
      ? undefined
      : "needs threads: --threads 2 or more",
  prepare: (backend) => idlePoint((backend as WasmBackend).threads).prepare(backend),
};

/**
 * Milliseconds from before the import to the first product, in a process of its own whose own start
 * is not counted; `bytes` is the size of the .wasm file that it loads.
 */
const coldStart = (root: URL): Point => ({
  kernel: "cold_start",
  source: "overhead",
  lacks: (backend) =>
    backend.name === "wasm" ? undefined : `is about wasm modules, not about ${backend.name}`,
  async prepare(backend) {
    const { threads } = backend as WasmBackend;
    const build = buildName(backend.build);
    const dist = new URL("dist/", root);
    const wasm = new URL(`wasm/tilegrad.${build}${threads > 1 ? ".threads" : ""}.wasm`, dist);
    const { size } = await stat(wasm);
    const program = `
      const start = performance.now();
      const { init } = await import("${dist.href}core/index.js");
      const { matmul } = await import("${dist.href}kernels/matmul.js");
      const be = await init("wasm", { wasm: { build: "${build}", threads: ${threads} } });
      const a = be.tensor([64, 64]);
      await matmul(a, a).read();
      console.log(performance.now() - start);
      process.exit();`;
    return {
      variant: "default",
      shape: "import, init, matmul 64",
      cost: NOTHING,
      memory: { footprint: 0, written: 0 },
      time: async ({ minSamples, signal }) => {
        const seconds: number[] = [];
        // a process is a sample: the usual number of them takes some seconds
        while (seconds.length < minSamples) {
          signal.throwIfAborted();
          seconds.push((await inProcess(root, program)) / 1000);
        }
        return seconds.sort((a, b) => a - b);
      },
      bytes: () => size,
      dispose() {},
    } satisfies Subject;
  },
});

/** Kernels whose first call on WebGPU is timed, with the shapes and params of that call. */
const FIRST: Readonly<Record<string, string>> = {
  matmul: "shapes: { a: [256, 256], b: [256, 256] }",
  softmax: "shapes: { x: [1024, 1024] }",
  layernorm: "shapes: { x: [1024, 1024], weight: [1024], bias: [1024] }",
  attention: "shapes: { q: [1, 8, 256, 64], k: [1, 8, 256, 64], v: [1, 8, 256, 64] }",
  conv2d: "shapes: { x: [1, 64, 64, 64], w: [64, 64, 3, 3] }, params: { pad: 1 }",
  adamw:
    "shapes: { p: [1 << 20], m: [1 << 20], v: [1 << 20], g: [1 << 20] }, params: { lr: 1, t: 1 }",
};

/**
 * Seconds that a device which has compiled nothing takes to make a kernel ready, in a process of its own:
 * what the first call costs over the later ones, which are the kernel's own row. `all at once` is all of
 * them in one `prepare`.
 */
const firstCall = (root: URL, kernels: readonly string[]): Point => ({
  kernel: "first_call",
  source: "overhead",
  lacks: (backend) =>
    backend.name === "webgpu" ? undefined : `is about compiling WGSL, not about ${backend.name}`,
  async prepare() {
    const dist = new URL("dist/", root).href;
    const calls = kernels.map((k) => `{ kernel: all.${k}, ${FIRST[k]} }`).join(", ");
    const program = `
      const { ensureAdapter } = await import("${dist}cli/software-adapter.js");
      const { init } = await import("${dist}core/index.js");
      const all = await import("${dist}kernels/index.js");
      const { gpu } = await ensureAdapter();
      const be = await init("webgpu", { webgpu: { gpu } });
      const start = performance.now();
      await be.prepare([${calls}]);
      console.log(performance.now() - start);
      process.exit();`;
    return {
      variant: "default",
      shape: kernels.length > 1 ? "all at once" : kernels[0],
      cost: NOTHING,
      memory: { footprint: 0, written: 0 },
      time: async ({ signal }) => {
        const seconds: number[] = [];
        // a process is a sample, and most of it is compiling
        for (let i = 0; i < 3; i++) {
          signal.throwIfAborted();
          seconds.push((await inProcess(root, program)) / 1000);
        }
        return seconds.sort((a, b) => a - b);
      },
      dispose() {},
    } satisfies Subject;
  },
});

/** What a program prints, in a process with this one's flags. */
async function inProcess(root: URL, program: string): Promise<number> {
  const args = [...process.execArgv, "--input-type=module", "-e", program];
  const child = await promisify(execFile)(process.execPath, args, { cwd: fileURLToPath(root) });
  return Number(child.stdout);
}

/** @param root the package's folder, whose dist/ a fresh process imports */
export const overheads = (root: URL): Point[] => [
  eager,
  replayed,
  dispatchJoin,
  coldStart(root),
  ...Object.keys(FIRST).map((k) => firstCall(root, [k])),
  firstCall(root, Object.keys(FIRST)),
];
