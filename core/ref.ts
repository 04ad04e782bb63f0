import { Backend, type CopyCall, type Plan } from "./backend.ts";
import type { Call, RefArrays } from "./contract.ts";
import { BackendError } from "./errors.ts";
import { Scalar } from "./scalar.ts";
import type { Dtype, Tensor } from "./tensor.ts";

type RefArray = Float64Array | Int32Array | Uint32Array;

/**
 * Runs the contracts' own definitions. f32 tensors are held in f64, so that finite differences and
 * long sums are exact enough to be the oracle of the other backends; `read` rounds to f32.
 */
export class RefBackend extends Backend {
  readonly name = "ref";
  readonly build = "f64";

  protected roundUp(bytes: number): number {
    return bytes;
  }

  protected allocate(bytes: number, dtype: Dtype): RefArray {
    const n = bytes / 4;
    if (dtype === "i32") return new Int32Array(n);
    if (dtype === "u32") return new Uint32Array(n);
    return new Float64Array(n);
  }

  protected release(): void {}

  view(t: Tensor): RefArray {
    return (t.storage.handle as RefArray).subarray(t.byteOffset / 4, t.byteOffset / 4 + t.size);
  }

  async read(t: Tensor): Promise<Float32Array | Int32Array | Uint32Array> {
    const v = this.view(t);
    return v instanceof Float64Array ? Float32Array.from(v) : v.slice();
  }

  protected upload(t: Tensor, data: ArrayLike<number>): void {
    const exact = t.dtype !== "f32" || data instanceof Float64Array;
    this.view(t).set(exact ? data : Float32Array.from(data));
  }

  protected clear(t: Tensor): void {
    this.view(t).fill(0);
  }

  protected copyNow(dst: Tensor, src: Tensor): void {
    this.view(dst).set(this.view(src));
  }

  supports(): boolean {
    return true;
  }

  dispatch(call: Call): void {
    const { spec, tensors, dims } = call;
    const arrays: RefArrays = {};
    spec.args.forEach((a, i) => {
      const t = tensors[i];
      if (!t) return;
      const v = this.view(t);
      const fresh = a.role === "out" || a.role === "acc";
      arrays[a.name] = fresh ? new (v.constructor as Float64ArrayConstructor)(v.length) : v;
    });
    // Scalars are read now: a replay sees their present value.
    const params = { ...call.params };
    const names = Object.keys(spec.params ?? {});
    names.forEach((name, i) => {
      const s = call.scalars[i].value;
      if (s instanceof Scalar) params[name] = s.value;
    });
    spec.ref(arrays, dims, params);
    let k = names.length;
    spec.args.forEach((a, i) => {
      const t = tensors[i];
      if (!t || (a.role !== "out" && a.role !== "acc")) return;
      const v = this.view(t);
      const r = arrays[a.name];
      const b = a.role === "acc" ? call.scalars[k++].value : 0;
      const beta = b instanceof Scalar ? b.value : b;
      for (let j = 0; j < v.length; j++) v[j] = beta === 0 ? r[j] : beta * v[j] + r[j];
    });
    this.dispatches++;
  }

  plan(calls: readonly (Call | CopyCall)[]): Plan {
    return {
      dispatches: calls.filter((c) => "spec" in c).length,
      run: () => {
        for (const c of calls) {
          if ("spec" in c) this.dispatch(c);
          else this.copyNow(c.dst, c.src);
        }
      },
      dispose: () => {},
    };
  }

  async flush(): Promise<void> {}

  dispose(): void {
    this.dead ??= new BackendError("lost", "the ref backend was disposed");
  }
}

export const openRef = async (): Promise<Backend> => new RefBackend();
