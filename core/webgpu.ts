import { Backend, type CopyCall, outOfRange, type Plan } from "./backend.ts";
import {
  type AnyKernel,
  bindShapes,
  type Call,
  type Params,
  type Spec,
  type WebgpuVariant,
} from "./contract.ts";
import { BackendError, ShapeError } from "./errors.ts";
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
import { GpuContext, writeUniforms } from "./webgpu-context.ts";
import { cutCall } from "./webgpu-cut.ts";
import { requestDevice, type WebgpuOptions } from "./webgpu-device.ts";
import type { Event } from "./webgpu-journal.ts";
import { GpuMemory, memoryOf, SLOT, sizeClass, Usage } from "./webgpu-memory.ts";
import { type BuiltPlan, buildPlan } from "./webgpu-plan.ts";
import {
  type Capabilities,
  chooseVariant,
  isWritten,
  narrowed,
  passesOf,
} from "./webgpu-variant.ts";

export type { WebgpuLimits, WebgpuOptions } from "./webgpu-device.ts";

const MAP_READ = 0x1;
/** Dispatches that share one submission at most. */
const MAX_PENDING = 64;
/** Uniform slots of one ring; each is one kernel. */
const RING_SLOTS = 256;

export class WebgpuBackend extends Backend {
  readonly name = "webgpu";
  build = "";
  readonly #options: WebgpuOptions;
  readonly #forced = new Map<Spec, WebgpuVariant>();
  readonly #plans = new Set<{ readonly build: () => BuiltPlan; built: BuiltPlan }>();
  /** What belongs to the present device; `recover` makes it anew. */
  #ctx!: GpuContext;
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
  #flushQueued = false;
  #disposed = false;

  constructor(device: GPUDevice, ownsDevice: boolean, options: WebgpuOptions = {}) {
    super();
    this.#options = options;
    this.#adopt(device, ownsDevice);
  }

  get device(): GPUDevice {
    return this.#ctx.device;
  }

  get capabilities(): Capabilities {
    return this.#ctx.capabilities;
  }

  get adapterInfo(): GPUAdapterInfo {
    return this.#ctx.device.adapterInfo;
  }

  #adopt(device: GPUDevice, owned: boolean): void {
    const { vendor, architecture, description } = device.adapterInfo;
    this.build =
      [vendor, architecture, description].filter((s) => s).join(" ") || "unknown adapter";
    this.#ctx = new GpuContext(device, owned, this.#options, this.#forced);
    this.#ring = this.#ctx.pool.buffer(SLOT * RING_SLOTS, Usage.UNIFORM | Usage.COPY_DST);
    device.lost.then((e) => {
      if (device !== this.#ctx.device) return;
      this.dead ??= new BackendError(
        "lost",
        `webgpu: the device was lost (${e.reason}): ${e.message || "no reason given"}; recover() goes on with a fresh one`,
      );
    });
  }

  // ---- memory ------------------------------------------------------------------------------

  protected roundUp(bytes: number): number {
    return sizeClass(bytes);
  }

  protected allocate(bytes: number): GpuMemory {
    return this.#ctx.pool.take(bytes);
  }

  protected release(handle: unknown): void {
    const m = handle as GpuMemory;
    if (m.foreign) this.#ctx.forget(m);
    this.#ctx.pool.give(m);
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
    const m = memoryOf(t);
    this.#ctx.device.queue.writeBuffer(m.buffer, t.byteOffset, bytes);
    const keep = this.#options.hostCopies === true || t.storage.pinned === true;
    m.uploaded(t, keep ? bytes : undefined);
    this.#ctx.journal.host(m);
  }

  protected clear(t: Tensor): void {
    if (t.size === 0) return;
    const m = memoryOf(t);
    this.#endPass().clearBuffer(m.buffer, t.byteOffset, t.byteLength);
    m.uploaded(t, "zeros");
    this.#batch.push({ host: m });
    this.#queueFlush();
  }

  protected copyNow(dst: Tensor, src: Tensor): void {
    if (dst.size === 0) return;
    memoryOf(src).assertValid();
    this.#ctx.encodeCopy(this.#endPass(), dst, src);
    memoryOf(dst).written();
    this.#batch.push({ dst, src });
    this.#queueFlush();
  }

