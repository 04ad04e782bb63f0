// What the bench can time: a kernel at a shape, a whole training step, an overhead.
import type { Backend, Plan } from "../core/backend.ts";
import {
  type AnyKernel,
  type Call,
  type Case,
  type Cost,
  invoke,
  resolveCase,
  type Suite,
  shapeOf,
} from "../core/contract.ts";
import type { Tensor, TypedArray } from "../core/tensor.ts";
import { WebgpuBackend } from "../core/webgpu.ts";
import { chooseVariant } from "../core/webgpu-variant.ts";
import { type TimerOptions, time } from "./timer.ts";
import { inputData, uniform } from "./uniform.ts";

/** How a point uses memory, for the roof that fits. */
export interface Memory {
  /** Bytes of all its tensors. */
  readonly footprint: number;
  /** Share of what is moved that is written. */
  readonly written: number;
}

/** A point made ready on a backend. */
export interface Subject {
  readonly variant: string;
  readonly shape: string;
  readonly cost: Cost;
  readonly memory: Memory;
  /** Seconds a call, ascending. */
  time(o: TimerOptions): Promise<number[]>;
  /** What `time` times, for those who time it otherwise. */
  replay?(): Pick<Plan, "run" | "dispose">;
  /** What is counted besides time; read after timing. */
  bytes?(): number;
  /** The first output, which others are checked against. */
  output?(): Promise<TypedArray>;
  dispose(): void;
}

/** Something to time. */
export interface Point {
  readonly kernel: string;
  readonly source: string;
  /** Why this backend cannot do it, or undefined. */
  lacks?(backend: Backend): string | undefined;
  prepare(backend: Backend): Promise<Subject>;
}

/** A timed point: what a row is made of. */
export interface Measured {
  readonly kernel: string;
  readonly variant: string;
  readonly shape: string;
  readonly source: string;
  readonly cost: Cost;
  readonly memory: Memory;
  readonly seconds: readonly number[];
  readonly bytes?: number;
}

export async function measure(
  point: Point,
  backend: Backend,
  options: TimerOptions,
): Promise<Measured> {
  const subject = await point.prepare(backend);
  try {
    const seconds = await subject.time(options);
    return measured(point, subject, seconds);
  } finally {
    subject.dispose();
  }
}

/** What is known of a point besides its time. */
export type Facts = Pick<Subject, "variant" | "shape" | "cost" | "memory" | "bytes">;

export function measured(point: Point, subject: Facts, seconds: readonly number[]): Measured {
  const { kernel, source } = point;
  const { variant, shape, cost, memory } = subject;
  const bytes = subject.bytes?.();
  return {
    kernel,
    source,
    variant,
    shape,
    cost,
    memory,
    seconds,
    ...(bytes === undefined ? {} : { bytes }),
  };
}

const lacks = (suite: Suite) => (backend: Backend) =>
  backend.supports(suite.kernel.spec) ? undefined : `has no ${backend.name} implementation`;

/** A case of a suite, with reproducible content in its tensors. */
export function casePoint(suite: Suite, c: Case): Point {
  const { spec } = suite.kernel;
  return {
    kernel: spec.name,
    source: c.source ?? "contract",
    lacks: lacks(suite),
    async prepare(backend) {
      const { dims, runs, params } = resolveCase(spec, c);
      const next = uniform(1);
      const given = spec.args.map((arg) => {
        if (arg.role === "opt" && !c.with?.includes(arg.name)) return undefined;
        const shape = shapeOf(arg, dims, runs, params);
        // Outputs start as zeros as well, so that an accumulating kernel never meets a stray NaN.
        const tensor = backend.tensor(shape, undefined, arg.dtype);
        if (arg.role === "out" || arg.role === "acc") return tensor;
        const standard =
          arg.dtype === "f32" ? (u: number) => 2 * u - 1 : (u: number) => Math.floor(8 * u);
        const fill = suite.fill?.[arg.name] ?? standard;
        const data = new Float32Array(tensor.size);
        for (let i = 0; i < data.length; i++) data[i] = fill(next(), i, dims);
        tensor.write(data);
        return tensor;
      });
      return subjectOf(backend, given, invoke(spec, given, { ...c.params }));
    },
  };
}

