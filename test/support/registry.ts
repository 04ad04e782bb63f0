import {
  type AnyKernel,
  type Arg,
  betaName,
  type Case,
  type Dims,
  isKernel,
  isSuite,
  type Params,
  type RefArrays,
  type Runs,
  resolveCase,
  type Suite,
  shapeOf,
} from "../../core/contract.ts";
import type { Backend } from "../../core/index.ts";
import { Tensor } from "../../core/tensor.ts";
import * as exported from "../../kernels/index.ts";

const values: unknown[] = Object.values(exported);
export const kernels: AnyKernel[] = values.filter(isKernel);
export const suites: Suite[] = values.flat().filter(isSuite);

/** A uniform in [0, 1) from three integers; a hash, so that every backend gets the same data. */
export function uniform(a: number, b: number, c = 0): number {
  let h =
    Math.imul(a + 0x9e3779b9, 0x85ebca6b) ^
    Math.imul(b + 0x7f4a7c15, 0xc2b2ae35) ^
    Math.imul(c + 1, 0x27d4eb2f);
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d);
  h = Math.imul(h ^ (h >>> 12), 0x297a2d39);
  return ((h ^ (h >>> 15)) >>> 0) / 2 ** 32;
}

export const caseName = (c: Case): string =>
  [
    ...Object.entries(c.dims).map(([k, v]) => `${k}=${Array.isArray(v) ? `(${v.join(",")})` : v}`),
    ...Object.entries(c.params ?? {}).map(([k, v]) => `${k}:${v}`),
    ...(c.with ?? []).map((n) => `+${n}`),
  ].join(" ");

export interface Problem {
  readonly suite: Suite;
  readonly dims: Dims;
  readonly runs: Runs;
  readonly params: Params;
  readonly args: readonly {
    readonly arg: Arg;
    readonly shape: number[];
    /** Content of an input, or what an output holds before the call. */
    readonly data: Float64Array | Int32Array | Uint32Array;
  }[];
}

export const isOutput = (a: Arg): boolean => a.role === "out" || a.role === "acc";
export const isWritten = (a: Arg): boolean => isOutput(a) || a.role === "inout";

/** The tensors of a case, filled; `finite` replaces NaN, Inf and the very small, for finite differences. */
export function problem(suite: Suite, c: Case, finite = false): Problem {
  const { spec } = suite.kernel;
  const { dims, runs, params } = resolveCase(spec, c);
  const args = spec.args.flatMap((arg, k) => {
    if (arg.role === "opt" && !c.with?.includes(arg.name)) return [];
    const shape = shapeOf(arg, dims, runs, params);
    const n = shape.reduce((a, b) => a * b, 1);
    const fill =
      suite.fill?.[arg.name] ??
      (arg.dtype === "f32" ? (u: number) => 2 * u - 1 : (u: number) => Math.floor(8 * u));
    const type =
      arg.dtype === "f32" ? Float64Array : arg.dtype === "i32" ? Int32Array : Uint32Array;
    const data = new type(n);
    for (let i = 0; i < n; i++) {
      const v = fill(uniform(i, k, spec.name.length), i, dims);
      const bad = !Number.isFinite(v) || (v !== 0 && Math.abs(v) < 1e-6);
      data[i] =
        finite && arg.dtype === "f32" && bad ? 0.5 : arg.dtype === "f32" ? Math.fround(v) : v;
    }
    return [{ arg, shape, data }];
  });
  return { suite, dims, runs, params, args };
}

/** What the contract's own definition gives, with beta applied to `before`. */
export function expected(
  p: Problem,
  beta: number,
): Map<string, Float64Array | Int32Array | Uint32Array> {
  const { spec } = p.suite.kernel;
  const arrays: RefArrays = {};
  for (const { arg, data } of p.args) {
    arrays[arg.name] = isOutput(arg)
      ? new (data.constructor as Float64ArrayConstructor)(data.length)
      : data.slice();
  }
  spec.ref(arrays, p.dims, p.params);
  const out = new Map<string, Float64Array | Int32Array | Uint32Array>();
  for (const { arg, data } of p.args) {
    if (!isWritten(arg)) continue;
    const r = arrays[arg.name];
    if (arg.role === "acc" && beta !== 0) for (let i = 0; i < r.length; i++) r[i] += beta * data[i];
    out.set(arg.name, r);
  }
  return out;
}

/** Elements of sentinel on each side of an output: 256 bytes, what WebGPU can bind at. */
const GUARD = 64;
const SENTINEL = -12345;

