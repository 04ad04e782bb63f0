import { BackendError } from "./errors.ts";
import { isNode } from "./runtime.ts";

/** Limits that are worth lowering: to try on a large device what a small one would do. */
export interface WebgpuLimits {
  /** Bytes of a tensor that a kernel can be given whole; larger ones are cut. */
  readonly maxStorageBufferBindingSize?: number;
  /** Workgroups along one axis; larger grids are folded. */
  readonly maxComputeWorkgroupsPerDimension?: number;
}

export interface WebgpuOptions {
  /** Entry to WebGPU; default `navigator.gpu`, in Node that of the npm package `webgpu`. */
  readonly gpu?: GPU;
  /** A device to run on. It stays yours: dispose() leaves it alive. */
  readonly device?: GPUDevice;
  readonly powerPreference?: GPUPowerPreference;
  /** Stay below these, on top of the device's own limits. */
  readonly limits?: WebgpuLimits;
  /** Use no optional feature, whatever the device has. */
  readonly plain?: boolean;
  /**
   * Keep what the host writes, so that `recover` can write it again: the memory once more, on the
   * host. A copy is dropped when a kernel writes over the tensor.
   */
  readonly hostCopies?: boolean;
}

/** The entry to WebGPU of this host, or why there is none. */
async function hostGpu(): Promise<GPU> {
  const nav = (globalThis as { navigator?: { gpu?: GPU } }).navigator;
  if (nav?.gpu) return nav.gpu;
  if (!isNode) {
    throw new BackendError(
      "unavailable",
      "webgpu: this browser has no navigator.gpu; a secure context (https or localhost) and a recent browser are needed",
    );
  }
  // A variable: bundlers must not look for the optional package.
  const name = "webgpu";
  try {
    const dawn = (await import(name)) as { create(flags: string[]): GPU };
    return dawn.create([]);
  } catch (e) {
    throw new BackendError(
      "unavailable",
      `webgpu: Node has no WebGPU of its own and the npm package 'webgpu' cannot be loaded (${(e as Error).message.split("\n")[0]}); npm install webgpu`,
    );
  }
}

const FEATURES: readonly GPUFeatureName[] = ["shader-f16", "subgroups", "timestamp-query"];

/** A device with the optional features and the largest buffers that its adapter has. */
export async function requestDevice(options: WebgpuOptions): Promise<GPUDevice> {
  const gpu = options.gpu ?? (await hostGpu());
  const { powerPreference } = options;
  const adapter = await gpu.requestAdapter(powerPreference ? { powerPreference } : {});
  if (!adapter) {
    throw new BackendError(
      "unavailable",
      "webgpu: no adapter was found; a GPU with a Vulkan, Metal or D3D12 driver is needed, or a software one",
    );
  }
  const { maxStorageBufferBindingSize, maxBufferSize } = adapter.limits;
  return adapter.requestDevice({
    requiredFeatures: FEATURES.filter((f) => !options.plain && adapter.features.has(f)),
    requiredLimits: { maxStorageBufferBindingSize, maxBufferSize },
  });
}
