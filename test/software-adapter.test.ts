import { describe, expect, it, vi } from "vitest";
import { globals } from "webgpu";
import { ensureAdapter } from "../cli/software-adapter.js";

describe("ensureAdapter", () => {
  it("gives an adapter that computes", async () => {
    const { gpu, description } = await ensureAdapter();
    expect(description).not.toBe("");
    const adapter = (await gpu.requestAdapter())!;
    const device = await adapter.requestDevice();
    const { GPUBufferUsage, GPUMapMode } = globals as typeof globalThis;

    const code = /* wgsl */ `
      @group(0) @binding(0) var<storage, read_write> y: array<f32>;
      @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
        y[id.x] = y[id.x] * 2.0 + f32(id.x);
      }`;
    const module = device.createShaderModule({ code });
    const pipeline = device.createComputePipeline({ layout: "auto", compute: { module } });
    const n = 256;
    const { STORAGE, COPY_SRC, COPY_DST, MAP_READ } = GPUBufferUsage;
    const y = device.createBuffer({ size: 4 * n, usage: STORAGE | COPY_SRC | COPY_DST });
    const copy = device.createBuffer({ size: 4 * n, usage: MAP_READ | COPY_DST });
    device.queue.writeBuffer(y, 0, new Float32Array(n).fill(3));

    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    const layout = pipeline.getBindGroupLayout(0);
    const entries = [{ binding: 0, resource: { buffer: y } }];
    pass.setBindGroup(0, device.createBindGroup({ layout, entries }));
    pass.dispatchWorkgroups(n / 64);
    pass.end();
    encoder.copyBufferToBuffer(y, 0, copy, 0, 4 * n);
    device.queue.submit([encoder.finish()]);

    await copy.mapAsync(GPUMapMode.READ);
    const result = new Float32Array(copy.getMappedRange());
    expect(Array.from(result)).toEqual(Array.from({ length: n }, (_, i) => 6 + i));
    device.destroy();
  });

  it("reports the optional features that kernels have variants for", async () => {
    const { gpu, software } = await ensureAdapter();
    const { features } = (await gpu.requestAdapter())!;
    // what a hardware adapter has is its own affair
    if (software)
      expect([...features]).toEqual(expect.arrayContaining(["timestamp-query", "subgroups"]));
  });

  it("refuses an unknown TILEGRAD_ADAPTER", async () => {
    vi.resetModules(); // the answer is kept per process
    vi.stubEnv("TILEGRAD_ADAPTER", "quantum");
    const fresh = await import("../cli/software-adapter.js");
    await expect(fresh.ensureAdapter()).rejects.toThrow(
      'TILEGRAD_ADAPTER: expected "software" or "hardware", got "quantum"',
    );
    vi.unstubAllEnvs();
  });
});
