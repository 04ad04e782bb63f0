import type { Backend, CopyCall, Plan } from "./backend.ts";
import { setCapture } from "./capture-state.ts";
import type { Call } from "./contract.ts";
import { CaptureError } from "./errors.ts";
import { Scalar } from "./scalar.ts";
import {
  type Dtype,
  type Shape,
  type Storage,
  sameShape,
  scope,
  Tensor,
  tensorsIn,
} from "./tensor.ts";

/** A scalar that moves on by itself: `start` in the first replay, then `by` more in each. */
export interface Counter {
  readonly start: number;
  readonly by?: number;
}

export interface Declared {
  /** Tensors that the step owns and `run` fills, by name: a shape, or a shape with a dtype. */
  readonly inputs?: Readonly<
    Record<string, Shape | { readonly shape: Shape; readonly dtype: Dtype }>
  >;
  /** Numbers that may change between replays, with their first value. */
  readonly scalars?: Readonly<Record<string, number | Counter>>;
}

/** What the captured function receives. */
export interface StepArgs {
  readonly in: Readonly<Record<string, Tensor>>;
  readonly scalar: Readonly<Record<string, Scalar>>;
}

type Entry = Call | CopyCall;

/** A recorded step. It owns its inputs and temporaries until it is disposed. */
export class Step<R> {
  /** What the captured function returned; overwritten by each run. */
  readonly out: R;
  readonly in: Readonly<Record<string, Tensor>>;
  readonly scalar: Readonly<Record<string, Scalar>>;
  /** Launches per replay: kernels, on WebGPU each of their passes. */
  readonly dispatches: number;
  readonly #backend: Backend;
  readonly #plan: Plan;
  readonly #outside: readonly Tensor[];
  readonly #counters: readonly { scalar: Scalar; by: number }[];
  readonly #release: () => void;
  #disposed = false;

  constructor(
    backend: Backend,
    args: StepArgs,
    out: R,
    plan: Plan,
    outside: readonly Tensor[],
    counters: readonly { scalar: Scalar; by: number }[],
    release: () => void,
  ) {
    this.#backend = backend;
    this.in = args.in;
    this.scalar = args.scalar;
    this.out = out;
    this.#plan = plan;
    this.dispatches = plan.dispatches;
    this.#outside = outside;
    this.#counters = counters;
    this.#release = release;
  }