export interface Placed {
  readonly tensors: ReadonlyMap<string, Tensor>;
  run(beta: number): void;
  /** Outputs and inouts, and whether a guard band was touched. */
  results(): Promise<{
    values: Map<string, Float32Array | Int32Array | Uint32Array>;
    touched: string[];
  }>;
  reset(nan: boolean): void;
  dispose(): void;
}

/** Puts a problem on a backend, every written tensor between two guard bands. */
export function place(be: Backend, p: Problem): Placed {
  const { kernel } = p.suite;
  const whole = new Map<string, Tensor>();
  const tensors = new Map<string, Tensor>();
  for (const { arg, shape, data } of p.args) {
    if (!isWritten(arg)) {
      const host = arg.dtype === "f32" ? Float32Array.from(data) : data;
      tensors.set(arg.name, be.tensor(shape, host, arg.dtype));
      continue;
    }
    const padded = Math.ceil(data.length / GUARD) * GUARD;
    const t = be.tensor([padded + 2 * GUARD], undefined, arg.dtype);
    whole.set(arg.name, t);
    tensors.set(arg.name, new Tensor(be, shape, arg.dtype, t.storage, GUARD * 4));
  }
  const pick = (f: (a: Arg) => boolean) =>
    Object.fromEntries(
      p.args
        .filter(({ arg }) => f(arg))
        .map(({ arg }) => [arg.name, tensors.get(arg.name) as Tensor]),
    );
  const outputs = pick(isWritten);
  const inputs = pick((a) => !isWritten(a));
  const into = (kernel as unknown as { into(o: object, i: object, p: Params): void }).into;
  return {
    tensors,
    run(beta) {
      const params: Params = {};
      for (const name of Object.keys(kernel.spec.params ?? {})) params[name] = p.params[name];
      for (const a of kernel.spec.args)
        if (a.role === "acc") params[betaName(kernel.spec, a.name)] = beta;
      into(outputs, inputs, params);
    },
    reset(nan) {
      for (const { arg, data } of p.args) {
        const t = whole.get(arg.name);
        if (!t) continue;
        const host = new Float64Array(t.size).fill(SENTINEL);
        if (isOutput(arg) && nan)
          host.fill(arg.dtype === "f32" ? Number.NaN : SENTINEL, GUARD, GUARD + data.length);
        else host.set(data, GUARD);
        t.write(arg.dtype === "f32" ? Float32Array.from(host) : Int32Array.from(host));
      }
    },
    async results() {
      const out = new Map<string, Float32Array | Int32Array | Uint32Array>();
      const touched: string[] = [];
      const reads = await Promise.all(
        [...whole].map(async ([name, t]) => [name, await t.read()] as const),
      );
      for (const [name, all] of reads) {
        const n = (tensors.get(name) as Tensor).size;
        out.set(name, all.slice(GUARD, GUARD + n));
        const clean = (v: number) => (v | 0) === SENTINEL;
        if (!all.subarray(0, GUARD).every(clean) || !all.subarray(GUARD + n).every(clean))
          touched.push(name);
      }
      return { values: out, touched };
    },
    dispose() {
      for (const t of [...tensors.values(), ...whole.values()]) t.dispose();
    },
  };
}

/** The first element outside the tolerance, in words, or undefined. */
export function mismatch(
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  tol: { rel: number; abs: number },
): string | undefined {
  for (let i = 0; i < want.length; i++) {
    const g = got[i];
    const w =
      Number.isInteger(want[i]) && Math.abs(want[i]) > 2 ** 24 ? want[i] : Math.fround(want[i]);
    if (
      Number.isNaN(w)
        ? Number.isNaN(g)
        : g === w || Math.abs(g - w) <= tol.abs + tol.rel * Math.abs(w)
    )
      continue;
    return `[${i}] got ${g}, expected ${w} (of ${want.length})`;
  }
  return undefined;
}

/** Cases that stand for the suite: the smallest, the largest, and `n` spread from first to last. */
export function fewCases(suite: Suite, n = 8): Case[] {
  const all = suite.cases();
  const sizes = all.map((c) => {
    const { dims } = resolveCase(suite.kernel.spec, c);
    return Object.values(dims).reduce((a, b) => a * Math.max(1, b), 1);
  });
  const spread = Array.from({ length: n }, (_, i) => Math.round((i * (all.length - 1)) / (n - 1)));
  const ends = [Math.min(...sizes), Math.max(...sizes)].map((size) => sizes.indexOf(size));
  const chosen = new Set([...spread, ...ends]);
  return all.filter((_, i) => chosen.has(i));
}