  async read(t: Tensor): Promise<Float32Array | Int32Array | Uint32Array> {
    const type = hostArrays[t.dtype];
    if (t.size === 0) return new type(0);
    const m = memoryOf(t);
    if (m.failure) this.#ctx.failures.raise(m.failure);
    const data = await this.#download(m, t.byteOffset, t.byteLength);
    await this.#raiseChecks();
    return new type(data);
  }

  /** The bytes as they are when the work so far is done. Rejects where that work failed. */
  async #download(m: GpuMemory, offset: number, bytes: number): Promise<ArrayBuffer> {
    const pool = this.#ctx.pool;
    const device = this.#ctx.device;
    const failures = this.#ctx.failures;
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
    const step = this.#ctx.device.limits.minStorageBufferOffsetAlignment;
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
    return { buffer: memoryOf(t).buffer, offset: t.byteOffset, size: t.byteLength };
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

  /**
   * Compiles kernels in parallel and off the main thread, so that their first calls need not wait:
   * `await be.prepare([{ kernel: matmul, shapes: { a: [64, 32], b: [32, 128] } }])`. Shapes are those of the
   * inputs; they only choose between variants. `capture` does this by itself.
   * @throws BackendError that points at the line of wgsl/<file>; ShapeError, ValueError as a call would
   */
  async prepare(
    kernels: readonly {
      readonly kernel: AnyKernel;
      readonly shapes: Readonly<Record<string, Shape>>;
      readonly params?: Params;
    }[],
  ): Promise<void> {
    this.assertLive();
    await Promise.all(
      kernels.flatMap(({ kernel: { spec }, shapes, params: given = {} }) => {
        const { dims, params } = bindShapes(spec, shapes, given);
        const variant = chooseVariant(spec, this.#ctx.capabilities, dims, params);
        const present = spec.args.some((a) => a.role === "opt" && shapes[a.name]);
        // a call may add to an output, or not: texts of their own
        const texts = spec.args.some((a) => a.role === "acc") ? [false, true] : [false];
        return texts.map((adds) =>
          this.#ctx.pipelines.prepare(spec, narrowed(variant, adds, present)),
        );
      }),
    );
  }

  override async compile(calls: readonly Call[]): Promise<void> {
    await Promise.all(calls.map((c) => this.#ctx.pipelines.prepare(c.spec, this.#ctx.variant(c))));
  }

  // ---- launching ---------------------------------------------------------------------------

  dispatch(call: Call): void {
    if (this.#ctx.isTooLarge(call)) {
      const { steps, release } = cutCall(this, call, this.#ctx.maxBinding);
      for (const s of steps) {
        if ("spec" in s) this.dispatch(s);
        else this.copyNow(s.dst, s.src);
      }
      release();
      return;
    }
    const variant = this.#ctx.variant(call);
    if (this.#ctx.pipelines.isProven(call.spec, variant)) {
      if (this.#slots === RING_SLOTS) this.#submit();
      this.#encode(call, variant);
      if (this.#slots % MAX_PENDING === 0) this.#submit();
      else this.#queueFlush();
      return;
    }
    // A text that does not compile takes its whole submission along: it gets one of its own.
    this.#submit();
    const submission = this.#ctx.journal.open([call]);
    this.#ctx.failures.watch(
      ["validation"],
      (e) => this.#ctx.pipelines.fault(call.spec, variant, e.message, "validation"),
      () => {
        this.#encode(call, variant);
        this.#finish();
      },
      (e) => this.#ctx.journal.fail(submission, e),
      () => this.#ctx.journal.close(submission),
    );
  }

  #encode(call: Call, variant: WebgpuVariant): void {
    this.#reads(call);
    const scratch = variant.scratch && this.allocate(this.#ctx.scratchBytes(variant, call));
    const offset = this.#slots++ * SLOT;
    writeUniforms(this.#ringView, offset, call);
    for (const pass of passesOf(variant)) {
      const [x, y] = this.#ctx.fold(pass.grid(call.dims, call.params));
      if (x === 0) continue;
      const p = this.#ctx.pipelines.get(call.spec, variant, pass);
      const group = this.#ctx.bindGroup(p, call, this.#ring, scratch, true);
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

  /** Fails now where an argument holds no result. */
  #reads({ spec, tensors, scalars }: Call): void {
    let beta = scalars.length - spec.args.filter((a) => a.role === "acc").length;
    spec.args.forEach((a, i) => {
      const t = tensors[i];
      const reads = a.role === "acc" ? scalars[beta++].value !== 0 : a.role !== "out";
      if (!t || !reads) return;
      const m = memoryOf(t);
      if (m.failure) m.assertValid(`[${spec.name}] ${a.name}`);
    });
  }

  #writes({ spec, tensors }: Call): void {
    spec.args.forEach((a, i) => {
      const t = tensors[i];
      if (t && isWritten(a)) memoryOf(t).written();
    });
  }

  #open(): GPUCommandEncoder {
    this.#encoder ??= this.#ctx.device.createCommandEncoder();
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
    if (this.#encoder) this.#ctx.send(this.#batch, () => this.#finish());
  }

  /** Hands the open encoder over. */
  #finish(): void {
    const encoder = this.#endPass();
    this.#encoder = undefined;
    this.#batch = [];
    const { queue } = this.#ctx.device;
    if (this.#slots) queue.writeBuffer(this.#ring, 0, this.#ringBytes, 0, this.#slots * SLOT);
    this.#slots = 0;
    queue.submit([encoder.finish()]);
  }

  plan(calls: readonly (Call | CopyCall)[]): Plan {
    // It outlives its device: `recover` builds it again on the next.
    const build = () => buildPlan(this.#ctx, this, calls);
    const plan = { build, built: build() };
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
    const words = await this.#download(memoryOf(slots), 0, slots.byteLength);
    this.clear(slots);
    for (const { spec, arg, limit, slot } of checks) {
      const [count, last] = new Uint32Array(words, 8 * slot, 2);
      if (count) throw outOfRange(spec, arg, limit, count, 0xffffffff - last);
    }
  }

  // ---- waiting and failing -----------------------------------------------------------------

  async flush(): Promise<void> {
    this.#submit();
    await this.#ctx.device.queue.onSubmittedWorkDone();
    await this.#raise();
  }

  async #raise(): Promise<void> {
    await this.#ctx.failures.settle();
    this.#ctx.failures.raise();
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
      const m = memoryOf(t);
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
   * until something is written to it.
   * @param device where the lost one was yours: its successor
   * @returns how many buffers in use have their content again, and how many do not
   */
  async recover(device?: GPUDevice): Promise<{ restored: number; lost: number }> {
    if (this.#disposed) throw this.dead as BackendError;
    if (!this.dead) return { restored: 0, lost: 0 };
    if (!device && !this.#ctx.owned) {
      throw new BackendError(
        "lost",
        "webgpu: the lost device was not ours; recover(device) with its successor",
      );
    }
    const why = this.dead;
    const known = [...this.#ctx.pipelines.known()];
    const before = this.#ctx.pool;
    const fresh = device ?? (await requestDevice(this.#options));
    this.#encoder = undefined;
    this.#pass = undefined;
    this.#slots = 0;
    this.#batch = [];
    this.#checks.clear();
    this.#slotsTensor?.dispose();
    this.#slotsTensor = undefined;
    for (const p of this.#plans) p.built.release();
    before.give(this.#ctx.absent);
    this.dead = undefined;
    this.#adopt(fresh, !device);
    const counts = this.#ctx.pool.takeOver(before, why);
    await Promise.all(known.map(([spec, v]) => this.#ctx.pipelines.prepare(spec, v)));
    for (const p of this.#plans) p.built = p.build();
    await this.flush();
    return counts;
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.dead = new BackendError("lost", "the webgpu backend was disposed");
    this.#ctx.pool.destroyAll();
    if (this.#ctx.owned) this.#ctx.device.destroy();
  }
}

export async function openWebgpu(options: WebgpuOptions = {}): Promise<WebgpuBackend> {
  const device = options.device ?? (await requestDevice(options));
  return new WebgpuBackend(device, !options.device, options);
}
