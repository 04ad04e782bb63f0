import type { Backend } from "./backend.ts";
import { activeCapture } from "./capture-state.ts";
import { MemoryError, ShapeError, ValueError } from "./errors.ts";
import { Scalar } from "./scalar.ts";
import { type Dims, expected, match, parseShape, type Runs, tuple } from "./shape-text.ts";
import { recordOnTapes } from "./tape-state.ts";
import { type Dtype, type Shape, sizeOf, Tensor, type TypedArray, track } from "./tensor.ts";
import type { Capabilities } from "./webgpu-variant.ts";

/** Decoded params: numbers, and for a choice its string. */
// biome-ignore lint/suspicious/noExplicitAny: params differ by kernel; each kernel reads its own
export type Params = Record<string, any>;

// ---- arguments ------------------------------------------------------------------------------

/**
 * out    fresh output, written without being read
 * acc    like out, and `beta * y + result` when the implicit scalar `beta` is not 0
 * inout  read and written in place
 * in     read only
 * opt    read only, may be left out
 */
export type Role = "out" | "acc" | "inout" | "in" | "opt";

export interface Arg<N extends string = string, R extends Role = Role> {
  readonly name: N;
  readonly role: R;
  readonly shape: string | ((p: Params) => string);
  readonly dtype: Dtype;
  /** Its elements count along this extent: from 0 up to less than it. A checked backend looks. */
  readonly index?: string;
}

type ShapeSpec = Arg["shape"];
const arg =
  <R extends Role>(role: R) =>
  <const N extends string>(
    name: N,
    shape: ShapeSpec,
    dtype: Dtype = "f32",
    more: { readonly index?: string } = {},
  ): Arg<N, R> => ({
    name,
    role,
    shape,
    dtype,
    ...more,
  });

export const out = /* @__PURE__ */ arg("out");
export const acc = /* @__PURE__ */ arg("acc");
export const inout = /* @__PURE__ */ arg("inout");
export const inp = /* @__PURE__ */ arg("in");
export const opt = /* @__PURE__ */ arg("opt");

// ---- params ---------------------------------------------------------------------------------

export interface Param {
  readonly type: "f32" | "u32";
  readonly default?: number | string;
  readonly choices?: readonly string[];
  /** What the value must be, in words, and the test for it. */
  readonly must?: readonly [words: string, ok: (v: number) => boolean];
}

const finite = ["a finite number", Number.isFinite] as const;
export const f32 = (dflt?: number, must: Param["must"] = finite): Param => ({
  type: "f32",
  ...(dflt === undefined ? {} : { default: dflt }),
  must,
});
export const u32 = (dflt?: number): Param => ({
  type: "u32",
  ...(dflt === undefined ? {} : { default: dflt }),
  must: ["an integer in 0 … 2^32-1", (v) => Number.isInteger(v) && v >= 0 && v < 2 ** 32],
});
export const flag = (): Param => ({
  type: "u32",
  default: 0,
  must: ["0 or 1", (v) => v === 0 || v === 1],
});
/** A named alternative; kernels see its index. The first one is the default. */
export const choice = (...choices: string[]): Param => ({
  type: "u32",
  default: choices[0],
  choices,
});
export const positive = ["finite and > 0", (v: number) => Number.isFinite(v) && v > 0] as const;
export const nonNegative = [
  "finite and >= 0",
  (v: number) => Number.isFinite(v) && v >= 0,
] as const;

// ---- specification --------------------------------------------------------------------------

/** A dispatch of a kernel on WebGPU. */
export interface WebgpuPass {
  readonly entry?: string;
  /** Workgroups to launch. Use `linear(n)` for one thread per element. */
  readonly grid: (d: Dims, p: Params) => readonly number[];
  /** Pipeline-overridable constants. */
  readonly constants?: Record<string, number>;
}

/** One way to run a kernel on WebGPU; the first that fits is taken. */
export interface WebgpuVariant extends WebgpuPass {
  /** How, right of `__` in the symbol; the plain variant has none. */
  readonly name?: string;
  /** Text of wgsl/<stem>.wgsl, or of wgsl/<stem>__<how>.wgsl. */
  readonly source: string;
  /** Entry point; default `<kernel>_f32[__<name>]`. */
  readonly entry?: string;
  /** Replaces the right sides of `const NAME = …;` in the text: register tiles, lengths of arrays. */
  readonly consts?: Readonly<Record<string, number>>;
  /** Features of the device without which it does not compile. */
  readonly requires?: readonly ("shader-f16" | "subgroups")[];
  /** Where it gives the right result. */
  readonly when?: (d: Dims, p: Params) => boolean;
  /** Where it is the better choice. */
  readonly prefer?: (d: Dims, p: Params, c: Capabilities) => boolean;
  /** Bytes of a scratch buffer, bound after the uniform. */
  readonly scratch?: (d: Dims, p: Params) => number;
  /** Further passes over the same bindings, in order. */
  readonly further?: readonly WebgpuPass[];
}

