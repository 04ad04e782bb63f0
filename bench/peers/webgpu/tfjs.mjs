// TensorFlow.js on its WebGPU backend.
import * as tf from "@tensorflow/tfjs-core";
import "@tensorflow/tfjs-core/dist/register_all_gradients.js";
import "@tensorflow/tfjs-backend-webgpu";
import { version } from "../node_modules/@tensorflow/tfjs-backend-webgpu/package.json";
import { serve } from "../page.mjs";
import { operations } from "../tfjs-ops.mjs";

await tf.setBackend("webgpu");
await tf.ready();

/** It holds commands back until there are some, and keeps a pass open for the next. */
function flush() {
  const backend = tf.backend();
  if (!backend.commandEncoder) return;
  backend.endComputePassEncoder();
  backend.submitQueue();
}

await serve(`tfjs-webgpu ${version}`, operations(tf), flush);