  /**
   * Replays the step. Inputs are host data or tensors of the same shape, copied into the step's
   * own; what is left out keeps its content.
   * @throws CaptureError for an undeclared name, another shape, or a tensor from elsewhere
   */
  run(
    inputs?: Readonly<Record<string, ArrayLike<number> | Tensor>>,
    scalars?: Readonly<Record<string, number>>,
  ): void {
    if (this.#disposed) throw new CaptureError("disposed", "run: this step was disposed");
    this.#backend.assertLive();
    for (let i = 0; i < this.#outside.length; i++) {
      if (this.#outside[i].disposed) {
        throw new CaptureError(
          "foreign",
          `run: a tensor (${this.#outside[i].shape.join(",")}) that the recording uses was disposed since`,
        );
      }
    }
    if (inputs) for (const name in inputs) this.#fill(name, inputs[name]);
    if (scalars) {
      for (const name in scalars) {
        const s = this.scalar[name];
        if (!s) {
          throw new CaptureError(
            "undeclared",
            `run: no scalar '${name}' was declared; there are ${Object.keys(this.scalar).join(", ") || "none"}`,
          );
        }
        s.value = scalars[name];
      }
    }
    this.#plan.run();
    for (let i = 0; i < this.#counters.length; i++)
      this.#counters[i].scalar.value += this.#counters[i].by;
  }

  #fill(name: string, data: ArrayLike<number> | Tensor): void {
    const t = this.in[name];
    if (!t) {
      throw new CaptureError(
        "undeclared",
        `run: no input '${name}' was declared; there are ${Object.keys(this.in).join(", ") || "none"}`,
      );
    }
    if (!(data instanceof Tensor)) {
      if (data.length !== t.size) {
        throw new CaptureError(
          "shape",
          `run: ${name}: was recorded as (${t.shape.join(",")}), ${t.size} elements, got ${data.length}`,
        );
      }
      t.write(data);
      return;
    }
    if (data.backend !== this.#backend) {
      throw new CaptureError(
        "foreign",
        `run: ${name}: belongs to another backend (${data.backend.name})`,
      );
    }
    if (!sameShape(data.shape, t.shape) || data.dtype !== t.dtype) {
      throw new CaptureError(
        "shape",
        `run: ${name}: was recorded as ${t.dtype}(${t.shape.join(",")}), got ${data.dtype}(${data.shape.join(",")})`,
      );
    }
    this.#backend.copy(t, data);
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#release();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/**
 * Records the kernels of `f` without running them, and returns a step that replays them.
 *
 * f is called twice: a number or shape that differs between the two recordings is host state that
 * a replay would freeze, and is refused. Tensors from outside (parameters) are used in place; data
 * that changes per replay goes through declared inputs, numbers through declared scalars. Host
 * branches are taken once.
 * @throws CaptureError naming the kernel and the value that changed
 */
export async function capture<R>(
  backend: Backend,
  f: (args: StepArgs) => R,
  declared: Declared = {},
): Promise<Step<R>> {
  await backend.flush();
  const inputs = Object.fromEntries(
    Object.entries(declared.inputs ?? {}).map(([name, s]) => {
      const { shape, dtype } = "shape" in s ? s : { shape: s, dtype: "f32" as const };
      return [name, backend.tensor(shape, undefined, dtype)];
    }),
  );
  const counters: { scalar: Scalar; by: number }[] = [];
  const scalar = Object.fromEntries(
    Object.entries(declared.scalars ?? {}).map(([name, v]) => {
      const s = new Scalar(name, typeof v === "number" ? v : v.start);
      if (typeof v !== "number") counters.push({ scalar: s, by: v.by ?? 1 });
      return [name, s];
    }),
  );
  const args: StepArgs = { in: inputs, scalar };

  const first = record(backend, () => f(args));
  let second: ReturnType<typeof record<R>> | undefined;
  try {
    second = record(backend, () => f(args));
    compare(first, second);
  } catch (e) {
    first.release();
    for (const t of Object.values(inputs)) t.dispose();
    throw e;
  } finally {
    if (second) {
      for (const t of tensorsIn(second.result)) if (second.made.has(t.storage)) t.dispose();
      second.release();
    }
  }

  // Outputs and temporaries stay where they are for as long as the step lives.
  const storages = new Set<Storage>();
  const outside = new Set<Tensor>();
  for (const c of first.calls) {
    for (const t of tensorsOf(c)) {
      storages.add(t.storage);
      if (!first.made.has(t.storage) && !t.disposed) outside.add(t);
    }
  }
  const live = [...storages].filter((s) => s.refs > 0);
  for (const s of live) s.refs++;
  let plan: Plan | undefined;
  const release = () => {
    plan?.dispose();
    for (const s of live) if (--s.refs === 0) backend.free(s);
    first.release();
    for (const t of Object.values(inputs)) t.dispose();
  };
  try {
    await backend.compile(first.calls.filter((c) => "spec" in c));
    plan = backend.checked ? backend.checkedPlan(first.calls) : backend.plan(first.calls);
  } catch (e) {
    release();
    throw e;
  }
  return new Step(backend, args, first.result, plan, [...outside], counters, release);
}

const tensorsOf = (c: Entry): Tensor[] =>
  "spec" in c ? c.tensors.filter((t): t is Tensor => t !== undefined) : [c.dst, c.src];

interface Recording<R> {
  readonly result: R;
  readonly calls: Entry[];
  /** Storages that came into being during the recording. */
  readonly made: ReadonlySet<Storage>;
  readonly release: () => void;
}

function record<R>(backend: Backend, f: () => R): Recording<R> {
  const calls: Entry[] = [];
  const before = backend.storages;
  backend.beginCapture();
  setCapture(backend, {
    note: (c) => {
      calls.push(c);
      return "skip";
    },
  });
  const end = () => {
    setCapture(backend, undefined);
    return backend.endCapture();
  };
  let result: R;
  try {
    result = scope(f);
    if (result instanceof Promise) {
      throw new CaptureError(
        "async",
        "the captured function must be synchronous: await has no place in a recording",
      );
    }
  } catch (e) {
    end()();
    throw e;
  }
  const made = new Set<Storage>();
  for (const c of calls) {
    for (const t of tensorsOf(c)) if (t.storage.serial >= before) made.add(t.storage);
  }
  return { result, calls, made, release: end() };
}

/** The two recordings must agree in everything that a replay would freeze. */
function compare(
  { calls: a, made: madeA }: Recording<unknown>,
  { calls: b, made: madeB }: Recording<unknown>,
): void {
  /** Temporaries of the first recording and their twins in the second. */
  const twins = new Map<Storage, Storage>();
  if (a.length !== b.length) {
    throw new CaptureError(
      "shape",
      `capture: two recordings of the same step have ${a.length} and ${b.length} kernels; host state decides between them`,
    );
  }
  a.forEach((x, i) => {
    const y = b[i];
    const name = "spec" in x ? x.spec.name : "copy";
    const other = "spec" in y ? y.spec.name : "copy";
    if (name !== other)
      throw new CaptureError(
        "shape",
        `capture: kernel ${i} is '${name}' in one recording and '${other}' in the next`,
      );
    const s = tensorsOf(x);
    const t = tensorsOf(y);
    s.forEach((u, k) => {
      const v = t[k];
      if (!v || !sameShape(u.shape, v.shape)) {
        throw new CaptureError(
          "shape",
          `an argument is (${u.shape.join(",")}) in one recording and (${v?.shape.join(",") ?? "absent"}) in the next`,
          name,
        );
      }
      if (madeA.has(u.storage) && madeB.has(v.storage) && !twins.has(u.storage))
        twins.set(u.storage, v.storage);
      if (u.storage !== v.storage && twins.get(u.storage) !== v.storage) {
        throw new CaptureError(
          "foreign",
          `an argument (${u.shape.join(",")}) is another tensor in the next recording; declare it as an input`,
          name,
        );
      }
    });
    if (!("spec" in x) || !("spec" in y)) return;
    x.scalars.forEach((p, k) => {
      const q = y.scalars[k];
      if (p.value === q.value || (Number.isNaN(p.value) && Number.isNaN(q.value))) return;
      const param = Object.keys(x.spec.params ?? {})[k] ?? "beta";
      throw new CaptureError(
        "undeclared",
        `${param} was ${show(p.value)} in one recording and ${show(q.value)} in the next; declare it as a scalar`,
        name,
      );
    });
  });
}

const show = (v: number | Scalar): string =>
  v instanceof Scalar ? `scalar '${v.name}'` : String(v);