export interface WasmSpec {
  /** Export; default `<name>_f32`. */
  readonly export?: string;
  /** Number of tiles the work can be cut into; the export runs tiles [lo, hi). Default 1. */
  readonly tiles?: (d: Dims, p: Params) => number;
  /** Bytes of scratch one call needs. */
  readonly scratch?: (d: Dims, p: Params) => number;
}

export interface Cost {
  readonly flops: number;
  readonly bytes: number;
}

export type RefArrays = Record<string, Float64Array | Int32Array | Uint32Array>;

export interface Spec {
  readonly name: string;
  readonly family: string;
  /** Outputs first, then inputs: the order of bindings and of wasm parameters. */
  readonly args: readonly Arg[];
  readonly params?: Readonly<Record<string, Param>>;
  /** Adds extents and runs that no shape spells out (broadcasts); throws ShapeError via `fail`. */
  readonly derive?: (d: Dims, runs: Runs, p: Params, fail: (why: string) => never) => void;
  /** Extents beyond those of the shapes, which `derive` fills in. */
  readonly extents?: readonly string[];
  /** Returns what is wrong with these extents and params, or undefined. */
  readonly check?: (d: Dims, p: Params, has: (arg: string) => boolean) => string | undefined;
  /**
   * The definition, in plain f64 loops. Arrays hold the arguments flat; `out` and `acc` arrays come
   * zeroed and the core applies beta. `inout` arrays are updated in place.
   */
  readonly ref: (a: RefArrays, d: Dims, p: Params) => void;
  /** Emits the cotangents of the inputs through other kernels; see `Vjp`. */
  readonly vjp?: (g: Vjp) => void;
  readonly cost: (d: Dims, p: Params) => Cost;
  /**
   * Extents along which the work falls into independent calls, in order of preference: what WebGPU
   * does where a tensor is over the limit of a binding. An `acc` output without the extent is a sum
   * over it. "N A B": cut along N, together with those of A and B that are as long; a shorter one
   * repeats along it.
   */
  readonly cut?: (d: Dims, p: Params) => readonly string[];
  /** The params of the part of an extent that starts at `start`; default the same. */
  readonly part?: (p: Params, along: string, start: number, length: number) => Params;
  readonly webgpu?: readonly WebgpuVariant[];
  readonly wasm?: WasmSpec;
}

/** What a VJP sees of the recorded call, and how it hands gradients on. */
export interface Vjp {
  readonly in: Readonly<Record<string, Tensor>>;
  /** Outputs as the forward kernel left them. */
  readonly out: Readonly<Record<string, Tensor>>;
  /** Cotangents of the outputs; an output that nobody used has none. */
  readonly d: Readonly<Record<string, Tensor>>;
  readonly p: Params;
  readonly dims: Dims;
  /** Whether a tape records this backward pass: the kernels it calls need VJPs, too. */
  readonly again: boolean;
  /** Whether the gradient of this input is wanted. */
  needs(input: string): boolean;
  /** Gradient of `input` is the (only) output of `kernel(...inputs, params)`. */
  to(input: string, kernel: AnyKernel, inputs: Tensor[], params?: Params): void;
  /**
   * A kernel with several outputs: `into` maps each output to the input it is the gradient of. Returns
   * the outputs that it does not map.
   */
  toAll(
    into: Record<string, string>,
    kernel: AnyKernel,
    inputs: Tensor[],
    params?: Params,
  ): Record<string, Tensor>;
  /** Gradient of `input` is this tensor as it stands; `copy` is y = x, for when it must be added up. */
  pass(input: string, grad: Tensor, copy: AnyKernel): void;
}

/** One checked launch: the unit that backends run, tapes keep and captures replay. */
export interface Call {
  readonly spec: Spec;
  /** In the order of spec.args; undefined where an optional input was left out. */
  readonly tensors: readonly (Tensor | undefined)[];
  readonly dims: Dims;
  readonly params: Params;
  /** u32 words in ABI order: extents, then `present` when the kernel has optional inputs. */
  readonly extents: readonly number[];
  /** Scalars in ABI order: params, then one beta per `acc` output. */
  readonly scalars: readonly { readonly type: "f32" | "u32"; readonly value: number | Scalar }[];
}

