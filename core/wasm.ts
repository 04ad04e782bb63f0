import { Arena } from "./arena.ts";
import { Backend, type CopyCall, type Plan } from "./backend.ts";
import type { Call, Spec } from "./contract.ts";
import { BackendError, MemoryError } from "./errors.ts";
import { asset, isNode, nodeModule, readBytes } from "./runtime.ts";
import { Scalar } from "./scalar.ts";
import { hostArrays, type Tensor } from "./tensor.ts";
import { callWith, type WasmFunction } from "./wasm-call.ts";
import { ARGS, DONE, EPOCH, FUNCTION, JOB_BYTES, movesOn, NARGS, READY } from "./wasm-job.ts";
import type { WorkerStart } from "./wasm-worker.ts";

export interface WasmOptions {
  /** SIMD128 or relaxed SIMD; default: relaxed where the host takes it. */
  readonly build?: "simd" | "relaxed";
  /** Threads including the caller's; default 1. More need shared memory. */
  readonly threads?: number;
  /** Most bytes the memory may grow to; default 4 GiB. */
  readonly maxBytes?: number;
}

/** Static data of the kernels lies below this address; the build checks it. */
const HEAP_BASE = 65536;
const PAGE = 65536;
/** Calls that move less than this many bytes plus FLOPs stay on the calling thread. */
const PARALLEL_WORK = 1 << 17;

/** (func (result v128) … i8x16.relaxed_swizzle): valid only where relaxed SIMD is. */
// biome-ignore format: a binary
const RELAXED_PROBE = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0,
  65, 1, 253, 15, 65, 2, 253, 15, 253, 128, 2, 11,
]);
export const hasRelaxedSimd = (): boolean => WebAssembly.validate(RELAXED_PROBE);

/** Literal URLs, so that bundlers carry the files along. */
const files = {
  simd: () => new URL("../wasm/tilegrad.simd.wasm", import.meta.url),
  relaxed: () => new URL("../wasm/tilegrad.relaxed.wasm", import.meta.url),
  "simd.threads": () => new URL("../wasm/tilegrad.simd.threads.wasm", import.meta.url),
  "relaxed.threads": () => new URL("../wasm/tilegrad.relaxed.threads.wasm", import.meta.url),
};
export type WasmBuild = keyof typeof files;
export const wasmBuilds = Object.keys(files) as WasmBuild[];

/** Why a build cannot run here, or undefined when it can. */
export function whyNot(build: WasmBuild): string | undefined {
  if (build.startsWith("relaxed") && !hasRelaxedSimd()) {
    return "this host has no relaxed SIMD (Node >= 22, Chrome >= 114, Firefox >= 146 do)";
  }
  if (build.endsWith("threads") && typeof SharedArrayBuffer === "undefined") {
    return "this page has no SharedArrayBuffer; serve it with COOP: same-origin and COEP: require-corp";
  }
  return undefined;
}

/** One launch, ready to go: the export, its numbers, and the numbers of each pool thread. */
interface Prepared {
  readonly f: WasmFunction;
  readonly index: number;
  readonly args: number[];
  /** Argument positions that hold a Scalar. */
  readonly dynamic: readonly { readonly at: number; readonly scalar: Scalar }[];
  readonly parts: readonly number[][];
}

/**
 * An array that keeps numbers as V8's tagged values. An array of doubles would box every
 * fraction anew at every call into wasm; this one boxes it once, when it is set.
 */
function boxed(): number[] {
  const a: unknown[] = [undefined];
  a.length = 0;
  return a as number[];
}

/** A pool thread as the main thread sees it. */
class Helper {
  readonly word: Int32Array;
  readonly values: Float64Array;
  epoch = 0;

  constructor(memory: WebAssembly.Memory, mailbox: number) {
    this.word = new Int32Array(memory.buffer, mailbox, JOB_BYTES / 4);
    this.values = new Float64Array(memory.buffer, mailbox + ARGS, (JOB_BYTES - ARGS) / 8);
    this.word.fill(0);
  }

