// onnxruntime-web on its WebGPU execution provider; inputs and outputs stay in buffers of the GPU.
import ort from "onnxruntime-web/webgpu";
import { model } from "../onnx.mjs";
import { operations } from "../ort.mjs";
import { serve } from "../page.mjs";

ort.env.wasm.wasmPaths = "/ort/";
ort.env.logLevel = "error";

// the first session makes the device
const options = { executionProviders: ["webgpu"] };
const first = model({
  nodes: [{ op: "Exp", inputs: ["x"], outputs: ["y"] }],
  inputs: { x: [1] },
  output: ["y", [1]],
});
await ort.InferenceSession.create(first, options);
const device = await ort.env.webgpu.device;

function place(data, dims) {
  const { STORAGE, COPY_SRC, COPY_DST } = GPUBufferUsage;
  const usage = STORAGE | COPY_SRC | COPY_DST;
  const buffer = device.createBuffer({ size: data.byteLength, usage, mappedAtCreation: true });
  new Float32Array(buffer.getMappedRange()).set(data);
  buffer.unmap();
  const dispose = () => buffer.destroy();
  return ort.Tensor.fromGpuBuffer(buffer, { dataType: "float32", dims, dispose });
}

await serve(
  `ort-webgpu ${ort.env.versions.web}`,
  operations(ort, { ...options, preferredOutputLocation: "gpu-buffer" }, place),
);
