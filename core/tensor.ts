import type { Backend } from "./backend.ts";
import { MemoryError, ShapeError } from "./errors.ts";

export type Dtype = "f32" | "i32" | "u32";
export type TypedArray = Float32Array | Float64Array | Int32Array | Uint32Array;
export type Shape = readonly number[];

/** What holds a dtype on the host. */
export const hostArrays: Record<
  Dtype,
  Float32ArrayConstructor | Int32ArrayConstructor | Uint32ArrayConstructor
> = {
  f32: Float32Array,
  i32: Int32Array,
  u32: Uint32Array,
};

/** Memory of one backend. `handle` is the backend's own: a pointer, a GPUBuffer, a typed array. */
export interface Storage {
  /** Counts up over all storages of a backend: tells what came into being after what. */
  readonly serial: number;
  readonly handle: unknown;
  /** What it takes of memory, and what of that its tensors can reach. */
  readonly bytes: number;
  readonly used: number;
  /** Tensors that look into this storage; the last one to be disposed frees it. */
  refs: number;
  /** Made from host data inside a capture, see Backend.tensor. */
  pinned?: boolean;
}

/**
 * The identity that gradients are keyed by. Reshapes of one tensor share it, `stopGradient` makes a
 * new one over the same storage.
 */
export class Value {}

export const sizeOf = (shape: Shape): number => shape.reduce((n, d) => n * d, 1);

export const sameShape = (a: Shape, b: Shape): boolean =>
  a.length === b.length && a.every((d, i) => d === b[i]);

export function checkShape(shape: Shape, what: string): void {
  for (const d of shape) {
    if (!Number.isInteger(d) || d < 0 || d > 0x7fffffff) {
      throw new ShapeError(
        "shape",
        `${what}: extents are integers in 0 … 2^31-1, got (${shape.join(",")})`,
      );
    }
  }
  if (sizeOf(shape) > 0x3fffffff) {
    throw new ShapeError("shape", `${what}: (${shape.join(",")}) has more than 2^30 elements`);
  }
}

/** A contiguous, row-major block of numbers on one backend. */
export class Tensor {
  readonly shape: Shape;
  readonly dtype: Dtype;
  readonly backend: Backend;
  readonly storage: Storage;
  readonly byteOffset: number;
  readonly size: number;
  value: Value;
  #disposed = false;

  constructor(
    backend: Backend,
    shape: Shape,
    dtype: Dtype,
    storage: Storage,
    byteOffset = 0,
    value = new Value(),
  ) {
    this.backend = backend;
    this.shape = shape;
    this.dtype = dtype;
    this.storage = storage;
    this.byteOffset = byteOffset;
    this.size = sizeOf(shape);
    this.value = value;
    storage.refs++;
  }

  get byteLength(): number {
    return this.size * 4;
  }

  get disposed(): boolean {
    return this.#disposed;
  }

  /** Throws MemoryError when the tensor, or the backend under it, is gone. */
  assertLive(what = "tensor"): void {
    if (this.#disposed) {
      throw new MemoryError(
        "disposed",
        `${what}: (${this.shape.join(",")}) was used after dispose`,
      );
    }
    this.backend.assertLive();
  }

  /** The same numbers under another shape; shares memory and gradient identity. One extent may be -1. */
  reshape(shape: Shape): Tensor {
    this.assertLive("reshape");
    const known = shape.reduce((n, d) => (d === -1 ? n : n * d), 1);
    const full = shape.map((d) => (d === -1 ? this.size / known : d));
    if (shape.filter((d) => d === -1).length > 1 || sizeOf(full) !== this.size) {
      throw new ShapeError(
        "shape",
        `reshape: (${this.shape.join(",")}) has ${this.size} elements, (${shape.join(",")}) does not fit`,
      );
    }
    checkShape(full, "reshape");
    return track(
      new Tensor(this.backend, full, this.dtype, this.storage, this.byteOffset, this.value),
    );
  }

  /** Copies to the host. Waits for the work that writes this tensor. */
  async read(): Promise<Float32Array | Int32Array | Uint32Array> {
    this.assertLive("read");
    this.backend.refuseInCapture("read");
    return this.backend.read(this);
  }

  /** A live view into wasm or reference memory, valid until the next allocation; not on WebGPU. */
  view(): TypedArray {
    this.assertLive("view");
    this.backend.refuseInCapture("view");
    return this.backend.view(this);
  }

  /** Overwrites the whole tensor from host data of exactly `size` elements. */
  write(data: ArrayLike<number>): void {
    this.assertLive("write");
    if (data.length !== this.size) {
      throw new ShapeError(
        "shape",
        `write: (${this.shape.join(",")}) takes ${this.size} elements, got ${data.length}`,
      );
    }
    this.backend.write(this, data);
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    if (--this.storage.refs === 0) this.backend.free(this.storage);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/**
 * Scopes: every tensor made while a scope is open belongs to it and is disposed when it closes,
 * except those that are kept. This is what frees the temporaries of a gradient.
 */
const scopes: Set<Tensor>[] = [];

export function track(t: Tensor): Tensor {
  scopes.at(-1)?.add(t);
  return t;
}

/** Takes `t` out of the innermost scope, into the one around it. */
export function keep(t: Tensor): Tensor {
  const inner = scopes.length - 1;
  if (inner >= 0 && scopes[inner].delete(t)) scopes[inner - 1]?.add(t);
  return t;
}

/**
 * Runs `body` and disposes every tensor it made, except those found in its result. With `into`
 * false (an outer tape still needs the intermediates) they move to the enclosing scope instead.
 */
export function scope<T>(body: () => T, dispose: () => boolean = () => true): T {
  const own = new Set<Tensor>();
  scopes.push(own);
  try {
    const result = body();
    for (const t of tensorsIn(result)) keep(t);
    return result;
  } finally {
    const release = dispose();
    scopes.pop();
    for (const t of own) {
      if (release) t.dispose();
      else track(t);
    }
  }
}

/** Runs `make` outside every scope: what it makes lives until it is disposed by hand. */
export function detached<T>(make: () => T): T {
  const open = scopes.splice(0);
  try {
    return make();
  } finally {
    scopes.push(...open);
  }
}

/** All tensors reachable through arrays and plain objects. */
export function* tensorsIn(x: unknown): Generator<Tensor> {
  if (x instanceof Tensor) yield x;
  else if (Array.isArray(x)) for (const y of x) yield* tensorsIn(y);
  else if (x && typeof x === "object" && Object.getPrototypeOf(x) === Object.prototype) {
    for (const y of Object.values(x)) yield* tensorsIn(y);
  }
}