  get ready(): boolean {
    return Atomics.load(this.word, READY) === 1;
  }

  start(index: number, args: readonly number[]): void {
    this.word[FUNCTION] = index;
    this.word[NARGS] = args.length;
    for (let i = 0; i < args.length; i++) this.values[i] = args[i];
    Atomics.store(this.word, EPOCH, ++this.epoch);
    Atomics.notify(this.word, EPOCH);
  }

  join(): void {
    const before = this.epoch - 1;
    // On a busy machine the worker may need this very core: it is given up soon.
    while (!movesOn(this.word, DONE, before, PATIENCE))
      if (mayWait) Atomics.wait(this.word, DONE, before);
  }
}

/** Milliseconds: parts of a kernel end at nearly the same time. */
const PATIENCE = 0.02;
/** The main thread of a page must not wait. */
const mayWait = isNode || !("document" in globalThis);

export class WasmBackend extends Backend {
  readonly name = "wasm";
  readonly build: string;
  readonly threads: number;
  readonly memory: WebAssembly.Memory;
  readonly #module: WebAssembly.Module;
  readonly #exports: Record<string, WasmFunction>;
  readonly #names: readonly string[];
  readonly #indexOf: ReadonlyMap<string, number>;
  readonly #arena: Arena;
  #scratch = { p: 0, bytes: 0 };
  #helpers: Helper[] | undefined;
  #stop: (() => void)[] = [];