type TensorRoles = "in" | "inout";
type Positional<A extends readonly Arg[]> = A extends readonly [
  infer H extends Arg,
  ...infer T extends readonly Arg[],
]
  ? H["role"] extends TensorRoles
    ? [Tensor, ...Positional<T>]
    : Positional<T>
  : [];
type Named<A extends readonly Arg[], R extends Role> = Extract<A[number], Arg<string, R>>["name"];
type IsUnion<T, U = T> = T extends U ? ([U] extends [T] ? false : true) : never;
type Outputs<A extends readonly Arg[]> = Named<A, "out" | "acc">;
type Result<A extends readonly Arg[]> = [Outputs<A>] extends [never]
  ? undefined
  : IsUnion<Outputs<A>> extends true
    ? { [K in Outputs<A>]: Tensor }
    : Tensor;
type Options<A extends readonly Arg[]> = { [K in Named<A, "opt">]?: Tensor | undefined } & Params;

export interface Kernel<A extends readonly Arg[] = readonly Arg[]> {
  /** Allocates the outputs, runs, and records when a tape is open. */
  (...args: [...Positional<A>, Options<A>?]): Result<A>;
  /** Destination first, allocates nothing. `beta` accumulates into an `acc` output. */
  into(
    outputs: { [K in Named<A, "out" | "acc" | "inout">]: Tensor },
    inputs: { [K in Named<A, "in">]: Tensor } & { [K in Named<A, "opt">]?: Tensor | undefined },
    params?: Params,
  ): void;
  readonly spec: Spec;
}
// biome-ignore lint/suspicious/noExplicitAny: a kernel of any signature
export type AnyKernel = { readonly spec: Spec } & ((...args: any[]) => any);

export const isKernel = (x: unknown): x is AnyKernel =>
  typeof x === "function" && typeof (x as Partial<AnyKernel>).spec === "object";

/** Grid of workgroups for one thread per element, in two dimensions when one is not enough. */
export function linear(n: number, workgroup = 64): [number, number] {
  const groups = Math.max(1, Math.ceil(n / workgroup));
  const x = Math.min(groups, 65535);
  return [x, Math.ceil(groups / x)];
}

// ---- shapes ---------------------------------------------------------------------------------

const shapeText = (a: Arg, p: Params): string =>
  typeof a.shape === "string" ? a.shape : a.shape(p);

/** The extents of a kernel in ABI order: first appearance in args with default params, then `extents`. */
export function extentNames(spec: Spec): readonly string[] {
  let names = extentCache.get(spec);
  if (!names) {
    const p = Object.fromEntries(
      Object.entries(spec.params ?? {}).map(([k, v]) => [k, v.default ?? 0]),
    );
    const seen = new Set<string>();
    for (const a of spec.args) {
      const s = parseShape(shapeText(a, p));
      for (const t of s.run ? [s.run, ...s.axes] : s.axes) if (!/^\d+$/.test(t)) seen.add(t);
    }
    for (const e of spec.extents ?? []) seen.add(e);
    names = [...seen];
    extentCache.set(spec, names);
  }
  return names;
}
const extentCache = new WeakMap<Spec, readonly string[]>();

export interface ScalarName {
  readonly name: string;
  readonly type: "f32" | "u32";
  /** The accumulating output that this is the beta of. */
  readonly output?: string;
}

/**
 * Scalars of a kernel in ABI order: declared params, then for each `acc` output a `beta`, or
 * `beta_<output>` when there are several.
 */
export function scalarNames(spec: Spec): readonly ScalarName[] {
  let names = scalarCache.get(spec);
  if (!names) {
    const outputs = spec.args.filter((a) => a.role === "acc").map((a) => a.name);
    names = [
      ...Object.entries(spec.params ?? {}).map(([name, p]) => ({ name, type: p.type })),
      ...outputs.map((output) => ({
        name: outputs.length > 1 ? `beta_${output}` : "beta",
        type: "f32" as const,
        output,
      })),
    ];
    scalarCache.set(spec, names);
  }
  return names;
}
const scalarCache = new WeakMap<Spec, readonly ScalarName[]>();

/** Of an `acc` output. */
export const betaName = (spec: Spec, output: string): string =>
  (scalarNames(spec).find((s) => s.output === output) as ScalarName).name;

