import type { Backend, CopyCall } from "./backend.ts";
import type { Call } from "./contract.ts";
import { Scalar } from "./scalar.ts";
import { type GpuContext, writeUniforms } from "./webgpu-context.ts";
import { cutCall } from "./webgpu-cut.ts";
import { type GpuMemory, memoryOf, SLOT, Usage } from "./webgpu-memory.ts";
import { isWritten, passesOf } from "./webgpu-variant.ts";

/** One dispatch of a plan, everything that can be made made. */
interface Launch {
  readonly pipeline: GPUComputePipeline;
  readonly group: GPUBindGroup;
  readonly offsets: number[];
  readonly x: number;
  readonly y: number;
}

/** A list of calls on one device. */
export interface BuiltPlan {
  readonly dispatches: number;
  run(): void;
  release(): void;
}

export function buildPlan(
  ctx: GpuContext,
  be: Backend,
  calls: readonly (Call | CopyCall)[],
): BuiltPlan {
  const { device } = ctx;
  const releases: (() => void)[] = [];
  const cut = calls.flatMap((c) => {
    if (!("spec" in c) || !ctx.isTooLarge(c)) return [c];
    const { steps, release } = cutCall(be, c, ctx.maxBinding);
    releases.push(release);
    return steps;
  });
  const kernels = cut.filter((c): c is Call => "spec" in c);
  const bytes = new ArrayBuffer(Math.max(1, kernels.length) * SLOT);
  const view = new DataView(bytes);
  const uniform = ctx.pool.buffer(bytes.byteLength, Usage.UNIFORM | Usage.COPY_DST);
  const scratchSize = Math.max(
    0,
    ...kernels.map((c) => {
      const v = ctx.variant(c);
      return v.scratch ? ctx.scratchBytes(v, c) : 0;
    }),
  );
  const scratch = scratchSize ? ctx.pool.take(scratchSize) : undefined;
  const dynamic: { call: Call; offset: number }[] = [];
  const reads = new Set<GpuMemory>();
  const writes = new Set<GpuMemory>();
  let slot = 0;
  let dispatches = 0;
  const steps = cut.flatMap((c): (CopyCall | Launch)[] => {
    const touched = "spec" in c ? c.tensors : [c.dst, c.src];
    touched.forEach((t, i) => {
      if (!t) return;
      const m = memoryOf(t);
      const written = "spec" in c ? isWritten(c.spec.args[i]) : i === 0;
      const fresh = "spec" in c ? ["out", "acc"].includes(c.spec.args[i].role) : i === 0;
      if (!fresh && !writes.has(m)) reads.add(m);
      if (written) writes.add(m);
    });
    if (!("spec" in c)) return [c];
    const variant = ctx.variant(c);
    const offset = slot++ * SLOT;
    writeUniforms(view, offset, c);
    if (c.scalars.some((s) => s.value instanceof Scalar)) dynamic.push({ call: c, offset });
    return passesOf(variant).flatMap((pass): Launch[] => {
      const [x, y] = ctx.fold(pass.grid(c.dims, c.params));
      if (x === 0) return [];
      const p = ctx.pipelines.get(c.spec, variant, pass);
      const group = ctx.bindGroup(p, c, uniform, variant.scratch && scratch, false);
      dispatches++;
      return [{ pipeline: p.pipeline, group, offsets: [offset], x, y }];
    });
  });
  device.queue.writeBuffer(uniform, 0, bytes);
  const [readList, writeList] = [[...reads], [...writes]];
  const encode = () => {
    const encoder = device.createCommandEncoder();
    let pass: GPUComputePassEncoder | undefined;
    let current: GPUComputePipeline | undefined;
    for (const s of steps) {
      if ("dst" in s) {
        pass?.end();
        pass = undefined;
        current = undefined;
        ctx.encodeCopy(encoder, s.dst, s.src);
        continue;
      }
      pass ??= encoder.beginComputePass();
      if (s.pipeline !== current) pass.setPipeline(s.pipeline);
      current = s.pipeline;
      pass.setBindGroup(0, s.group, s.offsets);
      pass.dispatchWorkgroups(s.x, s.y);
    }
    pass?.end();
    device.queue.submit([encoder.finish()]);
  };
  return {
    dispatches,
    run: () => {
      for (const m of readList) m.assertValid("a step");
      for (const { call, offset } of dynamic) writeUniforms(view, offset, call);
      if (dynamic.length) device.queue.writeBuffer(uniform, 0, bytes);
      for (const m of writeList) m.written();
      ctx.send(cut, encode);
    },
    release: () => {
      if (scratch) ctx.pool.give(scratch);
      for (const r of releases) r();
      ctx.pool.destroy(uniform);
    },
  };
}
