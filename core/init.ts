import type { Backend, BackendName } from "./backend.ts";
import { BackendError } from "./errors.ts";
import type { WasmBackend, WasmOptions } from "./wasm.ts";
import type { WebgpuBackend, WebgpuOptions } from "./webgpu.ts";

export interface InitOptions {
  /**
   * Look at indices before each launch: one outside its range raises a ValueError, on WebGPU at the next
   * read. Without it such an index reads as the kernel's contract says, and writes nothing.
   */
  readonly checked?: boolean;
  readonly wasm?: WasmOptions;
  readonly webgpu?: WebgpuOptions;
}

// Dynamic, so that a page only loads the backend it opens.
const open: Record<BackendName, (o: InitOptions) => Promise<Backend>> = {
  ref: async () => (await import("./ref.ts")).openRef(),
  wasm: async (o) => (await import("./wasm.ts")).openWasm(o.wasm),
  webgpu: async (o) => (await import("./webgpu.ts")).openWebgpu(o.webgpu),
};

/**
 * Opens a backend. A name must be available; of a list the first that works is taken, and
 * `backend.name` says which.
 * @throws BackendError with the reason and the remedy, for a list those of every entry.
 */
export async function init(name: "webgpu", options?: InitOptions): Promise<WebgpuBackend>;
export async function init(name: "wasm", options?: InitOptions): Promise<WasmBackend>;
export async function init(
  names: BackendName | readonly BackendName[],
  options?: InitOptions,
): Promise<Backend>;
export async function init(
  names: BackendName | readonly BackendName[],
  options: InitOptions = {},
): Promise<Backend> {
  const list = typeof names === "string" ? [names] : names;
  for (const name of list) {
    if (!Object.hasOwn(open, name)) {
      throw new BackendError(
        "unavailable",
        `unknown backend '${name}'; there are ref, wasm, webgpu`,
      );
    }
  }
  const why: BackendError[] = [];
  for (const name of list) {
    try {
      const backend = await open[name](options);
      backend.checked = options.checked ?? false;
      return backend;
    } catch (e) {
      if (!(e instanceof BackendError)) throw e;
      if (list.length === 1) throw e;
      why.push(e);
    }
  }
  throw new BackendError(
    "unavailable",
    why.length
      ? `no backend works: ${why.map((e) => e.detail).join("; ")}`
      : "no backend was named",
  );
}
