import { cpus, totalmem } from "node:os";
import { defineCommand } from "citty";
import type { BackendName } from "../core/backend.ts";
import { TilegradError } from "../core/errors.ts";
import { init } from "../core/index.ts";
import { wasmBuilds, whyNot } from "../core/wasm.ts";
import { WebgpuBackend } from "../core/webgpu.ts";
import { BACKENDS, findAdapter, openBackend } from "./backends.ts";
import { colours } from "./format.ts";
import { version } from "./version.ts";

/** Available, or why not and what to do about it. */
interface Availability {
  readonly name: string;
  readonly available: boolean;
  readonly build?: string;
  readonly reason?: string;
}

interface Gpu {
  readonly description: string;
  readonly software: boolean;
  readonly vendor: string;
  readonly architecture: string;
  readonly device: string;
}

async function attempt(name: string, open: () => Promise<string>): Promise<Availability> {
  try {
    return { name, available: true, build: await open() };
  } catch (error) {
    if (!(error instanceof TilegradError)) throw error;
    return { name, available: false, reason: error.detail };
  }
}

async function wasmBuild(name: (typeof wasmBuilds)[number]): Promise<Availability> {
  const reason = whyNot(name);
  if (reason) return { name, available: false, reason };
  const [build, threads] = name.split(".");
  return attempt(name, async () => {
    const options = { build: build as "simd" | "relaxed", threads: threads ? 2 : 1 };
    using backend = await init("wasm", { wasm: options });
    return backend.build;
  });
}

async function gather() {
  let adapter: Gpu | null = null;
  let features: string[] = [];
  const limits: Record<string, number> = {};

  const backend = (name: BackendName) =>
    attempt(name, async () => {
      using opened = await openBackend(name);
      if (opened instanceof WebgpuBackend) {
        const { software, description } = await findAdapter();
        const { vendor, architecture, device } = opened.adapterInfo;
        adapter = { description, software, vendor, architecture, device };
        features = [...opened.device.features].sort();
        // The limits are getters of a prototype, which JSON would not show.
        const names = Object.getOwnPropertyNames(Object.getPrototypeOf(opened.device.limits));
        for (const limit of names.sort()) {
          const value = opened.device.limits[limit as keyof GPUSupportedLimits];
          if (typeof value === "number") limits[limit] = value;
        }
      }
      return opened.build;
    });

  const backends: Availability[] = [];
  for (const name of BACKENDS) backends.push(await backend(name));
  const wasm: Availability[] = [];
  for (const name of wasmBuilds) wasm.push(await wasmBuild(name));
  const machine = {
    platform: `${process.platform}-${process.arch}`,
    node: process.versions.node,
    cpu: cpus()[0]?.model ?? "unknown",
    cores: cpus().length,
    memory: totalmem(),
  };
  return {
    version: await version(),
    machine,
    backends,
    wasm,
    adapter: adapter as Gpu | null,
    features,
    limits,
  };
}

export const info = defineCommand({
  meta: {
    name: "info",
    description: "Show which backends and builds work here, and why others do not",
  },
  args: {
    json: { type: "boolean", description: "Print one JSON object" },
  },
  async run({ args }) {
    const found = await gather();
    if (args.json) {
      console.log(JSON.stringify(found, null, 2));
      return;
    }
    const { machine, adapter } = found;
    const line = ({ name, available, build, reason }: Availability) => {
      const mark = available ? colours.green("yes") : colours.red("no ");
      console.log(`  ${name.padEnd(16)} ${mark}  ${available ? build : reason}`);
    };
    const title = (text: string) => console.log(colours.bold(text));
    title(`tilegrad ${found.version}`);
    console.log(`  Node ${machine.node}, ${machine.platform}`);
    console.log(
      `  ${machine.cpu}, ${machine.cores} cores, ${(machine.memory / 2 ** 30).toFixed(1)} GiB`,
    );
    title("Backends");
    found.backends.forEach(line);
    title("WebAssembly builds");
    found.wasm.forEach(line);
    if (adapter) {
      title("WebGPU adapter");
      console.log(`  ${adapter.description}${adapter.software ? " (software)" : ""}`);
      console.log(`  features  ${found.features.join(", ") || "none"}`);
      console.log("  limits");
      for (const [name, value] of Object.entries(found.limits)) {
        console.log(`    ${name.padEnd(42)} ${value}`);
      }
    }
  },
});
