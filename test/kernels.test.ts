import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Arg } from "../core/contract.ts";
import { type Backend, type InitOptions, type Tensor, vjp } from "../core/index.ts";
import { hasRelaxedSimd, type WasmBackend } from "../core/wasm.ts";
import { WebgpuBackend } from "../core/webgpu.ts";
import { entryOf, isRight } from "../core/webgpu-variant.ts";
import { openBackend } from "./support/backends.ts";
import {
  caseName,
  expected,
  isOutput,
  mismatch,
  type Problem,
  place,
  problem,
  suites,
  uniform,
} from "./support/registry.ts";

// The registry walker: every contract × backend × build × case. Nothing here knows a kernel by name.

const threaded: InitOptions = { wasm: { build: "simd", threads: 2 } };
const backends: { label: string; open: () => Promise<Backend> }[] = [
  { label: "ref", open: () => openBackend("ref") },
  { label: "wasm simd", open: () => openBackend("wasm", { wasm: { build: "simd" } }) },
  { label: "wasm simd, 2 threads", open: () => openBackend("wasm", threaded) },
  ...(hasRelaxedSimd()
    ? [{ label: "wasm relaxed", open: () => openBackend("wasm", { wasm: { build: "relaxed" } }) }]
    : []),
  { label: "webgpu", open: () => openBackend("webgpu") },
];
if (!hasRelaxedSimd()) {
  console.warn("wasm relaxed: not run, this Node has no relaxed SIMD (22 and later have)");
}

const looser = (tol: { rel: number; abs: number }, beta: number) =>
  beta === 0 ? tol : { rel: tol.rel, abs: tol.abs + 1e-6 };

/** Every way to run the case on this backend: on WebGPU all variants that are right for it. */
async function verify(be: Backend, p: Problem): Promise<void> {
  if (!(be instanceof WebgpuBackend)) return verifyOne(be, p);
  const { kernel } = p.suite;
  const variants = kernel.spec.webgpu?.filter((v) => isRight(v, be.capabilities, p.dims, p.params));
  for (const v of variants ?? []) {
    be.force(kernel, v);
    try {
      await verifyOne(be, p);
    } catch (e) {
      (e as Error).message = `${entryOf(kernel.spec, v)}: ${(e as Error).message}`;
      throw e;
    } finally {
      be.force(kernel, undefined);
    }
  }
}

async function verifyOne(be: Backend, p: Problem): Promise<void> {
  const { kernel, tol } = p.suite;
  const placed = place(be, p);
  const accumulates = kernel.spec.args.some((a) => a.role === "acc");
  for (const beta of accumulates ? [0, 1, 0.5] : [0]) {
    placed.reset(beta === 0);
    placed.run(beta);
    const { values, touched } = await placed.results();
    expect(touched, "guard bands written").toEqual([]);
    const want = expected(p, beta);
    for (const [name, w] of want) {
      const got = values.get(name) as Float32Array;
      expect(mismatch(got, w, looser(tol, beta)), `${name}, beta ${beta}`).toBeUndefined();
    }
    if (beta !== 0) continue;
    placed.reset(true);
    placed.run(0);
    const again = await placed.results();
    for (const [name, v] of values) {
      expect(
        mismatch(again.values.get(name) as Float32Array, v, { rel: 0, abs: 0 }),
        `${name}, second run`,
      ).toBeUndefined();
    }
  }
  placed.dispose();
}

describe.each(backends)("kernels on $label", ({ label, open }) => {
  let be: Backend;
  beforeAll(async () => {
    be = await open();
    if (label.includes("threads")) await (be as WasmBackend).startThreads();
  });
  afterAll(() => be.dispose());

  for (const suite of suites) {
    test(suite.kernel.spec.name, async () => {
      expect(be.supports(suite.kernel.spec), "has an implementation").toBe(true);
      for (const c of suite.cases()) {
        try {
          await verify(be, problem(suite, c));
        } catch (e) {
          (e as Error).message = `${caseName(c)}: ${(e as Error).message}`;
          throw e;
        }
      }
    });
  }
});

