import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";
import { hasRelaxedSimd } from "./core/wasm.ts";
import { expandWgsl, wgslModule } from "./scripts/wgsl.mjs";

/** `import source from "x.wgsl"` from the sources, the way the build does it for dist. */
const wgsl: Plugin = {
  name: "wgsl",
  load(id) {
    if (!id.endsWith(".wgsl")) return undefined;
    const { text, files } = expandWgsl(id);
    for (const file of files) this.addWatchFile(file);
    return wgslModule(text);
  },
};

export default defineConfig({
  plugins: [wgsl],
  test: {
    include: ["test/**/*.test.ts"],
    environment: "node",
    setupFiles: ["test/setup.ts"],
    reporters: ["default", "./test/summary-reporter.ts"],
    // Processes, not threads: the software adapter is chosen through the environment, which worker
    // threads only have a copy of. SwiftShader itself uses every core, so more workers gain nothing.
    pool: "forks",
    maxWorkers: 2,
    // Node 20 has relaxed SIMD behind a flag: the relaxed builds are tested there too.
    execArgv: hasRelaxedSimd() ? [] : ["--experimental-wasm-relaxed-simd"],
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
