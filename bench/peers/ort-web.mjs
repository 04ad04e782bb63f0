// onnxruntime-web: ONNX Runtime as WebAssembly.
import ort from "onnxruntime-web";
import { serve, threads } from "./host.mjs";
import { operations } from "./ort.mjs";

ort.env.wasm.numThreads = threads;
ort.env.logLevel = "error";

await serve(
  { build: `ort-web ${ort.env.versions.web}`, backend: "wasm", native: false, threads },
  operations(ort, { executionProviders: ["wasm"] }),
);
