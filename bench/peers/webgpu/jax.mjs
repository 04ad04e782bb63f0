// jax-js on its WebGPU backend.
import { defaultDevice, init } from "@jax-js/jax";
import { operations } from "../jax-ops.mjs";
import { version } from "../node_modules/@jax-js/jax/package.json";
import { serve } from "../page.mjs";

await init("webgpu");
defaultDevice("webgpu");

await serve(
  `jax-js ${version}`,
  operations(async (outputs) => {
    // asking for the buffer is what submits the work; it does not wait for it
    for (const y of outputs) await y.gpuBuffer();
  }),
);
