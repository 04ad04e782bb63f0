import type { Call, Spec } from "./contract.ts";
import type { Dtype, Shape, Storage, Tensor, TypedArray } from "./tensor.ts";

export type BackendName = "ref" | "wasm" | "webgpu";

/** A list of calls with everything that can be prepared prepared; `run` repeats them in order. */
export interface Plan {
  run(): void;
  dispose(): void;
}

/** What a backend must do. Contracts do the checking before any of these is reached. */
export interface Backend {
  readonly name: BackendName;
  /** How it runs: a wasm build, a GPU adapter. Printed by `info` and in bench rows. */
  readonly build: string;
  /** Kernels launched since the start; a captured step counts each of its kernels. */
  dispatches: number;
  /** Bytes of tensors alive now. */
  readonly bytesInUse: number;

  /** A new tensor: zeros without `data`, else a copy of it. dtype follows `data`, default f32. */
  tensor(shape: Shape, data?: ArrayLike<number>, dtype?: Dtype): Tensor;
  /** A new tensor whose content is undefined until a kernel writes it. */
  empty(shape: Shape, dtype?: Dtype): Tensor;
  free(storage: Storage): void;
  read(t: Tensor): Promise<Float32Array | Int32Array | Uint32Array>;
  view(t: Tensor): TypedArray;
  write(t: Tensor, data: ArrayLike<number>): void;
  /** dst <- src, same byte length, without a trip over the host. */
  copy(dst: Tensor, src: Tensor): void;

  /** Whether this backend has an implementation of the kernel. */
  supports(spec: Spec): boolean;
  dispatch(call: Call): void;
  plan(calls: readonly (Call | CopyCall)[]): Plan;
  /** Storage freed between begin and end stays with the recording: nobody else may get it. */
  beginCapture(): void;
  endCapture(): () => void;

  /** Resolves when all work handed over so far is done. */
  flush(): Promise<void>;
  assertLive(): void;
  /** Frees everything. The process can exit afterwards without further calls. */
  dispose(): void;
  [Symbol.dispose](): void;
}

export interface CopyCall {
  readonly dst: Tensor;
  readonly src: Tensor;
}
