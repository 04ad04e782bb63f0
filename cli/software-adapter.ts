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
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { constants, homedir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { isMainThread } from "node:worker_threads";
import { brotliDecompress } from "node:zlib";

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
  "Install a Vulkan driver for the GPU, or on Linux x64 `npm install @sparticuz/chromium@147.0.2` " +
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
    const folder = await unpackSwiftShader();
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

/** The folder with loader, driver and manifest; unpacked once per user and package version. */
async function unpackSwiftShader(): Promise<string> {
  if (process.platform !== "linux" || process.arch !== "x64") {
    throw new Error(
      `SwiftShader comes for linux-x64 only, this is ${process.platform}-${process.arch}`,
    );
  }
  const root = chromiumPackage();
  const { version } = JSON.parse(await readFile(join(root, "package.json"), "utf8"));
  const cache = process.env.XDG_CACHE_HOME || join(homedir(), ".cache");
  const folder = join(cache, "tilegrad", `swiftshader-${version}`);
  if (existsSync(folder)) return folder;

  const archive = await readFile(join(root, "bin", "swiftshader.tar.br"));
  const files = untar(await promisify(brotliDecompress)(archive));
  await mkdir(dirname(folder), { recursive: true });
  const partial = await mkdtemp(`${folder}-`);
  try {
    for (const name of [LOADER, DRIVER, DRIVER_MANIFEST]) {
      const content = files.get(name);
      if (!content) throw new Error(`@sparticuz/chromium ${version} holds no ${name}`);
      await writeFile(join(partial, name), content);
    }
    await rename(partial, folder);
  } catch (error) {
    await rm(partial, { recursive: true, force: true });
    // another process was quicker: its folder is as good
    if (!existsSync(folder)) throw error;
  }
  return folder;
}

/** Where the package lies: its exports hide everything but its entry. */
function chromiumPackage(): string {
  try {
    const entry = createRequire(import.meta.url).resolve("@sparticuz/chromium");
    return entry.slice(0, entry.lastIndexOf("/build/"));
  } catch {
    throw new Error("the package @sparticuz/chromium is not installed");
  }
}

/** The files of a plain tar archive (no long names, no links: it holds five files). */
function untar(bytes: Uint8Array): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>();
  const text = (from: number, length: number) =>
    new TextDecoder().decode(bytes.subarray(from, from + length)).replace(/\0.*$/s, "");
  for (let at = 0; at < bytes.length && bytes[at] !== 0; ) {
    const size = Number.parseInt(text(at + 124, 12), 8);
    files.set(text(at, 100), bytes.subarray(at + 512, at + 512 + size));
    at += 512 + Math.ceil(size / 512) * 512;
  }
  return files;
}
