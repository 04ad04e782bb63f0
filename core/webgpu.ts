import { Backend, type CopyCall, type Plan } from "./backend.ts";
import {
  type AnyKernel,
  type Arg,
  type Call,
  type Spec,
  scalarNames,
  type WebgpuPass,
  type WebgpuVariant,
} from "./contract.ts";
import { BackendError, MemoryError } from "./errors.ts";
import { isNode } from "./runtime.ts";
import { Scalar } from "./scalar.ts";
import { hostArrays, type Tensor, type TypedArray } from "./tensor.ts";
import { type Capabilities, chooseVariant, entryOf, passesOf, textOf } from "./webgpu-variant.ts";

export interface WebgpuOptions {
  /** Entry to WebGPU; default `navigator.gpu`, in Node that of the npm package `webgpu`. */
  readonly gpu?: GPU;
  /** A device to run on. It stays yours: dispose() leaves it alive. */
  readonly device?: GPUDevice;
  readonly powerPreference?: GPUPowerPreference;
}

// The numbers of the specification: Node has no GPUBufferUsage and its kin, and a library must not
// put them into the global scope.
const Usage = { MAP_READ: 0x1, COPY_SRC: 0x4, COPY_DST: 0x8, UNIFORM: 0x40, STORAGE: 0x80 };
const STAGE_COMPUTE = 0x4;
const MAP_READ = 0x1;

/** Dispatches that share one submission at most. */
const MAX_PENDING = 64;
/** Uniform slots of one ring; each is one dispatch. */
const SLOT = 256;
const RING_SLOTS = 256;

interface Pipeline {
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
  /** Distinguishes bind groups of different layouts over the same buffers. */
  readonly id: number;
}

const isWritten = (a: Arg): boolean => a.role === "out" || a.role === "acc" || a.role === "inout";

let bufferIds = 0;
/** A pooled GPUBuffer; its id stays the same, so bind groups over it can be cached. */
class PooledBuffer {
  readonly id = bufferIds++;
  readonly buffer: GPUBuffer;
  constructor(buffer: GPUBuffer) {
    this.buffer = buffer;
  }
}

export class WebgpuBackend extends Backend {
  readonly name = "webgpu";
  readonly build: string;
  readonly device: GPUDevice;
  readonly adapterInfo: GPUAdapterInfo;
  readonly #ownsDevice: boolean;
  readonly #pool = new Map<number, PooledBuffer[]>();
  readonly #all = new Set<GPUBuffer>();
  readonly capabilities: Capabilities;
  readonly #forced = new Map<Spec, WebgpuVariant>();
  readonly #pipelines = new Map<Spec, Map<WebgpuPass, Pipeline>>();
  #pipelineIds = 0;
  readonly #modules = new Map<string, GPUShaderModule>();
  readonly #bindGroups = new Map<string, GPUBindGroup>();
  readonly #absent: PooledBuffer;
  readonly #ring: GPUBuffer;
  readonly #ringBytes = new ArrayBuffer(SLOT * RING_SLOTS);
  readonly #ringView = new DataView(this.#ringBytes);
  #slots = 0;
  #encoder: GPUCommandEncoder | undefined;
  #pass: GPUComputePassEncoder | undefined;
  /** First error the device reported on its own; raised at the next await point. */
  #failure: BackendError | MemoryError | undefined;
  #flushQueued = false;

  constructor(device: GPUDevice, info: GPUAdapterInfo, ownsDevice: boolean) {
    super();
    this.device = device;
    this.adapterInfo = info;
    this.#ownsDevice = ownsDevice;
    this.capabilities = { features: device.features, software: info.isFallbackAdapter };
    this.build =
      [info.vendor, info.architecture, info.description].filter((s) => s).join(" ") ||
      "unknown adapter";
    this.#absent = new PooledBuffer(this.#create(SLOT, Usage.STORAGE));
    this.#ring = this.#create(SLOT * RING_SLOTS, Usage.UNIFORM | Usage.COPY_DST);
    device.lost.then((e) => {
      this.dead ??= new BackendError(
        "lost",
        `webgpu: the device was lost (${e.reason}): ${e.message || "no reason given"}; open a new backend and write your tensors again`,
      );
    });
    device.addEventListener("uncapturederror", (event) => {
      event.preventDefault();
      const { error } = event as GPUUncapturedErrorEvent;
      this.#failure ??=
        error.constructor.name === "GPUOutOfMemoryError"
          ? new MemoryError("exhausted", `webgpu: ${error.message}`)
          : new BackendError("validation", `webgpu: ${error.message}`);
    });
  }

