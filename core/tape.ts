import { type AnyKernel, betaName, type Call, invoke, type Params, type Vjp } from "./contract.ts";
import { DiffError } from "./errors.ts";
import { Scalar } from "./scalar.ts";
import { Slab } from "./slab.ts";
import { type TapeSink, tapes } from "./tape-state.ts";
import { sameShape, scope, Tensor, tensorsIn, track, type Value } from "./tensor.ts";

/**
 * Reverse mode. A tape is the list of calls in creation order; the backward pass is one loop over
 * it from the end. Gradients are keyed by Value, so a reshape shares the gradient of its source.
 *
 * The first writer of a gradient overwrites it, later ones accumulate with beta = 1: nothing is
 * filled with zeros first. VJPs call kernels, and those calls are recorded by any tape around
 * this one: that is all there is to higher derivatives.
 */
interface CallEntry {
  readonly call: Call;
}

/** A recomputed stretch of program: replays itself on an inner tape when its gradient is due. */
interface CheckpointEntry {
  readonly output: Tensor;
  readonly replay: () => Tensor;
}

interface Gradient {
  readonly t: Tensor;
  /** Set while `t` is another gradient's tensor that must not be written; makes a copy of it. */
  readonly copy?: AnyKernel;
}

class Tape implements TapeSink {
  readonly entries: (CallEntry | CheckpointEntry)[] = [];
  readonly tracked: Set<Value>;

  constructor(tracked: Set<Value>) {
    this.tracked = tracked;
  }

  record(call: Call): void {
    const { spec, tensors } = call;
    const depends = tensors.some((t, i) => {
      const { role } = spec.args[i];
      return t && role !== "out" && role !== "acc" && this.tracked.has(t.value);
    });
    spec.args.forEach((a, i) => {
      const t = tensors[i];
      if (!t || a.role === "in" || a.role === "opt") return;
      if (depends) this.tracked.add(t.value);
      else if (a.role === "out" || (a.role === "acc" && betaOf(call, a.name) === 0))
        this.tracked.delete(t.value);
    });
    if (depends) this.entries.push({ call });
  }
}

function betaOf(call: Call, output: string): number {
  const b = call.params[betaName(call.spec, output)];
  return b instanceof Scalar ? b.value : (b ?? 0);
}

class Backward {
  readonly tracked: ReadonlySet<Value>;
  readonly grads: Map<Value, Gradient>;
  /** Where the gradients of slab entries land. */
  readonly targets: ReadonlyMap<Value, Tensor>;

  constructor(
    tracked: ReadonlySet<Value>,
    grads: Map<Value, Gradient>,
    targets: ReadonlyMap<Value, Tensor>,
  ) {
    this.tracked = tracked;
    this.grads = grads;
    this.targets = targets;
  }

  run(tape: Tape, wanted: ReadonlySet<Value>): void {
    for (let i = tape.entries.length - 1; i >= 0; i--) {
      const e = tape.entries[i];
      if ("call" in e) this.#call(e.call, wanted);
      else this.#checkpoint(e, wanted);
    }
  }

  #call(call: Call, wanted: ReadonlySet<Value>): void {
    const { spec, tensors } = call;
    const d: Record<string, Tensor> = {};
    let reached = false;
    spec.args.forEach((a, i) => {
      const t = tensors[i];
      const g = t && a.role !== "in" && a.role !== "opt" ? this.grads.get(t.value) : undefined;
      if (!t || !g) return;
      reached = true;
      d[a.name] = sameShape(g.t.shape, t.shape) ? g.t : g.t.reshape(t.shape);
      // An accumulating write adds to what was there, whose gradient is the same. A fresh one ends it.
      const fresh = a.role === "out" || (a.role === "acc" && betaOf(call, a.name) === 0);
      if (fresh && !wanted.has(t.value)) this.grads.delete(t.value);
    });
    if (!reached) return;
    if (!spec.vjp)
      throw new DiffError("no-vjp", "has no VJP, and a gradient was asked through it", spec.name);
    spec.vjp(this.#context(call, d));
  }