  constructor(module: WebAssembly.Module, build: WasmBuild, threads: number, maxBytes: number) {
    super();
    this.build = threads > 1 ? `${build} (${threads} threads)` : build;
    this.threads = threads;
    this.#module = module;
    const shared = threads > 1;
    const memory = shared
      ? new WebAssembly.Memory({ initial: 16, maximum: 65536, shared: true })
      : undefined;
    const { exports } = new WebAssembly.Instance(module, memory ? { env: { memory } } : {});
    this.memory = memory ?? (exports.memory as WebAssembly.Memory);
    this.#exports = exports as unknown as Record<string, WasmFunction>;
    this.#names = Object.keys(exports).filter((n) => typeof exports[n] === "function");
    this.#indexOf = new Map(this.#names.map((n, i) => [n, i]));
    this.#arena = new Arena(HEAP_BASE, this.memory.buffer.byteLength, (limit) => {
      if (limit > maxBytes) return 0;
      const now = this.memory.buffer.byteLength;
      // A quarter more than asked for, so that growth is rare; each growth detaches every view.
      const want = Math.min(maxBytes, Math.max(limit, now * 1.25));
      try {
        this.memory.grow(Math.ceil((want - now) / PAGE));
      } catch {
        return 0;
      }
      return this.memory.buffer.byteLength;
    });
  }

  protected roundUp(bytes: number): number {
    return Math.max(64, Math.ceil(bytes / 64) * 64);
  }

  protected allocate(bytes: number): number {
    const p = this.#arena.alloc(bytes);
    if (p < 0) {
      throw new MemoryError(
        "exhausted",
        `wasm: no room for ${bytes} bytes (${this.bytesInUse} in use, memory is ${this.memory.buffer.byteLength}); dispose tensors or raise maxBytes`,
      );
    }
    return p;
  }

  protected release(handle: unknown, bytes: number): void {
    this.#arena.free(handle as number, bytes);
  }

  view(t: Tensor): Float32Array | Int32Array | Uint32Array {
    const type = hostArrays[t.dtype];
    return new type(this.memory.buffer as ArrayBuffer, this.#pointer(t), t.size);
  }

  #pointer(t: Tensor): number {
    return (t.storage.handle as number) + t.byteOffset;
  }

  async read(t: Tensor): Promise<Float32Array | Int32Array | Uint32Array> {
    return this.view(t).slice();
  }

  protected upload(t: Tensor, data: ArrayLike<number>): void {
    this.view(t).set(data);
  }

  protected clear(t: Tensor): void {
    this.view(t).fill(0);
  }

  protected copyNow(dst: Tensor, src: Tensor): void {
    this.view(dst).set(this.view(src));
  }

  supports(spec: Spec): boolean {
    return spec.wasm !== undefined && this.#indexOf.has(spec.wasm.export ?? `${spec.name}_f32`);
  }

  /** `scratch` is the address of one block per thread. */
  #prepare(call: Call, scratch: number, scratchBytes: number): Prepared | undefined {
    const { spec, dims, params } = call;
    const name = spec.wasm?.export ?? `${spec.name}_f32`;
    const index = this.#indexOf.get(name);
    if (!spec.wasm || index === undefined) {
      throw new BackendError("unsupported", `the wasm build has no ${name}`, spec.name);
    }
    const tiles = spec.wasm.tiles ? spec.wasm.tiles(dims, params) : 1;
    if (tiles === 0) return undefined;
    const args = boxed();
    for (const t of call.tensors) args.push(t ? this.#pointer(t) : 0);
    for (const e of call.extents) args.push(e);
    const dynamic: { at: number; scalar: Scalar }[] = [];
    for (const { value } of call.scalars) {
      if (value instanceof Scalar) dynamic.push({ at: args.length, scalar: value });
      args.push(value instanceof Scalar ? value.value : value);
    }
    const scratchAt = spec.wasm.scratch ? args.length : -1;
    if (scratchAt >= 0) args.push(scratch);
    args.push(0, tiles);

    const parts: number[][] = [];
    const helpers = this.threads > 1 && tiles > 1 && this.#worth(call) ? this.#pool() : [];
    if (helpers.length) {
      const n = helpers.length + 1;
      const cut = (k: number) => Math.floor((tiles * k) / n);
      for (let k = 1; k < n; k++) {
        const part = boxed();
        part.push(...args);
        part[part.length - 2] = cut(k);
        part[part.length - 1] = cut(k + 1);
        if (scratchAt >= 0) part[scratchAt] = scratch + k * scratchBytes;
        parts.push(part);
      }
      args[args.length - 1] = cut(1);
    }
    return { f: this.#exports[name], index, args, dynamic, parts };
  }

  #worth({ spec, dims, params }: Call): boolean {
    const { flops, bytes } = spec.cost(dims, params);
    return flops + bytes >= PARALLEL_WORK;
  }

  /** The pool. It starts at the first call that is worth it; until all of it is up: no threads. */
  #pool(): readonly Helper[] {
    this.#helpers ??= Array.from({ length: this.threads - 1 }, () => this.#spawn());
    return this.#helpers.every((h) => h.ready) ? this.#helpers : [];
  }

  #spawn(): Helper {
    const mailbox = this.allocate(this.roundUp(JOB_BYTES));
    const helper = new Helper(this.memory, mailbox);
    const start: WorkerStart = {
      module: this.#module,
      memory: this.memory,
      names: this.#names,
      mailbox,
    };
    const url = asset(new URL("./wasm-worker.js", import.meta.url));
    if (isNode) {
      const { Worker } = nodeModule<typeof import("node:worker_threads")>("node:worker_threads");
      const w = new Worker(url);
      w.postMessage(start);
      // A sleeping pool must not keep the process alive.
      w.unref();
      this.#stop.push(() => void w.terminate());
    } else {
      const w = new Worker(new URL("./wasm-worker.js", import.meta.url), { type: "module" });
      w.postMessage(start);
      this.#stop.push(() => w.terminate());
    }
    return helper;
  }

  #run(c: Prepared): void {
    for (let i = 0; i < c.dynamic.length; i++) {
      const { at, scalar } = c.dynamic[i];
      if (c.args[at] === scalar.value) continue;
      c.args[at] = scalar.value;
      for (let k = 0; k < c.parts.length; k++) c.parts[k][at] = scalar.value;
    }
    const helpers = this.#helpers;
    if (c.parts.length && helpers) {
      for (let k = 0; k < c.parts.length; k++) helpers[k].start(c.index, c.parts[k]);
      callWith(c.f, c.args);
      for (let k = 0; k < c.parts.length; k++) helpers[k].join();
    } else {
      callWith(c.f, c.args);
    }
    this.dispatches++;
  }

  /** Waits until the pool's threads are up; without it the first calls run on one thread. */
  async startThreads(): Promise<void> {
    if (this.threads === 1) return;
    for (const limit = Date.now() + 10_000; this.#pool().length === 0; ) {
      if (Date.now() > limit)
        throw new BackendError("unavailable", "wasm: the worker pool did not start within 10 s");
      await new Promise((r) => setTimeout(r, 1));
    }
  }

  #scratchBytes({ spec, dims, params }: Call): number {
    const n = spec.wasm?.scratch?.(dims, params) ?? 0;
    return n ? this.roundUp(n) : 0;
  }

  dispatch(call: Call): void {
    const bytes = this.#scratchBytes(call);
    if (bytes * this.threads > this.#scratch.bytes) {
      if (this.#scratch.bytes) this.release(this.#scratch.p, this.#scratch.bytes);
      this.#scratch = { p: 0, bytes: 0 };
      this.#scratch = { p: this.allocate(bytes * this.threads), bytes: bytes * this.threads };
    }
    const c = this.#prepare(call, this.#scratch.p, bytes);
    if (c) this.#run(c);
  }

  /** A plan has parts for each thread only where the pool is up. */
  override async compile(calls: readonly Call[]): Promise<void> {
    if (calls.some((c) => this.#worth(c))) await this.startThreads();
  }

  plan(calls: readonly (Call | CopyCall)[]): Plan {
    const bytes = Math.max(0, ...calls.map((c) => ("spec" in c ? this.#scratchBytes(c) : 0)));
    const scratch = bytes ? this.allocate(bytes * this.threads) : 0;
    let dispatches = 0;
    const steps = calls.flatMap((c): (() => void)[] => {
      if ("spec" in c) {
        const p = this.#prepare(c, scratch, bytes);
        if (p) dispatches++;
        return p ? [() => this.#run(p)] : [];
      }
      const dst = this.#pointer(c.dst);
      const src = this.#pointer(c.src);
      const n = c.dst.byteLength;
      return [() => new Uint8Array(this.memory.buffer).copyWithin(dst, src, src + n)];
    });
    return {
      dispatches,
      run: () => {
        this.assertLive();
        for (let i = 0; i < steps.length; i++) steps[i]();
      },
      dispose: () => {
        if (bytes && !this.dead) this.release(scratch, bytes * this.threads);
      },
    };
  }

  /** wasm calls are done when they return; only a pool that is still starting is waited for. */
  async flush(): Promise<void> {
    if (this.#helpers) await this.startThreads();
  }

  dispose(): void {
    if (this.dead) return;
    this.dead = new BackendError("lost", "the wasm backend was disposed");
    for (const stop of this.#stop) stop();
    this.#stop = [];
  }
}

export async function openWasm(options: WasmOptions = {}): Promise<Backend> {
  const { threads = 1, maxBytes = 65536 * PAGE } = options;
  if (!Number.isInteger(threads) || threads < 1 || threads > 64) {
    throw new BackendError(
      "unavailable",
      `wasm: threads: expected an integer in 1 … 64, got ${threads}`,
    );
  }
  const simd = options.build ?? (hasRelaxedSimd() ? "relaxed" : "simd");
  const build: WasmBuild = threads > 1 ? `${simd}.threads` : simd;
  if (!(build in files))
    throw new BackendError("unavailable", `wasm: build: expected simd or relaxed, got '${simd}'`);
  const why = whyNot(build);
  if (why) throw new BackendError("unavailable", `wasm (${build}): ${why}`);
  const url = asset(files[build]());
  let module: WebAssembly.Module;
  try {
    module = await WebAssembly.compile(await readBytes(url));
  } catch (e) {
    throw new BackendError(
      "unavailable",
      `wasm (${build}): ${url.pathname.split("/").at(-1)} cannot be loaded: ${(e as Error).message}; in a checkout run 'npm run build'`,
    );
  }
  return new WasmBackend(module, build, threads, maxBytes);
}
