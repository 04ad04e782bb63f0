import { Backend, type CopyCall, outOfRange, type Plan } from "./backend.ts";
import {
  type AnyKernel,
  type Call,
  type Case,
  prepare,
  resolveCase,
  type Spec,
  scalarNames,
  type WebgpuVariant,
} from "./contract.ts";
import { BackendError, ShapeError } from "./errors.ts";
import { Scalar } from "./scalar.ts";
import {
  checkShape,
  type Dtype,
  detached,
  hostArrays,
  type Shape,
  sizeOf,
  Tensor,
  type TypedArray,
  track,
} from "./tensor.ts";
import { dispatchCheck, type IndexCheck, slotsOf } from "./webgpu-check.ts";
import { optionsOf, partShape, planCut } from "./webgpu-cut.ts";
import { requestDevice, type WebgpuOptions } from "./webgpu-device.ts";
import { Failures, typedError } from "./webgpu-failures.ts";
import { type Event, Journal, nameAll } from "./webgpu-journal.ts";
import { GpuMemory, MemoryPool, Usage } from "./webgpu-memory.ts";
import { isWritten, type Pipeline, Pipelines } from "./webgpu-pipelines.ts";
import { type Capabilities, chooseVariant, passesOf } from "./webgpu-variant.ts";

export type { WebgpuLimits, WebgpuOptions } from "./webgpu-device.ts";

const MAP_READ = 0x1;
/** Dispatches that share one submission at most. */
const MAX_PENDING = 64;
/** Uniform slots of one ring; each is one kernel. */
const SLOT = 256;
const RING_SLOTS = 256;

/** One dispatch of a plan, everything that can be made made. */
interface Launch {
  readonly pipeline: GPUComputePipeline;
  readonly group: GPUBindGroup;
  readonly offsets: number[];
  readonly x: number;
  readonly y: number;
}

export class WebgpuBackend extends Backend {
  readonly name = "webgpu";
  build = "";
  readonly #options: WebgpuOptions;
  readonly #forced = new Map<Spec, WebgpuVariant>();
  readonly #plans = new Set<WebgpuPlan>();
  // What belongs to one device; `recover` makes it anew.
  #device!: GPUDevice;
  #ownsDevice = true;
  #capabilities!: Capabilities;
  #maxBinding = 0;
  #maxGroups = 0;
  #pool!: MemoryPool;
  #pipelines!: Pipelines;
  #failures!: Failures;
  #bindGroups = new Map<string, GPUBindGroup>();
  #absent!: GpuMemory;
  #ring!: GPUBuffer;
  /** Looks at indices since the last read, by kernel, argument and limit. */
  readonly #checks = new Map<string, IndexCheck>();
  #slotsTensor: Tensor | undefined;

  readonly #ringBytes = new ArrayBuffer(SLOT * RING_SLOTS);
  readonly #ringView = new DataView(this.#ringBytes);
  #slots = 0;
  #encoder: GPUCommandEncoder | undefined;
  #pass: GPUComputePassEncoder | undefined;
  /** What the open submission is to do. */
  #batch: Event[] = [];
  readonly #journal = new Journal();
  #flushQueued = false;

  constructor(device: GPUDevice, ownsDevice: boolean, options: WebgpuOptions = {}) {
    super();
    this.#options = options;
    this.#adopt(device, ownsDevice);
  }

  get device(): GPUDevice {
    return this.#device;
  }

  get capabilities(): Capabilities {
    return this.#capabilities;
  }

  get adapterInfo(): GPUAdapterInfo {
    return this.#device.adapterInfo;
  }

