import type { Backend, CopyCall } from "./backend.ts";
import { type Call, type Params, prepare, type Spec, scalarNames } from "./contract.ts";
import { MemoryError } from "./errors.ts";
import { detached, type Shape, Tensor } from "./tensor.ts";

/** Elements between two offsets that WebGPU can bind at: 256 bytes. */
const ALIGN = 64;

/** How one argument takes part in a cut. */
interface Cut {
  /** Position among its axes, a run being one. */
  readonly axis: number;
  /** Elements of one unit: the axes behind it. */
  readonly inner: number;
  /** How often it recurs: the axes before it. */
  readonly outer: number;
  /** A part is no range that can be bound: it is copied. */
  readonly copied: boolean;
}

interface CutPlan {
  /** By argument; undefined: bound whole. */
  readonly cuts: readonly (Cut | undefined)[];
  readonly extent: string;
  readonly length: number;
  /** Units a part has at most. */
  readonly chunk: number;
  /** Units that a shorter operand is repeated after. */
  readonly period: number;
}

/**
 * How to run a call whose tensors are over `limit` bytes as several with smaller ones: along the first
 * of the extents in `spec.cut` for which every part fits, or else the first that makes something fit.
 * @throws MemoryError naming the argument that is too large
 */
function planCut(call: Call, limit: number): CutPlan {
  const { spec, tensors, dims, params } = call;
  const plans = (spec.cut?.(dims, params) ?? []).flatMap(
    (group) => along(call, group.split(" "), limit) ?? [],
  );
  const plan = plans.find((p) => p.fits) ?? plans[0];
  if (plan) return plan;
  const at = tensors.findIndex((t) => t && t.byteLength > limit);
  const t = tensors[at] as Tensor;
  throw new MemoryError(
    "exhausted",
    `${spec.args[at].name}: (${t.shape.join(",")}) has ${t.byteLength} bytes, over this device's limit of ${limit} bytes a binding, and the kernel cannot be cut so that each part fits`,
    spec.name,
  );
}

function along(
  call: Call,
  letters: readonly string[],
  limit: number,
): (CutPlan & { readonly fits: boolean }) | undefined {
  const { spec, tensors, dims, params } = call;
  const length = dims[letters[0]];
  if (length < 2) return undefined;
  // Others of the group that are shorter recur along it: an operand that is repeated.
  const cutting = new Set(letters.filter((l) => dims[l] === length));
  const period = Math.max(1, ...letters.filter((l) => !cutting.has(l)).map((l) => dims[l]));
  let aligned = period;
  let most = length;
  let fits = true;
  let helps = false;
  const found: (Omit<Cut, "copied"> | undefined)[] = [];
  for (const [i, a] of spec.args.entries()) {
    const t = tensors[i];
    const axes = t && axesOf(spec, i, params);
    const at = axes?.findIndex((axis) => cutting.has(axis)) ?? -1;
    if (!t || !axes || at < 0) {
      if (t && t.byteLength > limit) fits = false;
      // Without the extent, an output is a sum over it, or none of ours to cut.
      if (t && a.role !== "acc" && a.role !== "in" && a.role !== "opt") return undefined;
      found.push(undefined);
      continue;
    }
    const outer = product(axes.slice(0, at).map((axis) => extent(axis, call)));
    const inner = t.size / (outer * length);
    found.push({ axis: at, inner, outer });
    if (t.byteLength > limit) helps = true;
    most = Math.min(most, Math.floor(limit / (4 * Math.max(1, inner * outer))));
    if (outer === 1)
      aligned = leastCommonMultiple(aligned, ALIGN / greatestCommonDivisor(ALIGN, inner));
  }
  // Parts that begin where a binding may; where those are too large, parts that are copied.
  const chunk = Math.min(length, most - (most % aligned) || most - (most % period));
  const cuts = found.map(
    (c) => c && { ...c, copied: c.outer > 1 || (chunk < length && (chunk * c.inner) % ALIGN > 0) },
  );
  return helps && chunk > 0 ? { cuts, extent: letters[0], length, chunk, period, fits } : undefined;
}

