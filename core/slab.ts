import type { Backend } from "./backend.ts";
import { FormatError, ShapeError } from "./errors.ts";
import { checkShape, detached, type Shape, sizeOf, Tensor } from "./tensor.ts";

/** Offsets are multiples of this many elements: WebGPU binds at multiples of 256 bytes. */
const ALIGN = 64;

/**
 * Named f32 tensors in one storage, so that an optimiser step, a clip, an average or a checkpoint is
 * one kernel or one copy over `flat`. The padding between entries is zero and stays zero.
 */
export class Slab {
  readonly backend: Backend;
  readonly shapes: Readonly<Record<string, Shape>>;
  readonly tensors: Readonly<Record<string, Tensor>>;
  /** Everything, padding included, as one vector. */
  readonly flat: Tensor;
  #grad: Slab | undefined;

  constructor(be: Backend, shapes: Readonly<Record<string, Shape>>) {
    let size = 0;
    const offsets: number[] = [];
    for (const [name, shape] of Object.entries(shapes)) {
      checkShape(shape, `slab: ${name}`);
      offsets.push(size);
      size += Math.ceil(sizeOf(shape) / ALIGN) * ALIGN;
    }
    this.backend = be;
    this.shapes = shapes;
    this.flat = detached(() => be.tensor([size]));
    this.tensors = Object.fromEntries(
      Object.entries(shapes).map(([name, shape], i) => [
        name,
        new Tensor(be, shape, "f32", this.flat.storage, offsets[i] * 4),
      ]),
    );
  }

  /** The slab of the same layout that gradients land in. */
  get grad(): Slab {
    this.#grad ??= new Slab(this.backend, this.shapes);
    return this.#grad;
  }

  /** A slab of the same layout, all zeros: optimiser state, averages. */
  like(): Slab {
    return new Slab(this.backend, this.shapes);
  }

  /** The numbers of `flat`, for a checkpoint. */
  async save(): Promise<Float32Array> {
    return (await this.flat.read()) as Float32Array;
  }

  load(data: ArrayLike<number>): void {
    if (data.length !== this.flat.size) {
      throw new FormatError(
        "size",
        `slab: a checkpoint of ${this.flat.size} numbers was expected, got ${data.length}`,
      );
    }
    this.flat.write(data);
  }

  dispose(): void {
    for (const t of Object.values(this.tensors)) t.dispose();
    this.flat.dispose();
    this.#grad?.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** `slab(be, { w: [784, 256], b: [256] })`, or with initial data by name. */
export function slab(
  be: Backend,
  shapes: Readonly<Record<string, Shape>>,
  data: Readonly<Record<string, ArrayLike<number>>> = {},
): Slab {
  const s = new Slab(be, shapes);
  for (const [name, values] of Object.entries(data)) {
    if (!s.tensors[name]) throw new ShapeError("missing", `slab: has no entry '${name}'`);
    s.tensors[name].write(values);
  }
  return s;
}
