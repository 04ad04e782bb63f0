// TensorFlow.js on its WebAssembly backend (SIMD). Its tensors stay in the wasm heap. Its threaded
// build makes a worker from a blob: URL, which Node refuses, so it runs on one thread.
import { createRequire } from "node:module";
import { dirname } from "node:path";
import { serve } from "./host.mjs";
import { operations } from "./tfjs-ops.mjs";

const require = createRequire(import.meta.url);
// the whole package, since tfjs-core alone comes without gradients
const tf = require("@tensorflow/tfjs");
const { setWasmPaths, version_wasm } = require("@tensorflow/tfjs-backend-wasm");
setWasmPaths(`${dirname(require.resolve("@tensorflow/tfjs-backend-wasm"))}/`);
tf.env().set("WASM_HAS_MULTITHREAD_SUPPORT", false);
await tf.setBackend("wasm");
await tf.ready();

await serve(
  { build: `tfjs ${version_wasm} simd`, backend: "wasm", native: false, threads: 1 },
  operations(tf),
);