  #create(size: number, usage: GPUBufferUsageFlags): GPUBuffer {
    const b = this.device.createBuffer({ size, usage });
    this.#all.add(b);
    return b;
  }

  // ---- memory ------------------------------------------------------------------------------

  protected roundUp(bytes: number): number {
    // Four size classes to each power of two keep the pool small and reuse likely.
    if (bytes <= SLOT) return SLOT;
    const step = Math.max(SLOT, 2 ** (Math.floor(Math.log2(bytes)) - 2));
    return Math.ceil(bytes / step) * step;
  }

  protected allocate(bytes: number): PooledBuffer {
    const pooled = this.#pool.get(bytes)?.pop();
    if (pooled) return pooled;
    const { maxStorageBufferBindingSize, maxBufferSize } = this.device.limits;
    const limit = Math.min(maxStorageBufferBindingSize, maxBufferSize);
    if (bytes > limit) {
      throw new MemoryError(
        "exhausted",
        `webgpu: a tensor of ${bytes} bytes is over this device's limit of ${limit} bytes a binding; split it`,
      );
    }
    return new PooledBuffer(this.#create(bytes, Usage.STORAGE | Usage.COPY_SRC | Usage.COPY_DST));
  }

  protected release(handle: unknown, bytes: number): void {
    const list = this.#pool.get(bytes);
    if (list) list.push(handle as PooledBuffer);
    else this.#pool.set(bytes, [handle as PooledBuffer]);
  }

  #buffer(t: Tensor): PooledBuffer {
    return t.storage.handle as PooledBuffer;
  }

  view(t: Tensor): TypedArray {
    throw new BackendError(
      "unsupported",
      `webgpu: (${t.shape.join(",")}) has no synchronous view; use await read()`,
    );
  }

  protected upload(t: Tensor, data: ArrayLike<number>): void {
    if (t.size === 0) return;
    // writeBuffer overtakes what is recorded but not submitted, and that may still read this buffer.
    this.#submit();
    const type = hostArrays[t.dtype];
    const host = data instanceof type ? data : type.from(data);
    // A copy: data may be a view into shared memory, which the queue refuses.
    const bytes = new Uint8Array(host.buffer, host.byteOffset, host.byteLength).slice();
    this.device.queue.writeBuffer(this.#buffer(t).buffer, t.byteOffset, bytes);
  }

  protected clear(t: Tensor): void {
    if (t.size === 0) return;
    this.#endPass().clearBuffer(this.#buffer(t).buffer, t.byteOffset, t.byteLength);
    this.#queueFlush();
  }

  protected copyNow(dst: Tensor, src: Tensor): void {
    if (dst.size === 0) return;
    this.#encodeCopy(this.#endPass(), dst, src);
    this.#queueFlush();
  }

  #encodeCopy(encoder: GPUCommandEncoder, dst: Tensor, src: Tensor): void {
    encoder.copyBufferToBuffer(
      this.#buffer(src).buffer,
      src.byteOffset,
      this.#buffer(dst).buffer,
      dst.byteOffset,
      dst.byteLength,
    );
  }

  async read(t: Tensor): Promise<Float32Array | Int32Array | Uint32Array> {
    const type = hostArrays[t.dtype];
    if (t.size === 0) return new type(0);
    const staging = this.device.createBuffer({
      size: t.byteLength,
      usage: Usage.MAP_READ | Usage.COPY_DST,
    });
    this.#endPass().copyBufferToBuffer(
      this.#buffer(t).buffer,
      t.byteOffset,
      staging,
      0,
      t.byteLength,
    );
    this.#submit();
    try {
      await staging.mapAsync(MAP_READ);
    } catch (e) {
      // Give `lost` the turn it needs to say why; never return zeros.
      await new Promise((r) => setTimeout(r, 0));
      throw (
        this.dead ??
        this.#failure ??
        new BackendError("lost", `webgpu: read failed: ${(e as Error).message}`)
      );
    }
    this.#raise();
    const data = new type(staging.getMappedRange().slice(0));
    staging.destroy();
    return data;
  }

  // ---- pipelines ---------------------------------------------------------------------------

  supports(spec: Spec): boolean {
    return spec.webgpu !== undefined;
  }

  /** Takes this variant for the kernel from now on, undefined: the one that fits. For tests and benches. */
  force({ spec }: AnyKernel, variant: WebgpuVariant | undefined): void {
    if (variant) this.#forced.set(spec, variant);
    else this.#forced.delete(spec);
  }

  #variant(call: Call): WebgpuVariant {
    const forced = this.#forced.get(call.spec);
    if (forced) return forced;
    let { params } = call;
    if (call.spec.webgpu?.[1] && call.scalars.some((s) => s.value instanceof Scalar)) {
      // A recording keeps its variant while its scalars move: none may rest on their value.
      params = { ...params };
      scalarNames(call.spec).forEach(({ name }, i) => {
        if (call.scalars[i].value instanceof Scalar) params[name] = Number.NaN;
      });
    }
    return chooseVariant(call.spec, this.capabilities, call.dims, params);
  }

  #pipeline(spec: Spec, variant: WebgpuVariant, pass: WebgpuPass): Pipeline {
    // Kernels of one family share the objects that describe their variants.
    let perSpec = this.#pipelines.get(spec);
    if (!perSpec) {
      perSpec = new Map();
      this.#pipelines.set(spec, perSpec);
    }
    let p = perSpec.get(pass);
    if (!p) {
      p = this.#compile(spec, variant, pass);
      perSpec.set(pass, p);
    }
    return p;
  }

  #compile(spec: Spec, variant: WebgpuVariant, pass: WebgpuPass): Pipeline {
    const { device } = this;
    const entryPoint = pass === variant ? entryOf(spec, variant) : (pass.entry as string);
    const code = textOf(variant);
    let module = this.#modules.get(code);
    if (!module) {
      module = device.createShaderModule({ code });
      this.#modules.set(code, module);
    }
    const entries: GPUBindGroupLayoutEntry[] = spec.args.map((a, binding) => ({
      binding,
      visibility: STAGE_COMPUTE,
      buffer: { type: isWritten(a) ? "storage" : "read-only-storage" },
    }));
    entries.push({
      binding: spec.args.length,
      visibility: STAGE_COMPUTE,
      buffer: { type: "uniform", hasDynamicOffset: true },
    });
    if (variant.scratch) {
      entries.push({
        binding: spec.args.length + 1,
        visibility: STAGE_COMPUTE,
        buffer: { type: "storage" },
      });
    }
    device.pushErrorScope("validation");
    const layout = device.createBindGroupLayout({ entries });
    const pipeline = device.createComputePipeline({
      label: entryPoint,
      layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }),
      compute: {
        module,
        entryPoint,
        ...(pass.constants ? { constants: pass.constants } : {}),
      },
    });
    const shader = module;
    device.popErrorScope().then(async (error) => {
      if (!error) return;
      const info = await shader.getCompilationInfo();
      const m = info.messages.find((x) => x.type === "error");
      this.#failure = new BackendError(
        "compile",
        m ? `${sourceLine(code, m.lineNum)}: ${m.message}` : error.message,
        spec.name,
      );
    });
    return { pipeline, layout, id: this.#pipelineIds++ };
  }

  #bindGroup(
    p: Pipeline,
    call: Call,
    uniform: GPUBuffer,
    scratch: PooledBuffer | undefined,
    key: string,
  ): GPUBindGroup {
    const entries: GPUBindGroupEntry[] = [];
    let id = `${key}:${p.id}`;
    call.tensors.forEach((t, binding) => {
      const b = t ? this.#buffer(t) : this.#absent;
      const offset = t?.byteOffset ?? 0;
      const size = Math.max(4, t?.byteLength ?? SLOT);
      id += `|${b.id},${offset},${size}`;
      entries.push({ binding, resource: { buffer: b.buffer, offset, size } });
    });
    if (scratch) id += `|${scratch.id}`;
    let group = this.#bindGroups.get(id);
    if (!group) {
      const binding = call.tensors.length;
      entries.push({ binding, resource: { buffer: uniform, size: SLOT } });
      if (scratch) entries.push({ binding: binding + 1, resource: { buffer: scratch.buffer } });
      group = this.device.createBindGroup({ layout: p.layout, entries });
      // Bounded: a program with ever new shapes must not keep a group for each.
      if (this.#bindGroups.size >= 4096) this.#bindGroups.clear();
      if (key === "ring") this.#bindGroups.set(id, group);
    }
    return group;
  }

  // ---- launching ---------------------------------------------------------------------------

  dispatch(call: Call): void {
    const variant = this.#variant(call);
    const bytes = this.roundUp(variant.scratch?.(call.dims, call.params) ?? 0);
    const scratch = variant.scratch && this.allocate(bytes);
    if (this.#slots === RING_SLOTS) this.#submit();
    const offset = this.#slots++ * SLOT;
    writeUniforms(this.#ringView, offset, call);
    for (const pass of passesOf(variant)) {
      const [x, y = 1, z = 1] = pass.grid(call.dims, call.params);
      if (x * y * z === 0) continue;
      const p = this.#pipeline(call.spec, variant, pass);
      const group = this.#bindGroup(p, call, this.#ring, scratch, "ring");
      this.#pass ??= this.#open().beginComputePass();
      this.#pass.setPipeline(p.pipeline);
      this.#pass.setBindGroup(0, group, [offset]);
      this.#pass.dispatchWorkgroups(x, y, z);
      this.dispatches++;
    }
    // What is recorded runs in order: whoever gets this memory next writes it later.
    if (scratch) this.release(scratch, bytes);
    if (this.#slots % MAX_PENDING === 0) this.#submit();
    else this.#queueFlush();
  }

  #open(): GPUCommandEncoder {
    this.#encoder ??= this.device.createCommandEncoder();
    return this.#encoder;
  }

  #endPass(): GPUCommandEncoder {
    this.#pass?.end();
    this.#pass = undefined;
    return this.#open();
  }

  /** Work that nobody waits for still starts by the end of this turn. */
  #queueFlush(): void {
    if (this.#flushQueued) return;
    this.#flushQueued = true;
    queueMicrotask(() => {
      this.#flushQueued = false;
      if (!this.dead) this.#submit();
    });
  }

  #submit(): void {
    if (!this.#encoder) return;
    const encoder = this.#endPass();
    this.#encoder = undefined;
    if (this.#slots)
      this.device.queue.writeBuffer(this.#ring, 0, this.#ringBytes, 0, this.#slots * SLOT);
    this.#slots = 0;
    this.device.queue.submit([encoder.finish()]);
  }

  plan(calls: readonly (Call | CopyCall)[]): Plan {
    const kernels = calls.filter((c): c is Call => "spec" in c);
    const bytes = new ArrayBuffer(Math.max(1, kernels.length) * SLOT);
    const view = new DataView(bytes);
    const uniform = this.#create(bytes.byteLength, Usage.UNIFORM | Usage.COPY_DST);
    const dynamic: { call: Call; offset: number }[] = [];
    let slot = 0;
    type Step =
      | CopyCall
      | {
          pipeline: GPUComputePipeline;
          group: GPUBindGroup;
          offsets: number[];
          x: number;
          y: number;
          z: number;
        };
    let dispatches = 0;
    const scratches: { handle: PooledBuffer; bytes: number }[] = [];
    const steps = calls.flatMap((c): Step[] => {
      if (!("spec" in c)) return [c];
      const variant = this.#variant(c);
      let scratch: PooledBuffer | undefined;
      if (variant.scratch) {
        const size = this.roundUp(variant.scratch(c.dims, c.params));
        scratch = this.allocate(size);
        scratches.push({ handle: scratch, bytes: size });
      }
      const offset = slot++ * SLOT;
      writeUniforms(view, offset, c);
      if (c.scalars.some((s) => s.value instanceof Scalar)) dynamic.push({ call: c, offset });
      return passesOf(variant).flatMap((pass): Step[] => {
        const [x, y = 1, z = 1] = pass.grid(c.dims, c.params);
        if (x * y * z === 0) return [];
        const p = this.#pipeline(c.spec, variant, pass);
        const group = this.#bindGroup(p, c, uniform, scratch, "plan");
        dispatches++;
        return [{ pipeline: p.pipeline, group, offsets: [offset], x, y, z }];
      });
    });
    this.device.queue.writeBuffer(uniform, 0, bytes);
    return {
      dispatches,
      run: () => {
        this.assertLive();
        this.#submit();
        for (const { call, offset } of dynamic) writeUniforms(view, offset, call);
        if (dynamic.length) this.device.queue.writeBuffer(uniform, 0, bytes);
        const encoder = this.device.createCommandEncoder();
        let pass: GPUComputePassEncoder | undefined;
        for (const s of steps) {
          if ("dst" in s) {
            pass?.end();
            pass = undefined;
            this.#encodeCopy(encoder, s.dst, s.src);
            continue;
          }
          pass ??= encoder.beginComputePass();
          pass.setPipeline(s.pipeline);
          pass.setBindGroup(0, s.group, s.offsets);
          pass.dispatchWorkgroups(s.x, s.y, s.z);
        }
        pass?.end();
        this.device.queue.submit([encoder.finish()]);
        this.dispatches += dispatches;
      },
      dispose: () => {
        for (const { handle, bytes } of scratches) this.release(handle, bytes);
        this.#all.delete(uniform);
        uniform.destroy();
      },
    };
  }

  // ---- waiting and failing -----------------------------------------------------------------

  async flush(): Promise<void> {
    this.#submit();
    await this.device.queue.onSubmittedWorkDone();
    this.#raise();
  }

  #raise(): void {
    const e = this.#failure;
    this.#failure = undefined;
    if (e) throw e;
    this.assertLive();
  }

  dispose(): void {
    if (this.dead) return;
    this.dead = new BackendError("lost", "the webgpu backend was disposed");
    for (const b of this.#all) b.destroy();
    if (this.#ownsDevice) this.device.destroy();
  }
}

/** Extents, then scalars, 4 bytes each: the fields of the kernel's struct P. */
function writeUniforms(view: DataView, offset: number, call: Call): void {
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

/** `//# path:line` markers in expanded WGSL say where the following lines come from. */
function sourceLine(source: string, line: number): string {
  const lines = source.split("\n");
  for (let i = Math.min(line, lines.length) - 1; i >= 0; i--) {
    const m = /^\/\/# (.+):(\d+)$/.exec(lines[i]);
    if (m) return `${m[1]}:${Number(m[2]) + line - i - 2}`;
  }
  return `line ${line}`;
}

/** The entry to WebGPU of this host, or why there is none. */
async function hostGpu(): Promise<GPU> {
  const nav = (globalThis as { navigator?: { gpu?: GPU } }).navigator;
  if (nav?.gpu) return nav.gpu;
  if (!isNode) {
    throw new BackendError(
      "unavailable",
      "webgpu: this browser has no navigator.gpu; a secure context (https or localhost) and a recent browser are needed",
    );
  }
  // A variable: bundlers must not look for the optional package.
  const name = "webgpu";
  try {
    const dawn = (await import(name)) as { create(flags: string[]): GPU };
    return dawn.create([]);
  } catch (e) {
    throw new BackendError(
      "unavailable",
      `webgpu: Node has no WebGPU of its own and the npm package 'webgpu' cannot be loaded (${(e as Error).message.split("\n")[0]}); npm install webgpu`,
    );
  }
}

export async function openWebgpu(options: WebgpuOptions = {}): Promise<Backend> {
  if (options.device) {
    return new WebgpuBackend(options.device, options.device.adapterInfo, false);
  }
  const gpu = options.gpu ?? (await hostGpu());
  const adapter = await gpu.requestAdapter(
    options.powerPreference ? { powerPreference: options.powerPreference } : {},
  );
  if (!adapter) {
    throw new BackendError(
      "unavailable",
      "webgpu: no adapter was found; a GPU with a Vulkan, Metal or D3D12 driver is needed, or a software one",
    );
  }
  const wanted: GPUFeatureName[] = ["shader-f16", "subgroups", "timestamp-query"];
  const { limits } = adapter;
  const device = await adapter.requestDevice({
    requiredFeatures: wanted.filter((f) => adapter.features.has(f)),
    requiredLimits: {
      maxStorageBufferBindingSize: limits.maxStorageBufferBindingSize,
      maxBufferSize: limits.maxBufferSize,
    },
  });
  return new WebgpuBackend(device, adapter.info, true);
}