const extent = (axis: string, { dims }: Call): number =>
  /^\d+$/.test(axis) ? Number(axis) : dims[axis];

/** The letters of an argument's shape, a run as one. */
const axesOf = (spec: Spec, i: number, p: Params): string[] => {
  const { shape } = spec.args[i];
  return (typeof shape === "string" ? shape : shape(p))
    .split(" ")
    .filter((s) => s)
    .map((s) => s.replace("*", ""));
};

/** The options of a call as `invoke` takes them, Scalars included. */
function optionsOf({ spec, scalars }: Call): Params {
  return Object.fromEntries(scalarNames(spec).map(({ name }, i) => [name, scalars[i].value]));
}

/** The shape of an argument in a part of `n` units: one axis a letter, and two where another recurs. */
function partShape(call: Call, i: number, { cuts, period }: CutPlan, n: number): number[] {
  const cut = cuts[i];
  return axesOf(call.spec, i, call.params).flatMap((axis, k) => {
    if (k !== cut?.axis) return [extent(axis, call)];
    return period > 1 ? [n / period, period] : [n];
  });
}

export function isTooLarge({ tensors }: Call, limit: number): boolean {
  for (let i = 0; i < tensors.length; i++) {
    const t = tensors[i];
    if (t && t.byteLength > limit) return true;
  }
  return false;
}

/** The same work in parts whose tensors the device can bind. Parts that are no range are copied. */
export function cutCall(
  be: Backend,
  call: Call,
  limit: number,
): { steps: (Call | CopyCall)[]; release: () => void } {
  const plan = planCut(call, limit);
  const made: Tensor[] = [];
  // A view owns nothing: in a recording the storage may have been handed on already.
  const view = (t: Tensor, shape: Shape, element: number): Tensor =>
    new Tensor(be, shape, t.dtype, { ...t.storage, refs: 1 }, t.byteOffset + 4 * element);
  const steps: (Call | CopyCall)[] = [];
  const releases: (() => void)[] = [];
  for (let start = 0; start < plan.length; start += plan.chunk) {
    const n = Math.min(plan.chunk, plan.length - start);
    const after: CopyCall[] = [];
    const given = call.tensors.map((t, i) => {
      if (!t) return undefined;
      const cut = plan.cuts[i];
      const shape = partShape(call, i, plan, n);
      if (!cut) return view(t, shape, 0);
      if (!cut.copied) return view(t, shape, start * cut.inner);
      const part = detached(() => be.empty(shape, t.dtype));
      made.push(part);
      const run = n * cut.inner;
      for (let o = 0; o < cut.outer; o++) {
        const whole = view(t, [run], (o * plan.length + start) * cut.inner);
        const own = view(part, [run], o * run);
        const { role } = call.spec.args[i];
        if (role !== "out") steps.push({ dst: own, src: whole });
        if (role !== "in" && role !== "opt") after.push({ dst: whole, src: own });
      }
      return part;
    });
    const options = optionsOf(call);
    for (const { name, output } of scalarNames(call.spec)) {
      const at = call.spec.args.findIndex((a) => a.name === output);
      // A sum over the extent: the first part starts it, the others add to it.
      if (output && !plan.cuts[at] && start > 0) options[name] = 1;
    }
    const own = call.spec.part?.(options, plan.extent, start, n) ?? options;
    const part = prepare(call.spec, given, own)[1];
    const inner = isTooLarge(part, limit)
      ? cutCall(be, part, limit)
      : { steps: [part], release: () => {} };
    releases.push(inner.release);
    steps.push(...inner.steps, ...after);
  }
  return {
    steps,
    release: () => {
      for (const r of releases) r();
      for (const t of made) t.dispose();
    },
  };
}

const product = (v: readonly number[]): number => v.reduce((a, b) => a * b, 1);
const greatestCommonDivisor = (a: number, b: number): number =>
  b === 0 ? a : greatestCommonDivisor(b, a % b);
const leastCommonMultiple = (a: number, b: number): number => (a / greatestCommonDivisor(a, b)) * b;