export const hasOptional = (spec: Spec): boolean => spec.args.some((a) => a.role === "opt");

/** The shape of an argument when all extents are known. */
export function shapeOf(a: Arg, d: Dims, runs: Runs, p: Params): number[] {
  const { run, axes } = parseShape(shapeText(a, p));
  return [
    ...(run ? (runs[run] ?? []) : []),
    ...axes.map((t) => (/^\d+$/.test(t) ? Number(t) : d[t])),
  ];
}

// ---- calls ----------------------------------------------------------------------------------

function decodeParams(
  spec: Spec,
  given: Params,
): { params: Params; raw: Map<string, number | Scalar> } {
  const params: Params = {};
  const raw = new Map<string, number | Scalar>();
  const declared = spec.params ?? {};
  for (const name of Object.keys(given)) {
    if (name in declared || spec.args.some((a) => a.role === "opt" && a.name === name)) continue;
    if (scalarNames(spec).some((s) => s.output && s.name === name)) continue;
    const known = [
      ...Object.keys(declared),
      ...spec.args.filter((a) => a.role === "opt").map((a) => a.name),
    ];
    throw new ValueError(
      "param",
      `unknown option '${name}'; it takes ${known.join(", ") || "none"}`,
      spec.name,
    );
  }
  for (const name in declared) {
    const p = declared[name];
    const v = given[name] ?? p.default;
    if (v === undefined) throw new ValueError("param", `${name}: is required`, spec.name);
    if (p.choices) {
      const index = typeof v === "number" ? v : p.choices.indexOf(v);
      if (index < 0 || index >= p.choices.length) {
        throw new ValueError(
          "param",
          `${name}: expected one of ${p.choices.join(", ")}, got '${v}'`,
          spec.name,
        );
      }
      params[name] = p.choices[index];
      raw.set(name, index);
      continue;
    }
    const value = v instanceof Scalar ? v.value : typeof v === "boolean" ? Number(v) : v;
    if (typeof value !== "number" || (p.must && !p.must[1](value))) {
      throw new ValueError(
        "param",
        `${name}: expected ${p.must?.[0] ?? "a number"}, got ${String(value)}`,
        spec.name,
      );
    }
    params[name] = value;
    raw.set(name, v instanceof Scalar ? v : value);
  }
  return { params, raw };
}

/** Checks everything, allocates missing outputs, launches, records; `loose` as in `prepare`. */
export function invoke(
  spec: Spec,
  given: (Tensor | undefined)[],
  options: Params,
  loose = false,
): Call {
  const [backend, call] = prepare(spec, given, options, loose);
  launch(backend, call);
  recordOnTapes(call);
  return call;
}

/**
 * A checked call, its missing outputs allocated. With `loose`, outputs may have another shape of the
 * right size: gradients take the shape of the input they belong to.
 */
