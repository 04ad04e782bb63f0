import { activeCapture } from "./capture-state.ts";
import { type Call, launch, type Spec } from "./contract.ts";
import { type BackendError, CaptureError, ShapeError, ValueError } from "./errors.ts";
import {
  checkShape,
  type Dtype,
  type Shape,
  type Storage,
  sizeOf,
  Tensor,
  type TypedArray,
  track,
} from "./tensor.ts";

export type BackendName = "ref" | "wasm" | "webgpu";

/** A copy between tensors of one backend; captures replay it like a kernel. */
export interface CopyCall {
  readonly dst: Tensor;
  readonly src: Tensor;
}

export const outOfRange = (
  spec: Spec,
  arg: string,
  limit: number,
  count: number,
  first: number,
): ValueError =>
  new ValueError(
    "index",
    `${arg}: ${count} ${count > 1 ? "indices are" : "index is"} outside 0 … ${limit - 1}, the first at [${first}]`,
    spec.name,
  );

/** A list of calls with everything that can be prepared prepared; `run` repeats them in order. */
export interface Plan {
  /** What one run launches: kernels, on WebGPU each of their passes. */
  readonly dispatches: number;
  run(): void;
  dispose(): void;
}

/**
 * What the three backends share: accounting, tensor creation, and the rule that memory freed while
 * a step is being captured stays with that step. Contracts check arguments before any of this.
 */
export abstract class Backend {
  abstract readonly name: BackendName;
  /** How it runs: a wasm build, a GPU adapter. Printed by `info` and in bench rows. */
  abstract readonly build: string;
  /** Launches since the start: kernels, on WebGPU each of their passes; a replayed step counts its own. */
  dispatches = 0;
  /** Storages made since the start. */
  storages = 0;
  /** Bytes of tensors alive now. */
  bytesInUse = 0;
  /** Whether indices are looked at before each launch; slow, for finding where a bad one comes from. */
  checked = false;
  /** Why nothing works any more: lost or disposed. */
  protected dead: BackendError | undefined;
  /** Blocks freed inside an open capture, by size: only the capture itself may reuse them. */
  #held: Map<number, unknown[]> | undefined;
  /** Constants freed inside it: they keep their content for the replays. */
  #pinned: Storage[] = [];

  protected abstract roundUp(bytes: number): number;
  protected abstract allocate(bytes: number, dtype: Dtype): unknown;
  protected abstract release(handle: unknown, bytes: number): void;

  abstract read(t: Tensor): Promise<Float32Array | Int32Array | Uint32Array>;
  abstract view(t: Tensor): TypedArray;
  /** Host data into a tensor; `data` has exactly t.size elements. */
  protected abstract upload(t: Tensor, data: ArrayLike<number>): void;
  protected abstract clear(t: Tensor): void;
  protected abstract copyNow(dst: Tensor, src: Tensor): void;

  /** Whether this backend has an implementation of the kernel. */
  abstract supports(spec: Spec): boolean;
  abstract dispatch(call: Call): void;
  abstract plan(calls: readonly (Call | CopyCall)[]): Plan;
  /** Makes ready what a plan of these calls needs: pipelines, threads. */
  async compile(_calls: readonly Call[]): Promise<void> {}

  /**
   * Looks at the indices of a call. A GPU looks later, and `read` or `flush` throws.
   * @throws ValueError naming the argument, how many are outside, and the first
   */
  checkIndices({ spec, tensors, dims }: Call): void {
    spec.args.forEach((a, i) => {
      const t = tensors[i];
      if (!t || a.index === undefined) return;
      const limit = dims[a.index];
      const data = this.view(t);
      let first = -1;
      let count = 0;
      for (let k = 0; k < data.length; k++) {
        if (data[k] >= 0 && data[k] < limit) continue;
        if (count++ === 0) first = k;
      }
      if (count) throw outOfRange(spec, a.name, limit, count, first);
    });
  }

  /** A plan that checks indices on the way. */
  checkedPlan(calls: readonly (Call | CopyCall)[]): Plan {
    return {
      dispatches: calls.filter((c) => "spec" in c).length,
      run: () => {
        for (const c of calls) {
          if ("spec" in c) launch(this, c);
          else this.copyNow(c.dst, c.src);
        }
      },
      dispose: () => {},
    };
  }

