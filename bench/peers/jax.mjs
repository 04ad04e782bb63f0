// jax-js on its WebAssembly backend. It runs on one thread here.
import { createRequire } from "node:module";
import { defaultDevice, init } from "@jax-js/jax";
import { serve } from "./host.mjs";
import { operations } from "./jax-ops.mjs";

await init("wasm");
defaultDevice("wasm");
const { version } = createRequire(import.meta.url)("./node_modules/@jax-js/jax/package.json");

await serve(
  { build: `jax-js ${version}`, backend: "wasm", native: false, threads: 1 },
  operations(async (outputs) => {
    for (const y of outputs) {
      await y.blockUntilReady();
      y.dispose();
    }
  }),
);
