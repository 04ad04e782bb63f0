import { ensureAdapter } from "../../cli/software-adapter.ts";
import {
  type Backend,
  type BackendName,
  type InitOptions,
  init,
  type WebgpuBackend,
} from "../../core/index.ts";
import type { WebgpuOptions } from "../../core/webgpu.ts";

/** A backend for a test; WebGPU on hardware or, without it, on the software adapter. */
export async function openBackend(name: BackendName, options: InitOptions = {}): Promise<Backend> {
  if (name !== "webgpu") return init(name, options);
  const { gpu } = await ensureAdapter();
  return init("webgpu", { ...options, webgpu: { gpu, ...options.webgpu } });
}

export const openWebgpu = async (webgpu: WebgpuOptions = {}): Promise<WebgpuBackend> =>
  (await openBackend("webgpu", { webgpu })) as WebgpuBackend;
