import type { Backend, BackendName } from "../core/backend.ts";
import { BackendError } from "../core/errors.ts";
import { init } from "../core/index.ts";
import { ensureAdapter } from "./software-adapter.ts";

export const BACKENDS: readonly BackendName[] = ["ref", "wasm", "webgpu"];

/** Opens a backend by name; WebGPU on hardware, or without it on the software adapter. */
export async function openBackend(name: BackendName): Promise<Backend> {
  if (name !== "webgpu") return init(name);
  return init("webgpu", { webgpu: { gpu: (await findAdapter()).gpu } });
}

export async function findAdapter(): ReturnType<typeof ensureAdapter> {
  try {
    return await ensureAdapter();
  } catch (error) {
    throw new BackendError("unavailable", `webgpu: ${(error as Error).message}`);
  }
}
