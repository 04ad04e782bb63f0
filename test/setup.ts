// Runs in every test process before its tests: from here on Dawn finds an adapter.
import { ensureAdapter } from "../cli/software-adapter.js";

try {
  await ensureAdapter();
} catch (error) {
  // tests that need WebGPU fail by themselves; those that do not can still be of use
  console.warn((error as Error).message);
}