  #context(call: Call, d: Record<string, Tensor>): Vjp {
    const { spec, tensors } = call;
    const at = (name: string): Tensor | undefined =>
      tensors[spec.args.findIndex((a) => a.name === name)];
    const inputs = Object.fromEntries(
      spec.args.flatMap((a, i) => (tensors[i] ? [[a.name, tensors[i] as Tensor]] : [])),
    );
    const needs = (name: string): boolean => {
      const t = at(name);
      return t !== undefined && this.tracked.has(t.value);
    };
    let outputs: Record<string, Tensor> | undefined;
    return {
      in: inputs,
      get out() {
        outputs ??= forwardOutputs(call);
        return outputs;
      },
      d,
      p: call.params,
      dims: call.dims,
      again: tapes.length > 0,
      needs,
      to: (input, kernel, ins, params) => {
        const output = kernel.spec.args.find((a) => a.role === "acc" || a.role === "out");
        if (output && needs(input))
          this.#emit({ [output.name]: at(input) as Tensor }, kernel, ins, params);
      },
      toAll: (into, kernel, ins, params) => {
        const pairs = Object.entries(into).filter(([, input]) => needs(input));
        if (!pairs.length) return {};
        return this.#emit(
          Object.fromEntries(pairs.map(([o, input]) => [o, at(input) as Tensor])),
          kernel,
          ins,
          params,
        );
      },
      pass: (input, grad, copy) => {
        const t = at(input);
        if (!t || !needs(input)) return;
        if (this.grads.has(t.value) || this.targets.has(t.value))
          this.#emit({ y: t }, copy, [grad]);
        else this.grads.set(t.value, { t: grad, copy });
      },
    };
  }

  /** Runs a gradient kernel with its outputs placed: fresh, on target, or onto what is there. Returns the others. */
  #emit(
    into: Record<string, Tensor>,
    kernel: AnyKernel,
    inputs: Tensor[],
    params: Params = {},
  ): Record<string, Tensor> {
    const { spec } = kernel;
    const options: Params = { ...params };
    let next = 0;
    const given = spec.args.map((a): Tensor | undefined => {
      if (a.role === "in" || a.role === "inout") return inputs[next++];
      if (a.role === "opt") return params[a.name];
      const of = into[a.name];
      if (!of) return undefined;
      const have = this.grads.get(of.value);
      if (have && a.role !== "acc") {
        throw new DiffError(
          "contract",
          `${a.name} must be an acc output: it is a gradient that is added up`,
          spec.name,
        );
      }
      if (have) options[betaName(spec, a.name)] = 1;
      const t = have?.copy
        ? (have.copy(have.t) as Tensor)
        : (have?.t ?? this.targets.get(of.value) ?? of.backend.empty(of.shape));
      this.grads.set(of.value, { t });
      return t;
    });
    const { tensors } = invoke(spec, given, options, true);
    return Object.fromEntries(
      spec.args.flatMap((a, i) => {
        const byProduct = (a.role === "out" || a.role === "acc") && !into[a.name];
        return byProduct ? [[a.name, tensors[i] as Tensor]] : [];
      }),
    );
  }

  #checkpoint(e: CheckpointEntry, wanted: ReadonlySet<Value>): void {
    const g = this.grads.get(e.output.value);
    if (!g) return;
    this.grads.delete(e.output.value);
    const inner = new Tape(new Set(this.tracked));
    tapes.push(inner);
    let y: Tensor;
    try {
      y = e.replay();
    } finally {
      tapes.splice(tapes.indexOf(inner), 1);
    }
    this.grads.set(y.value, g);
    new Backward(inner.tracked, this.grads, this.targets).run(inner, wanted);
  }
}

/** What the forward kernel computed; run again where it was accumulated onto something. */
function forwardOutputs(call: Call): Record<string, Tensor> {
  const { spec, tensors } = call;
  const isOutput = (i: number) => spec.args[i].role === "out" || spec.args[i].role === "acc";
  const dirty = spec.args.some((a) => a.role === "acc" && betaOf(call, a.name) !== 0);
  let from = tensors;
  if (dirty) {
    const params: Params = {};
    for (const name of Object.keys(spec.params ?? {})) params[name] = call.params[name];
    from = invoke(
      spec,
      tensors.map((t, i) => (isOutput(i) ? undefined : t)),
      params,
    ).tensors;
  }
  return Object.fromEntries(
    spec.args.flatMap((a, i) => (isOutput(i) && from[i] ? [[a.name, from[i] as Tensor]] : [])),
  );
}

// ---- the public face ------------------------------------------------------------------------

/** What can be differentiated with respect to: a tensor, several, or a slab. */
export type Parameters = Tensor | readonly Tensor[] | Readonly<Record<string, Tensor>>;
const list = (p: Parameters | Slab): Tensor[] => [...tensorsIn(p instanceof Slab ? p.tensors : p)];

/** Puts gradients in the order of `list(p)` into the form of p. */
function like(p: Parameters | Slab, grads: Tensor[]): unknown {
  if (p instanceof Slab) return p.grad;
  if (p instanceof Tensor) return grads[0];
  if (Array.isArray(p)) return grads;
  return Object.fromEntries(Object.keys(p).map((k, i) => [k, grads[i]]));
}

/**
 * Runs f and pulls cotangents of its result back to the parameters: `grads` has the form of the
 * parameters (for a slab: its twin `slab.grad`), and zeros where f does not depend on them.
 * Intermediates are freed, unless another tape is recording.
 * @param seed makes the cotangents of the tensors in f's result, in their order; undefined: none
 */
