import { type Call, type Spec, scalarNames, type WebgpuVariant } from "./contract.ts";
import { Scalar } from "./scalar.ts";
import type { Tensor } from "./tensor.ts";
import { isTooLarge } from "./webgpu-cut.ts";
import type { WebgpuOptions } from "./webgpu-device.ts";
import { Failures, typedError } from "./webgpu-failures.ts";
import { type Event, Journal, nameAll } from "./webgpu-journal.ts";
import { type GpuMemory, MemoryPool, memoryOf, SLOT, sizeClass } from "./webgpu-memory.ts";
import { type Pipeline, Pipelines } from "./webgpu-pipelines.ts";
import { type Capabilities, chooseVariant, narrowed } from "./webgpu-variant.ts";

/** What belongs to one device, and ends with it. */
export class GpuContext {
  readonly device: GPUDevice;
  /** Whether it is ours to destroy. */
  readonly owned: boolean;
  readonly capabilities: Capabilities;
  readonly maxBinding: number;
  readonly failures: Failures;
  readonly journal = new Journal();
  readonly pool: MemoryPool;
  readonly pipelines: Pipelines;
  readonly absent: GpuMemory;
  readonly #maxGroups: number;
  readonly #forced: ReadonlyMap<Spec, WebgpuVariant>;
  readonly #bindGroups = new Map<string, GPUBindGroup>();

  constructor(
    device: GPUDevice,
    owned: boolean,
    { limits = {}, plain = false }: WebgpuOptions,
    forced: ReadonlyMap<Spec, WebgpuVariant>,
  ) {
    this.device = device;
    this.owned = owned;
    this.#forced = forced;
    this.capabilities = {
      features: plain ? new Set<string>() : device.features,
      software: device.adapterInfo.isFallbackAdapter,
    };
    this.maxBinding = Math.min(
      device.limits.maxStorageBufferBindingSize,
      limits.maxStorageBufferBindingSize ?? Number.POSITIVE_INFINITY,
    );
    this.#maxGroups = Math.min(
      device.limits.maxComputeWorkgroupsPerDimension,
      limits.maxComputeWorkgroupsPerDimension ?? Number.POSITIVE_INFINITY,
    );
    this.failures = new Failures(device);
    this.pool = new MemoryPool(device, this.failures);
    this.pipelines = new Pipelines(device);
    // What stands in for an optional input that was left out.
    this.absent = this.pool.take(SLOT);
    // On a foreign device, what is not caught belongs to its owner.
    if (owned) {
      device.addEventListener("uncapturederror", (event) => {
        event.preventDefault();
        this.failures.add(typedError((event as GPUUncapturedErrorEvent).error, "a command"));
      });
    }
  }

  variant(call: Call): WebgpuVariant {
    const { spec, scalars, tensors } = call;
    const names = scalarNames(spec);
    const adds = scalars.some(({ value }, i) => names[i].output !== undefined && value !== 0);
    const present = spec.args.some((a, i) => a.role === "opt" && tensors[i] !== undefined);
    return narrowed(this.#forced.get(spec) ?? this.#choose(call), adds, present);
  }

  #choose({ spec, dims, params, scalars }: Call): WebgpuVariant {
    let fixed = params;
    if (spec.webgpu?.[1] && scalars.some((s) => s.value instanceof Scalar)) {
      // A recording keeps its variant while its scalars move: none may rest on their value.
      fixed = { ...params };
      scalarNames(spec).forEach(({ name }, i) => {
        if (scalars[i].value instanceof Scalar) fixed[name] = Number.NaN;
      });
    }
    return chooseVariant(spec, this.capabilities, dims, fixed);
  }

  /** Buffers of a call for one of its passes; `cached` for calls that come again without a plan. */
  bindGroup(
    p: Pipeline,
    call: Call,
    uniform: GPUBuffer,
    scratch: GpuMemory | undefined,
    cached: boolean,
  ): GPUBindGroup {
    const entries: GPUBindGroupEntry[] = [];
    let key = `${p.id}`;
    call.tensors.forEach((t, binding) => {
      const m = t ? memoryOf(t) : this.absent;
      const offset = t?.byteOffset ?? 0;
      // An empty tensor still takes an element of whatever type the text reads it as.
      const size = t?.byteLength || Math.min(SLOT, m.buffer.size - offset) || 4;
      key += `|${m.id},${offset},${size}`;
      entries.push({ binding, resource: { buffer: m.buffer, offset, size } });
    });
    if (scratch) key += `|${scratch.id},`;
    let group = cached ? this.#bindGroups.get(key) : undefined;
    if (!group) {
      const binding = call.tensors.length;
      entries.push({ binding, resource: { buffer: uniform, size: SLOT } });
      if (scratch) entries.push({ binding: binding + 1, resource: { buffer: scratch.buffer } });
      group = this.device.createBindGroup({ layout: p.layout, entries });
      // Bounded: a program with ever new shapes must not keep a group for each.
      if (this.#bindGroups.size >= 4096) this.#bindGroups.clear();
      if (cached) this.#bindGroups.set(key, group);
    }
    return group;
  }

  scratchBytes(variant: WebgpuVariant, call: Call): number {
    return sizeClass(variant.scratch?.(call.dims, call.params) ?? 0);
  }

  /** Workgroups of a grid on two axes that the device takes; kernels count them in rows of x. */
  fold(grid: readonly number[]): [number, number] {
    const n = grid.reduce((a, b) => a * b, 1);
    if (n === 0) return [0, 0];
    const [x, y = 1, z = 1] = grid;
    if (z === 1 && x <= this.#maxGroups && y <= this.#maxGroups) return [x, y];
    const width = Math.min(n, this.#maxGroups);
    return [width, Math.ceil(n / width)];
  }

  isTooLarge(call: Call): boolean {
    return isTooLarge(call, this.maxBinding);
  }

  /** A submission that is watched: where it fails, what it was to write holds no result. */
  send(events: readonly Event[], submit: () => void): void {
    const submission = this.journal.open(events);
    this.failures.watch(
      ["validation"],
      (e) => typedError(e, nameAll(events)),
      submit,
      (e) => this.journal.fail(submission, e),
      () => this.journal.close(submission),
    );
  }

  encodeCopy(encoder: GPUCommandEncoder, dst: Tensor, src: Tensor): void {
    encoder.copyBufferToBuffer(
      memoryOf(src).buffer,
      src.byteOffset,
      memoryOf(dst).buffer,
      dst.byteOffset,
      dst.byteLength,
    );
  }

  /** Drops the bind groups over a buffer that is not ours to keep alive. */
  forget(m: GpuMemory): void {
    for (const key of this.#bindGroups.keys())
      if (key.includes(`|${m.id},`)) this.#bindGroups.delete(key);
  }
}

/** Extents, then scalars, 4 bytes each: the fields of the kernel's struct P. */
export function writeUniforms(view: DataView, offset: number, call: Call): void {
  let at = offset;
  for (const e of call.extents) {
    view.setUint32(at, e, true);
    at += 4;
  }
  for (const s of call.scalars) {
    const v = s.value instanceof Scalar ? s.value.value : s.value;
    if (s.type === "f32") view.setFloat32(at, v, true);
    else view.setUint32(at, v, true);
    at += 4;
  }
}
