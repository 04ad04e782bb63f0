import { ensureAdapter } from "../../cli/software-adapter.ts";
import { type Backend, type BackendName, type InitOptions, init } from "../../core/index.ts";

/** A backend for a test; WebGPU on hardware or, without it, on the software adapter. */
export async function openBackend(name: BackendName, options: InitOptions = {}): Promise<Backend> {
  if (name !== "webgpu") return init(name, options);
  const { gpu } = await ensureAdapter();
  return init("webgpu", { ...options, webgpu: { gpu } });
}