test("two threads give the bits of one", async () => {
  const one = await openBackend("wasm", { wasm: { build: "simd" } });
  const two = await openBackend("wasm", threaded);
  await (two as WasmBackend).startThreads();
  for (const suite of suites) {
    for (const c of [...suite.cases(), ...suite.bench().slice(0, 1)]) {
      const p = problem(suite, c);
      const results = [];
      for (const be of [one, two]) {
        const placed = place(be, p);
        placed.reset(true);
        placed.run(0);
        results.push((await placed.results()).values);
        placed.dispose();
      }
      for (const [name, v] of results[0]) {
        const other = results[1].get(name) as Float32Array;
        expect(
          mismatch(other, v, { rel: 0, abs: 0 }),
          `${suite.kernel.spec.name} ${caseName(c)} ${name}`,
        ).toBeUndefined();
      }
    }
  }
  one.dispose();
  two.dispose();
});

describe("finite differences through every VJP", () => {
  let be: Backend;
  beforeAll(async () => {
    be = await openBackend("ref");
  });

  for (const suite of suites) {
    const { spec } = suite.kernel;
    if (!spec.vjp) continue;
    const reason = suite.skipFiniteDifferences;
    test(`${spec.name}${reason ? ` (gradient only runs: ${reason})` : ""}`, () => {
      for (const c of suite.cases()) {
        const p = problem(suite, c, true);
        const size = p.args.reduce((n, a) => n + a.data.length, 0);
        if (size === 0 || size > 20_000) continue;
        differentiate(be, p, reason === undefined);
      }
    });
  }
});

const isDifferentiable = (a: Arg) => a.dtype === "f32" && (a.role === "in" || a.role === "opt");

/** d⟨r, outputs⟩/d(input) by the tape, against central differences of the f64 definition. */
function differentiate(be: Backend, p: Problem, compare: boolean): void {
  const { kernel } = p.suite;
  const inputs = p.args.filter(({ arg }) => !isOutput(arg));
  const outputs = p.args.filter(({ arg }) => isOutput(arg));
  const params = Object.fromEntries(
    Object.keys(kernel.spec.params ?? {}).map((n) => [n, p.params[n]]),
  );
  const weight = (k: number, i: number) => 2 * uniform(i, k, 99) - 1;
  const wrt = inputs.filter(({ arg }) => isDifferentiable(arg));
  const tensors = Object.fromEntries(
    inputs.map(({ arg, shape, data }) => [arg.name, be.tensor(shape, data, arg.dtype)]),
  );
  const call = (given: Record<string, Tensor>): Tensor[] => {
    const all = { ...tensors, ...given };
    const optional = Object.fromEntries(
      inputs.filter(({ arg }) => arg.role === "opt").map(({ arg }) => [arg.name, all[arg.name]]),
    );
    const positional = inputs
      .filter(({ arg }) => arg.role !== "opt")
      .map(({ arg }) => all[arg.name]);
    const r = kernel(...positional, { ...params, ...optional }) as Tensor | Record<string, Tensor>;
    return "shape" in r
      ? [r as Tensor]
      : outputs.map(({ arg }) => (r as Record<string, Tensor>)[arg.name]);
  };
  const seeds = outputs.map(({ shape, data }, k) =>
    be.tensor(
      shape,
      Float64Array.from(data, (_, i) => weight(k, i)),
    ),
  );
  const { grads } = vjp(call)(
    Object.fromEntries(wrt.map(({ arg }) => [arg.name, tensors[arg.name]])),
    seeds,
  );
  for (const { arg, data } of wrt) {
    const g = grads[arg.name].view();
    for (let j = 0; j < Math.min(4, data.length); j++) {
      const at = Math.floor(uniform(j, data.length) * data.length);
      const h = 1e-5 * Math.max(0.1, Math.abs(data[at]));
      const outputsAt = (x: number) => {
        const moved = data.slice();
        moved[at] = x;
        const t = be.tensor(p.args.find((a) => a.arg === arg)?.shape ?? [], moved);
        return call({ [arg.name]: t }).map((y) => y.view());
      };
      // Element by element: the difference of two large sums would lose the digits.
      const low = outputsAt(data[at] - h);
      const want = outputsAt(data[at] + h).reduce(
        (s, y, k) =>
          s +
          (y as Float64Array).reduce(
            (a, v, i) => a + (weight(k, i) * (v - low[k][i])) / (2 * h),
            0,
          ),
        0,
      );
      if (!compare) continue;
      const error = Math.abs(g[at] - want);
      expect(
        error,
        `${kernel.spec.name} ${arg.name}[${at}]: tape ${g[at]}, differences ${want}`,
      ).toBeLessThanOrEqual(1e-6 + 1e-5 * Math.abs(want));
    }
  }
}
