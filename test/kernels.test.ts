import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Arg, Suite, WebgpuVariant } from "../core/contract.ts";
import { type Backend, type InitOptions, type Tensor, vjp } from "../core/index.ts";
import { hasRelaxedSimd, type WasmBackend } from "../core/wasm.ts";
import type { WebgpuBackend } from "../core/webgpu.ts";
import { entryOf } from "../core/webgpu-variant.ts";
import { openBackend } from "./support/backends.ts";
import {
  caseName,
  isOutput,
  mismatch,
  type Problem,
  place,
  problem,
  suites,
  uniform,
} from "./support/registry.ts";
import { verifyVariants } from "./support/verify.ts";

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

describe.each(backends)("kernels on $label", ({ label, open }) => {
  let be: Backend;
  beforeAll(async () => {
    be = await open();
    if (label.includes("threads")) await (be as WasmBackend).startThreads();
  });
  afterAll(() => be.dispose());

  const ran = new Set<WebgpuVariant>();
  const walked = new Set<Suite>();

  for (const suite of suites) {
    test(suite.kernel.spec.name, async () => {
      expect(be.supports(suite.kernel.spec), "has an implementation").toBe(true);
      for (const c of suite.cases()) {
        try {
          await verifyVariants(be, problem(suite, c), ran);
        } catch (e) {
          (e as Error).message = `${caseName(c)}: ${(e as Error).message}`;
          throw e;
        }
      }
      walked.add(suite);
    }, 240_000);
  }

  if (label !== "webgpu") return;
  // A variant whose feature this adapter lacks has naga's word for it.
  test("every variant was run by some case", () => {
    const { features } = (be as WebgpuBackend).capabilities;
    const missed = suites.flatMap(({ kernel: { spec } }) =>
      suites.every((s) => s.kernel.spec !== spec || walked.has(s))
        ? (spec.webgpu ?? [])
            .filter((v) => !ran.has(v) && (v.requires ?? []).every((f) => features.has(f)))
            .map((v) => entryOf(spec, v))
        : [],
    );
    expect(missed).toEqual([]);
  });
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
  const wrt = inputs.filter(
    ({ arg }) => isDifferentiable(arg) && !p.suite.fixed?.includes(arg.name),
  );
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