/** A kernel given by the shapes of its inputs; its contract works out the rest. */
export interface InputShapes {
  readonly kernel: string;
  readonly inputs: readonly (readonly number[])[];
  readonly params?: Readonly<Record<string, number | string>>;
  readonly source: string;
  /** Content is exactly `inputData`, so that another process can make it too. */
  readonly plain?: boolean;
  /** An input that goes through another kernel once, beforehand: weights that are packed. */
  readonly before?: {
    readonly input: number;
    readonly kernel: AnyKernel;
    readonly params?: Readonly<Record<string, number | string>>;
  };
}

export function inputsPoint(suite: Suite, c: InputShapes): Point {
  const { spec } = suite.kernel;
  const { before } = c;
  return {
    kernel: spec.name,
    source: c.source,
    lacks: lacks(suite),
    async prepare(backend) {
      const data = inputData(c.inputs);
      let next = 0;
      const given = spec.args.map((arg) => {
        if (arg.role !== "in" && arg.role !== "inout") return undefined;
        const at = next++;
        if (!data[at]) return undefined;
        const fill = c.plain ? undefined : suite.fill?.[arg.name];
        const content = fill ? data[at].map((v, i) => fill((v + 1) / 2, i, {})) : data[at];
        const tensor = backend.tensor(c.inputs[at], content);
        if (before?.input !== at) return tensor;
        const packed: Tensor = before.kernel(tensor, { ...before.params });
        tensor.dispose();
        return packed;
      });
      return subjectOf(backend, given, invoke(spec, given, { ...c.params }));
    },
  };
}

function subjectOf(backend: Backend, given: (Tensor | undefined)[], call: Call): Subject {
  const tensors = new Set([...given, ...call.tensors].filter((t) => t !== undefined));
  return {
    variant: variantOf(backend, call),
    shape: shapeText(call),
    cost: call.spec.cost(call.dims, call.params),
    memory: memoryOf(call),
    time: (o) => time(call, backend, o),
    replay: () => backend.plan([call]),
    output: () => (call.tensors[0] as Tensor).read(),
    dispose: () => {
      for (const t of tensors) t.dispose();
    },
  };
}

/** What is updated in place is read and written. */
function memoryOf({ spec, tensors }: Call): Memory {
  let [footprint, read, written] = [0, 0, 0];
  spec.args.forEach(({ role }, i) => {
    const bytes = tensors[i]?.byteLength ?? 0;
    footprint += bytes;
    if (role === "in" || role === "opt" || role === "inout") read += bytes;
    if (role === "out" || role === "acc" || role === "inout") written += bytes;
  });
  return { footprint, written: written / Math.max(1, read + written) };
}

function variantOf(backend: Backend, { spec, dims, params }: Call): string {
  if (backend instanceof WebgpuBackend)
    return chooseVariant(spec, backend.capabilities, dims, params).name ?? "default";
  return spec.wasm?.export?.split("__")[1] ?? "default";
}

/** One text for one problem, however it was asked for. */
export function shapeText({ spec, tensors, dims, params }: Call): string {
  const runs = new Set(
    spec.args.flatMap(
      (a) => /^\*(\w+)/.exec(typeof a.shape === "string" ? a.shape : a.shape(params))?.[1] ?? [],
    ),
  );
  const extents = Object.entries(dims).filter(([name, v]) => v > 1 || !runs.has(name));
  const options = Object.entries(spec.params ?? {})
    .filter(([name, p]) => params[name] !== p.default)
    .map(([name]) => [name, params[name]] as const);
  const given = spec.args.flatMap((a, i) => (a.role === "opt" && tensors[i] ? [`+${a.name}`] : []));
  return [...extents, ...options]
    .map(([name, v]) => `${name}=${v}`)
    .concat(given)
    .join(" ");
}