  #adopt(device: GPUDevice, owns: boolean): void {
    const { limits = {}, plain = false } = this.#options;
    const info = device.adapterInfo;
    this.#device = device;
    this.#ownsDevice = owns;
    this.build =
      [info.vendor, info.architecture, info.description].filter((s) => s).join(" ") ||
      "unknown adapter";
    this.#capabilities = {
      features: plain ? new Set<string>() : device.features,
      software: info.isFallbackAdapter,
    };
    this.#maxBinding = Math.min(
      device.limits.maxStorageBufferBindingSize,
      limits.maxStorageBufferBindingSize ?? Number.POSITIVE_INFINITY,
    );
    this.#maxGroups = Math.min(
      device.limits.maxComputeWorkgroupsPerDimension,
      limits.maxComputeWorkgroupsPerDimension ?? Number.POSITIVE_INFINITY,
    );
    this.#failures = new Failures(device);
    this.#pool = new MemoryPool(device, this.#failures);
    this.#pipelines = new Pipelines(device);
    this.#bindGroups = new Map();
    this.#absent = this.#pool.take(SLOT);
    this.#ring = this.#pool.buffer(SLOT * RING_SLOTS, Usage.UNIFORM | Usage.COPY_DST);
    device.lost.then((e) => {
      if (device !== this.#device) return;
      this.dead ??= new BackendError(
        "lost",
        `webgpu: the device was lost (${e.reason}): ${e.message || "no reason given"}; recover() goes on with a fresh one`,
      );
    });
    // On a foreign device, what is not caught belongs to its owner.
    if (owns) {
      device.addEventListener("uncapturederror", (event) => {
        event.preventDefault();
        this.#failures.add(typedError((event as GPUUncapturedErrorEvent).error, "a command"));
      });
    }
  }

  // ---- memory ------------------------------------------------------------------------------

  protected roundUp(bytes: number): number {
    // Four size classes to each power of two keep the pool small and reuse likely.
    if (bytes <= SLOT) return SLOT;
    const step = Math.max(SLOT, 2 ** (Math.floor(Math.log2(bytes)) - 2));
    return Math.ceil(bytes / step) * step;
  }

  protected allocate(bytes: number): GpuMemory {
    return this.#pool.take(bytes);
  }

  protected release(handle: unknown): void {
    const m = handle as GpuMemory;
    if (m.foreign) this.#forget(m);
    this.#pool.give(m);
  }

  /** Drops the bind groups over a buffer that is not ours to keep alive. */
  #forget(m: GpuMemory): void {
    for (const key of this.#bindGroups.keys())
      if (key.includes(`|${m.id},`)) this.#bindGroups.delete(key);
  }

  #memory(t: Tensor): GpuMemory {
    return t.storage.handle as GpuMemory;
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
    const m = this.#memory(t);
    this.#device.queue.writeBuffer(m.buffer, t.byteOffset, bytes);
    const keep = this.#options.hostCopies === true || t.storage.pinned === true;
    m.uploaded(t, keep ? bytes : undefined);
    this.#batch.push({ host: m });
  }

  protected clear(t: Tensor): void {
    if (t.size === 0) return;
    const m = this.#memory(t);
    this.#endPass().clearBuffer(m.buffer, t.byteOffset, t.byteLength);
    m.uploaded(t, "zeros");
    this.#batch.push({ host: m });
    this.#queueFlush();
  }

  protected copyNow(dst: Tensor, src: Tensor): void {
    if (dst.size === 0) return;
    this.#memory(src).assertValid();
    this.#encodeCopy(this.#endPass(), dst, src);
    this.#memory(dst).written();
    this.#batch.push({ dst, src });
    this.#queueFlush();
  }

  #encodeCopy(encoder: GPUCommandEncoder, dst: Tensor, src: Tensor): void {
    encoder.copyBufferToBuffer(
      this.#memory(src).buffer,
      src.byteOffset,
      this.#memory(dst).buffer,
      dst.byteOffset,
      dst.byteLength,
    );
  }

  async read(t: Tensor): Promise<Float32Array | Int32Array | Uint32Array> {
    const type = hostArrays[t.dtype];
    if (t.size === 0) return new type(0);
    const m = this.#memory(t);
    if (m.failure) this.#failures.raise(m.failure);
    const data = await this.#download(m, t.byteOffset, t.byteLength);
    await this.#raiseChecks();
    return new type(data);
  }

  /** The bytes as they are when the work so far is done. Rejects where that work failed. */
  async #download(m: GpuMemory, offset: number, bytes: number): Promise<ArrayBuffer> {
    const pool = this.#pool;
    const device = this.#device;
    const failures = this.#failures;
    this.#submit();
    const staging = pool.staging(this.roundUp(bytes));
    // Its errors are the read's own, and come out of it: never zeros.
    device.pushErrorScope("validation");
    const encoder = device.createCommandEncoder();
    encoder.copyBufferToBuffer(m.buffer, offset, staging, 0, bytes);
    device.queue.submit([encoder.finish()]);
    const mapping = staging.mapAsync(MAP_READ, 0, bytes).then(
      () => undefined,
      (e: Error) => e.message,
    );
    const refused = device.popErrorScope().then(
      (e) => e?.message,
      () => undefined,
    );
    const wrong = (await mapping) ?? (await refused);
    await failures.settle();
    if (wrong !== undefined) {
      pool.destroy(staging);
      // Gives `lost` the turn it needs to say why.
      await new Promise((r) => setTimeout(r, 0));
      this.assertLive();
      failures.raise(m.failure);
      throw new BackendError("validation", `webgpu: read failed: ${wrong}`);
    }
    const data = staging.getMappedRange(0, bytes).slice(0);
    staging.unmap();
    pool.giveStaging(staging);
    if (m.failure) failures.raise(m.failure);
    this.assertLive();
    return data;
  }

  // ---- sharing -----------------------------------------------------------------------------

  /**
   * A tensor over a buffer of your own, from `byteOffset` on, without a copy. The buffer stays yours:
   * dispose() leaves it alive, and it must outlive the tensor. It needs the usage STORAGE; COPY_SRC to
   * be read and COPY_DST to be written from the host.
   * @throws BackendError when the buffer lacks STORAGE; ShapeError when shape or offset do not fit
   */
  wrap(buffer: GPUBuffer, shape: Shape, dtype: Dtype = "f32", byteOffset = 0): Tensor {
    this.assertLive();
    checkShape(shape, "wrap");
    if (!(buffer.usage & Usage.STORAGE))
      throw new BackendError("unsupported", "wrap: the buffer was made without usage STORAGE");
    const step = this.#device.limits.minStorageBufferOffsetAlignment;
    if (byteOffset % step || byteOffset < 0) {
      throw new ShapeError(
        "shape",
        `wrap: byteOffset: expected a multiple of ${step}, got ${byteOffset}`,
      );
    }
    const bytes = sizeOf(shape) * 4;
    if (byteOffset + bytes > buffer.size) {
      throw new ShapeError(
        "shape",
        `wrap: ${dtype}(${shape.join(",")}) at ${byteOffset} ends at byte ${byteOffset + bytes}, the buffer has ${buffer.size}`,
      );
    }
    const handle = new GpuMemory(buffer, 0, true);
    const storage = { serial: this.storages++, handle, bytes: 0, used: bytes, refs: 0 };
    return track(new Tensor(this, [...shape], dtype, storage, byteOffset));
  }

  /**
   * The buffer behind a tensor, without a copy; what was called before is submitted, so commands of
   * yours on the same queue come after it. It stays ours: valid until the tensor is disposed or the
   * device is lost, and not to be destroyed.
   */
  bufferOf(t: Tensor): {
    readonly buffer: GPUBuffer;
    readonly offset: number;
    readonly size: number;
  } {
    t.assertLive("bufferOf");
    if (t.backend !== this) throw new ShapeError("backend", "bufferOf: of another backend");
    this.#submit();
    return { buffer: this.#memory(t).buffer, offset: t.byteOffset, size: t.byteLength };
  }

  // ---- choosing and compiling --------------------------------------------------------------

  supports(spec: Spec): boolean {
    return spec.webgpu !== undefined;
  }

  /** Takes this variant for the kernel from now on, undefined: the one that fits. For tests and benches. */
  force({ spec }: AnyKernel, variant: WebgpuVariant | undefined): void {
    if (variant) this.#forced.set(spec, variant);
    else this.#forced.delete(spec);
  }

  #variant({ spec, dims, params, scalars }: Call): WebgpuVariant {
    const forced = this.#forced.get(spec);
    if (forced) return forced;
    let fixed = params;
    if (spec.webgpu?.[1] && scalars.some((s) => s.value instanceof Scalar)) {
      // A recording keeps its variant while its scalars move: none may rest on their value.
      fixed = { ...params };
      scalarNames(spec).forEach(({ name }, i) => {
        if (scalars[i].value instanceof Scalar) fixed[name] = Number.NaN;
      });
    }
    return chooseVariant(spec, this.#capabilities, dims, fixed);
  }

  /**
   * Compiles kernels in parallel and off the main thread, so that their first calls need not wait:
   * `await be.prepare([{ kernel: matmul, dims: { B: 1, M: 64, N: 64, A: 1, K: 64, C: 1 } }])`. Shapes
   * only choose between variants. `capture` does this by itself.
   * @throws BackendError that points at the line of wgsl/<file>
   */
  async prepare(kernels: readonly (Case & { readonly kernel: AnyKernel })[]): Promise<void> {
    this.assertLive();
    await Promise.all(
      kernels.map(({ kernel: { spec }, ...c }) => {
        const { dims, params } = resolveCase(spec, c);
        return this.#pipelines.prepare(spec, chooseVariant(spec, this.#capabilities, dims, params));
      }),
    );
  }

  override async compile(calls: readonly Call[]): Promise<void> {
    await Promise.all(calls.map((c) => this.#pipelines.prepare(c.spec, this.#variant(c))));
  }

  #bindGroup(
    p: Pipeline,
    call: Call,
    uniform: GPUBuffer,
    scratch: GpuMemory | undefined,
    cached: boolean,
  ): GPUBindGroup {
    const entries: GPUBindGroupEntry[] = [];
    let key = `${p.id}`;
    call.tensors.forEach((t, binding) => {
      const m = t ? this.#memory(t) : this.#absent;
      const offset = t?.byteOffset ?? 0;
      const size = Math.max(4, t?.byteLength ?? SLOT);
      key += `|${m.id},${offset},${size}`;
      entries.push({ binding, resource: { buffer: m.buffer, offset, size } });
    });
    if (scratch) key += `|${scratch.id},`;
    let group = cached ? this.#bindGroups.get(key) : undefined;
    if (!group) {
      const binding = call.tensors.length;
      entries.push({ binding, resource: { buffer: uniform, size: SLOT } });
      if (scratch) entries.push({ binding: binding + 1, resource: { buffer: scratch.buffer } });
      group = this.#device.createBindGroup({ layout: p.layout, entries });
      // Bounded: a program with ever new shapes must not keep a group for each.
      if (this.#bindGroups.size >= 4096) this.#bindGroups.clear();
      if (cached) this.#bindGroups.set(key, group);
    }
    return group;
  }

  // ---- launching ---------------------------------------------------------------------------

  dispatch(call: Call): void {
    if (this.#isTooLarge(call)) {
      const { steps, release } = this.#cut(call);
      for (const s of steps) {
        if ("spec" in s) this.dispatch(s);
        else this.copyNow(s.dst, s.src);
      }
      release();
      return;
    }
    const variant = this.#variant(call);
    if (this.#pipelines.isProven(call.spec, variant)) {
      if (this.#slots === RING_SLOTS) this.#submit();
      this.#encode(call, variant);
      if (this.#slots % MAX_PENDING === 0) this.#submit();
      else this.#queueFlush();
      return;
    }
    // A text that does not compile takes its whole submission along: it gets one of its own.
    this.#submit();
    const submission = this.#journal.open([call]);
    this.#failures.watch(
      ["validation"],
      (e) => this.#pipelines.fault(call.spec, variant, e.message, "validation"),
      () => {
        this.#encode(call, variant);
        this.#finish();
      },
      (e) => this.#journal.fail(submission, e),
      () => this.#journal.close(submission),
    );
  }

  #encode(call: Call, variant: WebgpuVariant): void {
    this.#reads(call);
    const scratch = variant.scratch && this.allocate(this.#scratchBytes(variant, call));
    const offset = this.#slots++ * SLOT;
    writeUniforms(this.#ringView, offset, call);
    for (const pass of passesOf(variant)) {
      const [x, y] = this.#fold(pass.grid(call.dims, call.params));
      if (x === 0) continue;
      const p = this.#pipelines.get(call.spec, variant, pass);
      const group = this.#bindGroup(p, call, this.#ring, scratch, true);
      this.#pass ??= this.#open().beginComputePass();
      this.#pass.setPipeline(p.pipeline);
      this.#pass.setBindGroup(0, group, [offset]);
      this.#pass.dispatchWorkgroups(x, y);
      p.proven = true;
      this.dispatches++;
    }
    // What is recorded runs in order: whoever gets this memory next writes it later.
    if (scratch) this.release(scratch);
    this.#batch.push(call);
    this.#writes(call);
  }

  #scratchBytes(variant: WebgpuVariant, call: Call): number {
    return this.roundUp(variant.scratch?.(call.dims, call.params) ?? 0);
  }

  /** Workgroups of a grid on two axes that the device takes; kernels count them in rows of x. */
  #fold(grid: readonly number[]): [number, number] {
    const n = grid.reduce((a, b) => a * b, 1);
    if (n === 0) return [0, 0];
    const [x, y = 1, z = 1] = grid;
    if (z === 1 && x <= this.#maxGroups && y <= this.#maxGroups) return [x, y];
    const width = Math.min(n, this.#maxGroups);
    return [width, Math.ceil(n / width)];
  }

  #isTooLarge(call: Call): boolean {
    for (let i = 0; i < call.tensors.length; i++) {
      const t = call.tensors[i];
      if (t && t.byteLength > this.#maxBinding) return true;
    }
    return false;
  }

  /** Fails now where an argument holds no result. */
  #reads({ spec, tensors, scalars }: Call): void {
    let beta = scalars.length - spec.args.filter((a) => a.role === "acc").length;
    spec.args.forEach((a, i) => {
      const t = tensors[i];
      const reads = a.role === "acc" ? scalars[beta++].value !== 0 : a.role !== "out";
      if (!t || !reads) return;
      const m = this.#memory(t);
      if (m.failure) m.assertValid(`[${spec.name}] ${a.name}`);
    });
  }

  #writes({ spec, tensors }: Call): void {
    spec.args.forEach((a, i) => {
      const t = tensors[i];
      if (t && isWritten(a)) this.#memory(t).written();
    });
  }

  /** The same work in parts whose tensors the device can bind. Parts that are no range are copied. */
  #cut(call: Call): { steps: (Call | CopyCall)[]; release: () => void } {
    const plan = planCut(call, this.#maxBinding);
    const made: Tensor[] = [];
    // A view owns nothing: in a recording the storage may have been handed on already.
    const view = (t: Tensor, shape: Shape, element: number): Tensor =>
      new Tensor(this, shape, t.dtype, { ...t.storage, refs: 1 }, t.byteOffset + 4 * element);
    const steps: (Call | CopyCall)[] = [];
    const releases: (() => void)[] = [];
    for (let start = 0; start < plan.length; start += plan.chunk) {
      const n = Math.min(plan.chunk, plan.length - start);
      const after: CopyCall[] = [];
      const given = call.tensors.map((t, i) => {
        if (!t) return undefined;
        const cut = plan.cuts[i];
        const shape = partShape(call, i, plan, n);
        if (!cut) return view(t, shape, 0);
        if (!cut.copied) return view(t, shape, start * cut.inner);
        const part = detached(() => this.empty(shape, t.dtype));
        made.push(part);
        const run = n * cut.inner;
        for (let o = 0; o < cut.outer; o++) {
          const whole = view(t, [run], (o * plan.length + start) * cut.inner);
          const own = view(part, [run], o * run);
          const { role } = call.spec.args[i];
          if (role !== "out") steps.push({ dst: own, src: whole });
          if (role !== "in" && role !== "opt") after.push({ dst: whole, src: own });
        }
        return part;
      });
      const options = optionsOf(call);
      for (const { name, output } of scalarNames(call.spec)) {
        const at = call.spec.args.findIndex((a) => a.name === output);
        // A sum over the extent: the first part starts it, the others add to it.
        if (output && !plan.cuts[at] && start > 0) options[name] = 1;
      }
      const own = call.spec.part?.(options, plan.extent, start, n) ?? options;
      const part = prepare(call.spec, given, own)[1];
      const inner = this.#isTooLarge(part) ? this.#cut(part) : { steps: [part], release: () => {} };
      releases.push(inner.release);
      steps.push(...inner.steps, ...after);
    }
    return {
      steps,
      release: () => {
        for (const r of releases) r();
        for (const t of made) t.dispose();
      },
    };
  }

  #open(): GPUCommandEncoder {
    this.#encoder ??= this.#device.createCommandEncoder();
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
    if (this.#encoder) this.#send(this.#batch, () => this.#finish());
  }

  /** Hands the open encoder over. */
  #finish(): void {
    const encoder = this.#endPass();
    this.#encoder = undefined;
    this.#batch = [];
    const { queue } = this.#device;
    if (this.#slots) queue.writeBuffer(this.#ring, 0, this.#ringBytes, 0, this.#slots * SLOT);
    this.#slots = 0;
    queue.submit([encoder.finish()]);
  }

  /** A submission that is watched: where it fails, what it was to write holds no result. */
  #send(events: readonly Event[], submit: () => void): void {
    const submission = this.#journal.open(events);
    this.#failures.watch(
      ["validation"],
      (e) => typedError(e, nameAll(events)),
      submit,
      (e) => this.#journal.fail(submission, e),
      () => this.#journal.close(submission),
    );
  }

  plan(calls: readonly (Call | CopyCall)[]): Plan {
    const plan = new WebgpuPlan(calls, () => this.#buildPlan(calls));
    this.#plans.add(plan);
    return {
      dispatches: plan.built.dispatches,
      run: () => {
        this.assertLive();
        this.#submit();
        plan.built.run();
        this.dispatches += plan.built.dispatches;
      },
      dispose: () => {
        this.#plans.delete(plan);
        plan.built.release();
      },
    };
  }

  #buildPlan(calls: readonly (Call | CopyCall)[]): BuiltPlan {
    const device = this.#device;
    const releases: (() => void)[] = [];
    const cut = calls.flatMap((c) => {
      if (!("spec" in c) || !this.#isTooLarge(c)) return [c];
      const { steps, release } = this.#cut(c);
      releases.push(release);
      return steps;
    });
    const kernels = cut.filter((c): c is Call => "spec" in c);
    const bytes = new ArrayBuffer(Math.max(1, kernels.length) * SLOT);
    const view = new DataView(bytes);
    const uniform = this.#pool.buffer(bytes.byteLength, Usage.UNIFORM | Usage.COPY_DST);
    const scratchSize = Math.max(
      0,
      ...kernels.map((c) => {
        const v = this.#variant(c);
        return v.scratch ? this.#scratchBytes(v, c) : 0;
      }),
    );
    const scratch = scratchSize ? this.allocate(scratchSize) : undefined;
    const dynamic: { call: Call; offset: number }[] = [];
    const reads = new Set<GpuMemory>();
    const writes = new Set<GpuMemory>();
    let slot = 0;
    let dispatches = 0;
    const steps = cut.flatMap((c): (CopyCall | Launch)[] => {
      const touched = "spec" in c ? c.tensors : [c.dst, c.src];
      touched.forEach((t, i) => {
        if (!t) return;
        const m = this.#memory(t);
        const written = "spec" in c ? isWritten(c.spec.args[i]) : i === 0;
        const fresh = "spec" in c ? ["out", "acc"].includes(c.spec.args[i].role) : i === 0;
        if (!fresh && !writes.has(m)) reads.add(m);
        if (written) writes.add(m);
      });
      if (!("spec" in c)) return [c];
      const variant = this.#variant(c);
      const offset = slot++ * SLOT;
      writeUniforms(view, offset, c);
      if (c.scalars.some((s) => s.value instanceof Scalar)) dynamic.push({ call: c, offset });
      return passesOf(variant).flatMap((pass): Launch[] => {
        const [x, y] = this.#fold(pass.grid(c.dims, c.params));
        if (x === 0) return [];
        const p = this.#pipelines.get(c.spec, variant, pass);
        const group = this.#bindGroup(p, c, uniform, variant.scratch && scratch, false);
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
          this.#encodeCopy(encoder, s.dst, s.src);
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
        this.#send(cut, encode);
      },
      release: () => {
        if (scratch) this.release(scratch);
        for (const r of releases) r();
        this.#pool.destroy(uniform);
      },
    };
  }

  // ---- checked indices ---------------------------------------------------------------------

  override checkIndices(call: Call): void {
    call.spec.args.forEach((a, i) => {
      const t = call.tensors[i];
      if (!t || a.index === undefined || t.size === 0) return;
      const limit = call.dims[a.index];
      const key = `${call.spec.name} ${a.name} ${limit}`;
      let check = this.#checks.get(key);
      if (!check) {
        check = { spec: call.spec, arg: a.name, limit, slot: this.#checks.size };
        this.#checks.set(key, check);
      }
      this.#slotsTensor ??= detached(() => slotsOf(this));
      dispatchCheck(this, this.#slotsTensor, t, check);
    });
  }

  async #raiseChecks(): Promise<void> {
    const slots = this.#slotsTensor;
    if (!slots || this.#checks.size === 0) return;
    const checks = [...this.#checks.values()];
    this.#checks.clear();
    const words = await this.#download(this.#memory(slots), 0, slots.byteLength);
    this.clear(slots);
    for (const { spec, arg, limit, slot } of checks) {
      const [count, last] = new Uint32Array(words, 8 * slot, 2);
      if (count) throw outOfRange(spec, arg, limit, count, 0xffffffff - last);
    }
  }

  // ---- waiting and failing -----------------------------------------------------------------

  async flush(): Promise<void> {
    this.#submit();
    await this.#device.queue.onSubmittedWorkDone();
    await this.#raise();
  }

  async #raise(): Promise<void> {
    await this.#failures.settle();
    this.#failures.raise();
    this.assertLive();
    await this.#raiseChecks();
  }

  /**
   * Remembers what these tensors hold now, on the host: what `recover` brings them back to. A later
   * checkpoint of a tensor replaces the earlier one; all of them are read at the same point of the work.
   */
  async checkpoint(tensors: readonly Tensor[]): Promise<void> {
    const memories = new Map<GpuMemory, number>();
    for (const t of tensors) {
      t.assertLive("checkpoint");
      const m = this.#memory(t);
      m.assertValid("checkpoint");
      memories.set(m, t.storage.used);
    }
    const copies = await Promise.all(
      [...memories].map(async ([m, bytes]) => [m, await this.#download(m, 0, bytes)] as const),
    );
    for (const [m, bytes] of copies) m.checkpoint = new Uint8Array(bytes);
  }

  /**
   * After a loss, goes on with a fresh device: the same tensors, kernels and captured steps. Tensors get
   * back what they held at their last `checkpoint`, what the host wrote last (with `hostCopies`), or
   * zeros where they were made of zeros and never written; using any other raises BackendError "lost"
   * until something writes it whole.
   * @param device where the lost one was yours: its successor
   * @returns how many buffers in use have their content again, and how many do not
   */
  async recover(device?: GPUDevice): Promise<{ restored: number; lost: number }> {
    if (this.#disposed) throw this.dead as BackendError;
    if (!this.dead) return { restored: 0, lost: 0 };
    if (!device && !this.#ownsDevice) {
      throw new BackendError(
        "lost",
        "webgpu: the lost device was not ours; recover(device) with its successor",
      );
    }
    const why = this.dead;
    const known = [...this.#pipelines.known()];
    const before = this.#pool;
    const fresh = device ?? (await requestDevice(this.#options));
    this.#encoder = undefined;
    this.#pass = undefined;
    this.#slots = 0;
    this.#batch = [];
    this.#checks.clear();
    this.#slotsTensor?.dispose();
    this.#slotsTensor = undefined;
    before.give(this.#absent);
    this.dead = undefined;
    this.#adopt(fresh, !device);
    const counts = this.#pool.takeOver(before, why);
    await Promise.all(known.map(([spec, v]) => this.#pipelines.prepare(spec, v)));
    for (const p of this.#plans) p.built = p.build();
    await this.flush();
    return counts;
  }

  #disposed = false;

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.dead = new BackendError("lost", "the webgpu backend was disposed");
    this.#pool.destroyAll();
    if (this.#ownsDevice) this.#device.destroy();
  }
}

interface BuiltPlan {
  readonly dispatches: number;
  run(): void;
  release(): void;
}

/** A plan outlives its device: it is built again on the next. */
class WebgpuPlan {
  readonly calls: readonly (Call | CopyCall)[];
  readonly build: () => BuiltPlan;
  built: BuiltPlan;

  constructor(calls: readonly (Call | CopyCall)[], build: () => BuiltPlan) {
    this.calls = calls;
    this.build = build;
    this.built = build();
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

export async function openWebgpu(options: WebgpuOptions = {}): Promise<WebgpuBackend> {
  const device = options.device ?? (await requestDevice(options));
  return new WebgpuBackend(device, !options.device, options);
}