export function prepare(
  spec: Spec,
  given: (Tensor | undefined)[],
  options: Params,
  loose = false,
): [Backend, Call] {
  const { params, raw } = decodeParams(spec, options);
  const d: Dims = {};
  const runs: Runs = {};
  let backend: Backend | undefined;
  const betas = new Map<string, number | Scalar>();

  // Inputs bind the letters; a run that no other letter pins down is bound by the first that has it.
  for (let i = 0; i < spec.args.length; i++) {
    const a = spec.args[i];
    const t = given[i];
    if (a.role === "acc") {
      const name = betaName(spec, a.name);
      const beta = options[name] ?? 0;
      if (beta !== 0 && !t) {
        throw new ValueError(
          "param",
          `${name}: a fresh output has nothing to accumulate onto; use .into`,
          spec.name,
        );
      }
      betas.set(a.name, beta);
    }
    if (!t) {
      if (a.role === "in" || a.role === "inout")
        throw new ShapeError("missing", `${a.name}: is required`, spec.name);
      continue;
    }
    if (!(t instanceof Tensor))
      throw new ShapeError("dtype", `${a.name}: expected a Tensor, got ${typeof t}`, spec.name);
    if (t.disposed)
      throw new MemoryError(
        "disposed",
        `${a.name}: ${tuple(t.shape)} was used after dispose`,
        spec.name,
      );
    backend ??= t.backend;
    if (t.backend !== backend) {
      throw new ShapeError(
        "backend",
        `${a.name}: is on ${t.backend.name}, other arguments are on ${backend.name}`,
        spec.name,
      );
    }
    if (t.dtype !== a.dtype)
      throw new ShapeError("dtype", `${a.name}: expected ${a.dtype}, got ${t.dtype}`, spec.name);
    if (a.role !== "out" && a.role !== "acc") {
      const text = shapeText(a, params);
      if (!match(text, t.shape, d, runs)) {
        throw new ShapeError(
          "shape",
          `${a.name}: expected ${expected(text, d, runs)}, got ${tuple(t.shape)}`,
          spec.name,
        );
      }
    }
  }
  if (!backend)
    throw new ShapeError("missing", "no tensor given, so no backend to run on", spec.name);
  backend.assertLive();
  spec.derive?.(d, runs, params, (why) => {
    throw new ShapeError("shape", why, spec.name);
  });
  for (let i = 0; i < spec.args.length; i++) {
    const a = spec.args[i];
    const t = given[i];
    if (t && (a.role === "out" || a.role === "acc")) {
      const text = shapeText(a, params);
      if (loose) {
        given[i] = t.reshape(shapeOf(a, d, runs, params));
        continue;
      }
      if (!match(text, t.shape, d, runs)) {
        throw new ShapeError(
          "shape",
          `${a.name}: expected ${expected(text, d, runs)}, got ${tuple(t.shape)}`,
          spec.name,
        );
      }
    }
  }
  const wrong = spec.check?.(
    d,
    params,
    (name) => given[spec.args.findIndex((a) => a.name === name)] !== undefined,
  );
  if (wrong) throw new ShapeError("shape", wrong, spec.name);
  checkAliases(spec, given);
  const extents = extentNames(spec).map((e) => {
    // A letter that only an absent optional input carries has extent 0.
    const v = d[e] ?? 0;
    d[e] = v;
    return v;
  });
  if (hasOptional(spec)) {
    let bit = 0;
    let present = 0;
    spec.args.forEach((a, i) => {
      if (a.role === "opt" && given[i]) present |= 1 << bit;
      if (a.role === "opt") bit++;
    });
    extents.push(present);
  }
  const tensors = spec.args.map((a, i) => {
    const t = given[i];
    if (t || a.role === "opt") return t;
    return track((backend as Backend).empty(shapeOf(a, d, runs, params), a.dtype));
  });
  const scalars = scalarNames(spec).map(({ name, type, output }) => {
    const value = (output ? betas.get(output) : raw.get(name)) ?? 0;
    if (output) params[name] = value instanceof Scalar ? value.value : value;
    return { type, value };
  });
  return [backend, { spec, tensors, dims: d, params, extents, scalars }];
}

/** Runs a call now and notes it for an open capture. */
export function launch(backend: Backend, call: Call): void {
  const capture = activeCapture(backend);
  if (capture?.note(call) === "skip") return;
  if (backend.checked) backend.checkIndices(call);
  backend.dispatch(call);
}

/** WebGPU forbids reading and writing one buffer in a dispatch, so no backend allows it. */
function checkAliases(spec: Spec, given: (Tensor | undefined)[]): void {
  for (let i = 0; i < given.length; i++) {
    const w = given[i];
    if (!w || spec.args[i].role === "in" || spec.args[i].role === "opt") continue;
    for (let j = 0; j < given.length; j++) {
      const t = given[j];
      if (!t || j === i || t.storage !== w.storage) continue;
      const reads = spec.args[j].role === "in" || spec.args[j].role === "opt";
      const overlap =
        t.byteOffset < w.byteOffset + w.byteLength && w.byteOffset < t.byteOffset + t.byteLength;
      if (reads || overlap) {
        throw new ShapeError(
          "alias",
          `${spec.args[i].name} is written and shares memory with ${spec.args[j].name}`,
          spec.name,
        );
      }
    }
  }
}

