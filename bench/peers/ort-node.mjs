// onnxruntime-node: ONNX Runtime as machine code of this CPU, AVX-512 where it has that.
import ort from "onnxruntime-node";
import { serve, threads } from "./host.mjs";
import { operations } from "./ort.mjs";

await serve(
  { build: `ort-node ${ort.env.versions.node}`, backend: "native", native: true, threads },
  operations(ort, {
    executionProviders: ["cpu"],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    logSeverityLevel: 3,
  }),
);
