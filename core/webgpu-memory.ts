import { BackendError, MemoryError, type TilegradError } from "./errors.ts";
import type { Tensor } from "./tensor.ts";
import { type Failures, typedError } from "./webgpu-failures.ts";

// The numbers of the specification: Node has no GPUBufferUsage and its kin, and a library must not
// put them into the global scope.
export const Usage = { MAP_READ: 0x1, COPY_SRC: 0x4, COPY_DST: 0x8, UNIFORM: 0x40, STORAGE: 0x80 };

/** Bytes of the least storage, of a uniform's place, and of the steps between bindings. */
export const SLOT = 256;

/** Four sizes to each power of two keep the pool small and reuse likely. */
export function sizeClass(bytes: number): number {
  if (bytes <= SLOT) return SLOT;
  const step = Math.max(SLOT, 2 ** (Math.floor(Math.log2(bytes)) - 2));
  return Math.ceil(bytes / step) * step;
}

export const memoryOf = (t: Tensor): GpuMemory => t.storage.handle as GpuMemory;

let ids = 0;

/** The memory of one storage: a buffer, and what is known of its content. */
export class GpuMemory {
  /** Stays the same, so bind groups over the buffer can be cached; a new buffer has a new one. */
  id = ids++;
  buffer: GPUBuffer;
  readonly bytes: number;
  /** Somebody else's: not ours to pool or destroy. */
  readonly foreign: boolean;
  /** Why it holds no result; reading it raises this. */
  failure: TilegradError | undefined;
  /** The device had no room for it: writing does not help. */
  void = false;
  /** What the host can write again on another device: its bytes, or zeros. */
  hostCopy: Uint8Array<ArrayBuffer> | "zeros" | undefined;
  checkpoint: Uint8Array<ArrayBuffer> | undefined;

  constructor(buffer: GPUBuffer, bytes: number, foreign = false) {
    this.buffer = buffer;
    this.bytes = bytes;
    this.foreign = foreign;
  }

  /** Notes a write by a kernel, which also makes good what had failed. */
  written(): void {
    this.hostCopy = undefined;
    if (this.failure && !this.void) this.failure = undefined;
  }

  /** Notes a write by the host, whose copy is kept where all of the content is known. */
  uploaded(t: Tensor, copy: Uint8Array<ArrayBuffer> | "zeros" | undefined): void {
    const before = this.hostCopy;
    this.written();
    if (!copy) return;
    if (t.byteOffset === 0 && t.byteLength === t.storage.used) this.hostCopy = copy;
    else if (before && copy !== "zeros") {
      this.hostCopy = before === "zeros" ? new Uint8Array(t.storage.used) : before;
      this.hostCopy.set(copy, t.byteOffset);
    }
  }

  /** @throws what kept its content from being */
  assertValid(what?: string): void {
    const e = this.failure;
    if (!e) return;
    if (!what) throw e;
    const Same = e.constructor as new (code: string, detail: string) => TilegradError;
    throw new Same(e.code, `${what}: holds no result: ${e.detail}`);
  }
}

/** Buffers of one device by size, those in use and those free. */
export class MemoryPool {
  readonly #device: GPUDevice;
  readonly #failures: Failures;
  readonly #free = new Map<number, GpuMemory[]>();
  readonly #used = new Set<GpuMemory>();
  readonly #others = new Set<GPUBuffer>();
  readonly #staging: GPUBuffer[] = [];

  constructor(device: GPUDevice, failures: Failures) {
    this.#device = device;
    this.#failures = failures;
  }

  /** @throws MemoryError at once where no buffer may be that large; where there is no room, later */
  take(bytes: number): GpuMemory {
    let m = this.#free.get(bytes)?.pop();
    if (!m) {
      m = new GpuMemory(undefined as unknown as GPUBuffer, bytes);
      this.#create(m);
    }
    this.#used.add(m);
    return m;
  }

  #create(m: GpuMemory): void {
    const { maxBufferSize } = this.#device.limits;
    const { bytes } = m;
    if (bytes > maxBufferSize) {
      throw new MemoryError(
        "exhausted",
        `webgpu: a tensor of ${bytes} bytes is over this device's limit of ${maxBufferSize} bytes a buffer`,
      );
    }
    const usage = Usage.STORAGE | Usage.COPY_SRC | Usage.COPY_DST;
    m.buffer = this.#failures.watch(
      ["validation", "out-of-memory"],
      (e) => typedError(e, `a tensor of ${bytes} bytes`),
      () => this.#device.createBuffer({ size: bytes, usage }),
      (e) => {
        m.failure = e;
        m.void = true;
        // Room for the next try.
        for (const list of this.#free.values()) for (const free of list) free.buffer.destroy();
        this.#free.clear();
      },
    );
  }

  give(m: GpuMemory): void {
    this.#used.delete(m);
    if (m.foreign || m.void) {
      if (m.void) m.buffer.destroy();
      return;
    }
    m.failure = undefined;
    m.hostCopy = undefined;
    m.checkpoint = undefined;
    const list = this.#free.get(m.bytes);
    if (list) list.push(m);
    else this.#free.set(m.bytes, [m]);
  }

  /** A buffer that is no tensor. */
  buffer(size: number, usage: GPUBufferUsageFlags): GPUBuffer {
    const b = this.#failures.watch(
      ["validation", "out-of-memory"],
      (e) => typedError(e, `a buffer of ${size} bytes`),
      () => this.#device.createBuffer({ size, usage }),
      () => {},
    );
    this.#others.add(b);
    return b;
  }

  destroy(b: GPUBuffer): void {
    this.#others.delete(b);
    b.destroy();
  }

  /** A buffer for the way back to the host. */
  staging(bytes: number): GPUBuffer {
    const at = this.#staging.findIndex((b) => b.size === bytes);
    if (at >= 0) return this.#staging.splice(at, 1)[0];
    return this.buffer(bytes, Usage.MAP_READ | Usage.COPY_DST);
  }

  /** Keeps a few for the next reads. */
  giveStaging(b: GPUBuffer): void {
    this.#staging.push(b);
    if (this.#staging.length > 16) this.destroy(this.#staging.shift() as GPUBuffer);
  }

  /** Puts buffers of this device under what the lost device's pool had in use. */
  takeOver(lost: MemoryPool, why: TilegradError): { restored: number; lost: number } {
    const counts = { restored: 0, lost: 0 };
    for (const m of lost.#used) {
      if (m.foreign) continue;
      m.void = false;
      m.failure = undefined;
      m.id = ids++;
      this.#create(m);
      this.#used.add(m);
      const copy = m.checkpoint ?? m.hostCopy;
      if (copy instanceof Uint8Array) this.#device.queue.writeBuffer(m.buffer, 0, copy);
      if (copy) {
        counts.restored++;
        continue;
      }
      counts.lost++;
      m.failure = new BackendError(
        "lost",
        `its content went with the device (${why.detail.replace(/;.*/, "")}); write it again, or checkpoint() it in time`,
      );
    }
    return counts;
  }

  destroyAll(): void {
    for (const m of this.#used) if (!m.foreign) m.buffer.destroy();
    for (const list of this.#free.values()) for (const m of list) m.buffer.destroy();
    for (const b of this.#others) b.destroy();
    for (const b of this.#staging) b.destroy();
  }
}