/** Makes the callable from its contract. Mark the call `/* @__PURE__ *\/` so bundlers can drop it. */
export function defineKernel<const A extends readonly Arg[]>(
  spec: Spec & { readonly args: A },
): Kernel<A> {
  const positional = spec.args.flatMap((a, i) =>
    a.role === "in" || a.role === "inout" ? [i] : [],
  );
  const outputs = spec.args.flatMap((a, i) => (a.role === "out" || a.role === "acc" ? [i] : []));

  const kernel = (...args: unknown[]): unknown => {
    const given: (Tensor | undefined)[] = new Array(spec.args.length).fill(undefined);
    const last = args.at(-1);
    const options = (last !== undefined && !(last instanceof Tensor) ? last : {}) as Params;
    const tensors = last instanceof Tensor || last === undefined ? args : args.slice(0, -1);
    if (tensors.length > positional.length) {
      throw new ShapeError(
        "missing",
        `takes ${positional.length} tensors (${positional.map((i) => spec.args[i].name).join(", ")}), got ${tensors.length}`,
        spec.name,
      );
    }
    tensors.forEach((t, i) => {
      given[positional[i]] = t as Tensor;
    });
    spec.args.forEach((a, i) => {
      if (a.role === "opt") given[i] = options[a.name];
    });
    const call = invoke(spec, given, options);
    if (outputs.length === 0) return undefined;
    if (outputs.length === 1) return call.tensors[outputs[0]];
    return Object.fromEntries(outputs.map((i) => [spec.args[i].name, call.tensors[i]]));
  };
  const into = (
    o: Record<string, Tensor>,
    n: Record<string, Tensor | undefined>,
    params: Params = {},
  ): void => {
    const given = spec.args.map((a) =>
      a.role === "in" || a.role === "opt" ? n[a.name] : o[a.name],
    );
    const missing = spec.args.find((a, i) => !given[i] && a.role !== "opt");
    if (missing)
      throw new ShapeError(
        "missing",
        `${missing.name}: .into needs every output and input`,
        spec.name,
      );
    invoke(spec, given, params);
  };
  return Object.assign(kernel, { spec, into }) as unknown as Kernel<A>;
}

// ---- suites: what tests and benches walk ----------------------------------------------------

/** Extents by letter, a list of axes for a run, and the params of one test or bench point. */
export interface Case {
  readonly dims: Readonly<Record<string, number | readonly number[]>>;
  readonly params?: Params;
  /** Optional inputs that are given; default none. */
  readonly with?: readonly string[];
  /** Bench: where the shape comes from. */
  readonly source?: string;
}

/** Value of element i from a uniform u in [0,1); default 2u-1. */
export type Fill = (u: number, i: number, d: Dims) => number;

/** Kept apart from the contract so that a page that imports the kernel does not ship it. */
export interface Suite {
  readonly kernel: AnyKernel;
  readonly cases: () => readonly Case[];
  readonly bench: () => readonly Case[];
  /** |got - ref| <= abs + rel * |ref|; a value looser than 1e-5 carries a reason. */
  readonly tol: { readonly rel: number; readonly abs: number; readonly why?: string };
  readonly fill?: Readonly<Record<string, Fill>>;
  /** Inputs that a gradient may not be asked for. */
  readonly fixed?: readonly string[];
  /** Why finite differences are not taken although there is a VJP (kinks, integer inputs). */
  readonly skipFiniteDifferences?: string;
}

export const isSuite = (x: unknown): x is Suite =>
  typeof x === "object" && x !== null && isKernel((x as Partial<Suite>).kernel) && "cases" in x;

/** Extents and params of a call from the shapes of its inputs, without the tensors. */
export function bindShapes(
  spec: Spec,
  shapes: Readonly<Record<string, Shape>>,
  options: Params,
): { dims: Dims; params: Params } {
  const { params } = decodeParams(spec, options);
  const dims: Dims = {};
  const runs: Runs = {};
  for (const a of spec.args) {
    const shape = shapes[a.name];
    if (!shape || a.role === "out" || a.role === "acc") continue;
    const text = shapeText(a, params);
    if (!match(text, shape, dims, runs)) {
      throw new ShapeError(
        "shape",
        `${a.name}: expected ${expected(text, dims, runs)}, got ${tuple(shape)}`,
        spec.name,
      );
    }
  }
  spec.derive?.(dims, runs, params, (why) => {
    throw new ShapeError("shape", why, spec.name);
  });
  return { dims, params };
}

/** Extents, runs and params of a case, for those who build its tensors. */
export function resolveCase(spec: Spec, c: Case): { dims: Dims; runs: Runs; params: Params } {
  const { params } = decodeParams(spec, c.params ?? {});
  const dims: Dims = {};
  const runs: Runs = {};
  for (const [k, v] of Object.entries(c.dims)) {
    if (typeof v === "number") dims[k] = v;
    else {
      runs[k] = [...v];
      dims[k] = sizeOf(v);
    }
  }
  spec.derive?.(dims, runs, params, (why) => {
    throw new ShapeError("shape", why, spec.name);
  });
  return { dims, runs, params };
}

export { edges, grid } from "./cases.ts";
export type { Dims, Dtype, Runs, TypedArray };