function pullback<P extends Parameters, R, Q extends P | Slab>(
  f: (p: P) => R,
  p: Q,
  seed: (results: Tensor[]) => (Tensor | undefined)[],
): { value: R; grads: Q } {
  return scope(
    () => {
      const params = list(p);
      const tape = new Tape(new Set(params.map((t) => t.value)));
      tapes.push(tape);
      let value: R;
      try {
        value = f((p instanceof Slab ? p.tensors : p) as P);
      } finally {
        tapes.splice(tapes.indexOf(tape), 1);
      }
      const results = [...tensorsIn(value)];
      const grads = new Map<Value, Gradient>();
      const cotangents = seed(results);
      results.forEach((r, i) => {
        const c = cotangents[i];
        if (grads.has(r.value)) refuseTwice();
        if (c && tape.tracked.has(r.value)) grads.set(r.value, { t: c, copy: refuseTwice });
      });
      const twin = p instanceof Slab ? Object.values(p.grad.tensors) : [];
      const targets = new Map(twin.map((t, i) => [params[i].value, t]));
      new Backward(tape.tracked, grads, targets).run(tape, new Set(params.map((t) => t.value)));
      const out = params.map((t, i) => {
        const g = grads.get(t.value);
        if (g) {
          // Two parameters may have been passed the same cotangent; each gets a tensor of its own.
          const own = g.copy && g.copy !== refuseTwice ? (g.copy(g.t) as Tensor) : g.t;
          return sameShape(own.shape, t.shape) ? own : own.reshape(t.shape);
        }
        const zeros = t.backend.tensor(t.shape);
        if (!twin[i]) return zeros;
        t.backend.copy(twin[i], zeros);
        return twin[i];
      });
      return { value, grads: like(p, out) as Q };
    },
    () => tapes.length === 0,
  );
}

/** A result that is also used inside f would need its seed copied; no algorithm has asked for it. */
const refuseTwice = Object.assign(
  (): never => {
    throw new DiffError(
      "result",
      "a returned tensor that f itself goes on to use cannot be seeded",
    );
  },
  { spec: undefined as never },
) as AnyKernel;

/** `vjp(f)(p, cotangents)`: the gradients of ⟨cotangents, f(p)⟩; one cotangent per tensor in f's result. */
export function vjp<P extends Parameters, R>(
  f: (p: P) => R,
): <Q extends P | Slab>(p: Q, cotangents: unknown) => { value: R; grads: Q } {
  return (p, cotangents) =>
    pullback(f, p, (results) => {
      const given =
        cotangents instanceof Slab ? Object.values(cotangents.tensors) : [...tensorsIn(cotangents)];
      const fits = given.length === results.length;
      if (!fits || given.some((c, i) => !sameShape(c.shape, results[i].shape))) {
        const shapes = (ts: Tensor[]) =>
          ts.map((t) => `(${t.shape.join(",")})`).join(" ") || "none";
        throw new DiffError(
          "seed",
          `vjp: cotangents ${shapes(given)} do not match the result ${shapes(results)}`,
        );
      }
      return given;
    });
}

/**
 * `valueAndGrad(f)(p)`: f's value and its gradients. f returns a scalar tensor (shape ()), or
 * [scalar, aux] where aux holds tensors that are handed back as they are. Called with a slab, f
 * gets its tensors by name and the gradients land in `slab.grad`.
 * @throws DiffError when the result is not a scalar, or a kernel on the way has no VJP
 */
export function valueAndGrad<P extends Parameters, R extends Tensor | readonly [Tensor, unknown]>(
  f: (p: P) => R,
): <Q extends P | Slab>(p: Q) => { value: R; grads: Q } {
  return (p) =>
    pullback(f, p, ([loss]) => {
      if (!loss || loss.shape.length > 0) {
        throw new DiffError(
          "scalar",
          `grad: f must return a scalar of shape (), got ${loss ? `(${loss.shape.join(",")})` : "no tensor"}`,
        );
      }
      return [loss.backend.tensor([], [1])];
    });
}

/** `grad(f)(p)`: the gradients alone. */
export function grad<P extends Parameters>(f: (p: P) => Tensor): <Q extends P | Slab>(p: Q) => Q {
  const both = valueAndGrad(f);
  return (p) =>
    scope(
      () => both(p).grads,
      () => tapes.length === 0,
    );
}

/** `hvp(f)(p, v)`: the Hessian of f times v, by reverse over reverse; f as for `grad`. */
export function hvp<P extends Parameters>(f: (p: P) => Tensor): (p: P, v: P) => P {
  const g = vjp((p: P) => grad(f)(p));
  return (p, v) =>
    scope(
      () => g(p, v).grads,
      () => tapes.length === 0,
    );
}

/** The same numbers, cut off from the tape. */
export function stopGradient(x: Tensor): Tensor {
  x.assertLive("stopGradient");
  return track(new Tensor(x.backend, x.shape, x.dtype, x.storage, x.byteOffset));
}

/**
 * Runs f without keeping its intermediates; the backward pass runs it again. f must be a pure
 * function of tensors: same inputs, same result.
 */
export function checkpoint<I extends Tensor[]>(
  f: (...inputs: I) => Tensor,
): (...inputs: I) => Tensor {
  return (...inputs) => {
    const open = tapes.splice(0);
    let output: Tensor;
    try {
      output = scope(() => f(...inputs));
    } finally {
      tapes.push(...open);
    }
    for (const t of open as Tape[]) {
      t.tracked.add(output.value);
      t.entries.push({ output, replay: () => f(...inputs) });
    }
    return output;
  };
}
