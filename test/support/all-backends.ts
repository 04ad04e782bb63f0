import { afterAll, beforeAll } from "vitest";
import type { Backend } from "../../core/index.ts";
import { openBackend } from "./backends.ts";

// For the file of tests that imports this: open from its first test to its last.

/** What others are compared with. */
export let ref: Backend;
/** wasm and WebGPU. */
export let others: Backend[];

beforeAll(async () => {
  ref = await openBackend("ref");
  others = [await openBackend("wasm"), await openBackend("webgpu")];
});
afterAll(() => {
  for (const be of [ref, ...others]) be.dispose();
});