  /** Resolves when all work handed over so far is done. */
  abstract flush(): Promise<void>;
  /** Frees everything of this backend. */
  abstract dispose(): void;

  [Symbol.dispose](): void {
    this.dispose();
  }

  assertLive(): void {
    if (this.dead) throw this.dead;
  }

  /** A new tensor: zeros without `data`, else a copy of it. dtype follows `data`, default f32. */
  tensor(shape: Shape, data?: ArrayLike<number>, dtype?: Dtype): Tensor {
    const type =
      dtype ?? (data instanceof Int32Array ? "i32" : data instanceof Uint32Array ? "u32" : "f32");
    if (data && data.length !== sizeOf(shape)) {
      throw new ShapeError(
        "shape",
        `tensor: (${shape.join(",")}) takes ${sizeOf(shape)} elements, got ${data.length}`,
      );
    }
    // Inside a capture this is a constant of the step: memory that no recorded kernel writes.
    const held = this.#held;
    this.#held = undefined;
    const t = this.empty(shape, type);
    this.#held = held;
    if (held) t.storage.pinned = true;
    if (data) this.upload(t, data);
    else this.clear(t);
    return t;
  }

  /** A new tensor whose content is undefined until a kernel writes it. */
  empty(shape: Shape, dtype: Dtype = "f32"): Tensor {
    this.assertLive();
    checkShape(shape, "tensor");
    const used = sizeOf(shape) * 4;
    const bytes = this.roundUp(used);
    const handle = this.#held?.get(bytes)?.pop() ?? this.allocate(bytes, dtype);
    this.bytesInUse += bytes;
    return track(
      new Tensor(this, [...shape], dtype, {
        serial: this.storages++,
        handle,
        bytes,
        used,
        refs: 0,
      }),
    );
  }

  /** Called by the last tensor of a storage. */
  free(storage: Storage): void {
    this.bytesInUse -= storage.bytes;
    if (this.#held && storage.pinned) {
      this.#pinned.push(storage);
    } else if (this.#held) {
      const held = this.#held.get(storage.bytes);
      if (held) held.push(storage.handle);
      else this.#held.set(storage.bytes, [storage.handle]);
    } else {
      this.release(storage.handle, storage.bytes);
    }
  }

  write(t: Tensor, data: ArrayLike<number>): void {
    this.assertLive();
    this.refuseInCapture("write");
    this.upload(t, data);
  }

  /** dst <- src, same dtype and size, without a trip over the host. */
  copy(dst: Tensor, src: Tensor): void {
    dst.assertLive("copy");
    src.assertLive("copy");
    if (
      dst.backend !== this ||
      src.backend !== this ||
      dst.dtype !== src.dtype ||
      dst.size !== src.size
    ) {
      throw new ShapeError(
        "shape",
        `copy: ${src.dtype}(${src.shape.join(",")}) on ${src.backend.name} does not fit ${dst.dtype}(${dst.shape.join(",")}) on ${dst.backend.name}`,
      );
    }
    if (activeCapture(this)?.note({ dst, src }) !== "skip") this.copyNow(dst, src);
  }

  /** From here on, freed memory stays with the capture. */
  beginCapture(): void {
    this.#held = new Map();
  }

  /** Ends that; the returned function gives the held memory back. */
  endCapture(): () => void {
    const held = this.#held;
    const pinned = this.#pinned;
    this.#held = undefined;
    this.#pinned = [];
    return () => {
      for (const [bytes, handles] of held ?? []) for (const h of handles) this.release(h, bytes);
      for (const s of pinned) this.release(s.handle, s.bytes);
      held?.clear();
      pinned.length = 0;
    };
  }

  /** Host access has no place in a recording: it would happen once, not at every replay. */
  refuseInCapture(what: string): void {
    if (activeCapture(this)) {
      throw new CaptureError(
        "host",
        `${what}: the host cannot touch tensors while a step is captured; declare an input, or read after run()`,
      );
    }
  }
}
