/**
 * A WebGPU adapter in Node, whatever the machine: the hardware's if Dawn (npm `webgpu`) finds one,
 * otherwise SwiftShader, a Vulkan driver that runs on the CPU. SwiftShader and a Vulkan loader are
 * taken from the npm package `@sparticuz/chromium`, which ships them for Linux x64; no browser is
 * started and nothing is downloaded. A software adapter is for correctness, not for speed.
 *
 *     const { gpu, software, description } = await ensureAdapter();
 *     const adapter = await gpu.requestAdapter();
 *
 * Afterwards any Dawn instance created in this process finds the same adapter. Call it on the main
 * thread: a worker thread has its own copy of the environment, which a Vulkan loader does not see.
 * What it unpacks (7 MB) stays in $XDG_CACHE_HOME or ~/.cache.
 *
 * TILEGRAD_ADAPTER=software skips the hardware, TILEGRAD_ADAPTER=hardware refuses anything else.
 */
import { constants } from "node:os";
import { join } from "node:path";
import { isMainThread } from "node:worker_threads";
import { CHROMIUM_PACKAGE, unpackChromium } from "./chromium-package.ts";

export interface Adapter {
  /** Keep it as long as devices made from it are in use. */
  gpu: GPU;
  software: boolean;
  /** For people: what the adapter calls itself. */
  description: string;
}

/** RTLD_NODELETE of glibc and musl, which node:os does not list. */
const RTLD_NODELETE = 0x1000;
const { RTLD_NOW, RTLD_GLOBAL } = constants.dlopen;

const LOADER = "libvulkan.so.1";
const DRIVER = "libvk_swiftshader.so";
const DRIVER_MANIFEST = "vk_swiftshader_icd.json";

const REMEDY =
  `Install a Vulkan driver for the GPU, or on Linux x64 \`npm install ${CHROMIUM_PACKAGE}\` ` +
  "for a software adapter.";

let found: Promise<Adapter> | undefined;

/** Finds an adapter once per process. Throws, with the reason and a remedy, if there is none. */
export function ensureAdapter(): Promise<Adapter> {
  found ??= findAdapter();
  return found;
}

async function findAdapter(): Promise<Adapter> {
  const wanted = process.env.TILEGRAD_ADAPTER;
  if (wanted !== undefined && wanted !== "software" && wanted !== "hardware") {
    throw new Error(`TILEGRAD_ADAPTER: expected "software" or "hardware", got "${wanted}"`);
  }

  if (wanted !== "software") {
    const hardware = await probe();
    if (hardware && !hardware.software) return hardware;
    if (wanted === "hardware") {
      throw new Error(`No hardware WebGPU adapter, and TILEGRAD_ADAPTER=hardware. ${REMEDY}`);
    }
  }

  try {
    const wanted = { "swiftshader.tar.br": [LOADER, DRIVER, DRIVER_MANIFEST] };
    const folder = await unpackChromium("swiftshader", wanted);
    // older loaders know only the first name
    process.env.VK_ICD_FILENAMES = join(folder, DRIVER_MANIFEST);
    process.env.VK_DRIVER_FILES = process.env.VK_ICD_FILENAMES;
    if (!loadLibrary(LOADER)) loadLibrary(join(folder, LOADER));
  } catch (error) {
    const reason = (error as Error).message;
    throw new Error(`No WebGPU adapter: no hardware one, and ${reason}. ${REMEDY}`);
  }
  const adapter = await probe();
  if (adapter) return adapter;
  if (!isMainThread) {
    throw new Error("No WebGPU adapter: call ensureAdapter on the main thread first.");
  }
  throw new Error(`No WebGPU adapter: Dawn does not accept SwiftShader. ${REMEDY}`);
}

/** Asks a fresh Dawn instance: an instance remembers what it found, so none is kept in vain. */
async function probe(): Promise<Adapter | undefined> {
  // without a loader Dawn would only print a warning about that
  if (process.platform === "linux" && !loadLibrary(LOADER)) return undefined;
  const { create } = await import("webgpu").catch((error: Error) => {
    throw new Error(
      `No WebGPU: the package webgpu does not load (${error.message}). \`npm install webgpu\` has it.`,
    );
  });
  const gpu = create([]);
  const info = (await gpu.requestAdapter())?.info;
  if (!info) return undefined;
  const description = info.description || info.device || info.architecture || info.vendor;
  return { gpu, software: info.isFallbackAdapter, description };
}

/**
 * Loads a shared library into the process for good, so that Dawn's own dlopen by name finds it
 * (LD_LIBRARY_PATH is read at process start only). Node wants an addon, says that this is none and
 * closes it again, which NODELETE makes harmless.
 */
function loadLibrary(path: string): boolean {
  try {
    process.dlopen({ exports: {} }, path, RTLD_NOW | RTLD_GLOBAL | RTLD_NODELETE);
    return true;
  } catch (error) {
    return (error as Error).message.includes("did not self-register");
  }
}
