import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { capture, MemoryError, type WebgpuBackend } from "../core/index.ts";
import { add, matmul, softmax } from "../kernels/index.ts";
import { openWebgpu } from "./support/backends.ts";
import { caseName, fewCases, mismatch, problem, suites } from "./support/registry.ts";
import { verify, verifyVariants } from "./support/verify.ts";

// A device with much less than any real one: what is over its limits is cut or folded, and right.

/** Elements that a binding holds: rows of the suites fit, most tensors do not. */
const BINDING = 1024;

/** Kernels whose packed weights alone are over it in every case: cutting the rest does not help. */
const WEIGHTS_TOO_LARGE = ["conv2d_winograd", "matmul_packed"];

describe("tensors over a binding", () => {
  let be: WebgpuBackend;
  beforeAll(async () => {
    be = await openWebgpu({ limits: { maxStorageBufferBindingSize: 4 * BINDING } });
  });
  afterAll(() => be.dispose());

  const isLarge = (p: ReturnType<typeof problem>) => p.args.some((a) => a.data.length > BINDING);

  for (const suite of suites) {
    const { spec } = suite.kernel;
    const cases = [...suite.cases(), ...suite.bench()]
      .map((c) => ({ c, p: problem(suite, c) }))
      .filter(({ p }) => isLarge(p))
      .filter(({ p }) => p.args.every((a) => a.data.length <= 1 << 13))
      .slice(0, 6);
    if (cases.length === 0) continue;
    test(spec.name, async () => {
      let cut = 0;
      for (const { c, p } of cases) {
        try {
          await verify(be, p);
          cut++;
        } catch (e) {
          // Without an extent to cut along, or with a single row that is too long, it says so.
          if (e instanceof MemoryError) {
            expect(e.message).toMatch(
              /^(\w+: )?\[\w+\] \w+: \([\d,]*\) has \d+ bytes, over this device's limit of 4096 bytes a binding/,
            );
            continue;
          }
          (e as Error).message = `${caseName(c)}: ${(e as Error).message}`;
          throw e;
        }
      }
      if (spec.cut && !WEIGHTS_TOO_LARGE.includes(spec.name)) expect(cut).toBeGreaterThan(0);
    });
  }

  test("eager and captured, along every axis, with the numbers of the whole", async () => {
    const whole = await openWebgpu();
    const data = (n: number, k: number) =>
      Float32Array.from({ length: n }, (_, i) => Math.sin(i * k));
    const program = (b: WebgpuBackend) => {
      const x = b.tensor([300, 20], data(6000, 1));
      const w = b.tensor([20, 500], data(10_000, 2));
      const bias = b.tensor([500], data(500, 3));
      return () => softmax(add(matmul(x, w), bias));
    };
    const want = await program(whole)().read();
    const before = be.dispatches;
    const run = program(be);
    expect(mismatch(await run().read(), want, { rel: 1e-6, abs: 1e-9 })).toBeUndefined();
    // 150,000 elements in parts of at most 1024: two rows each.
    expect(be.dispatches - before).toBeGreaterThan(3 * 150);
    const bytes = be.bytesInUse;
    const step = await capture(be, run);
    for (let i = 0; i < 2; i++) {
      step.run();
      expect(mismatch(await step.out.read(), want, { rel: 1e-6, abs: 1e-9 })).toBeUndefined();
    }
    step.dispose();
    step.out.dispose();
    expect(be.bytesInUse).toBe(bytes);
    whole.dispose();
  });

  test("what cannot be cut says which argument is too large, and nothing is touched", () => {
    const x = be.tensor([2, 2000]);
    expect(() => softmax(x)).toThrow(
      "[softmax] y: (2,2000) has 16000 bytes, over this device's limit of 4096 bytes a binding, and the kernel cannot be cut so that each part fits",
    );
  });
});

describe("grids over the limit of workgroups", () => {
  let be: WebgpuBackend;
  beforeAll(async () => {
    be = await openWebgpu({ limits: { maxComputeWorkgroupsPerDimension: 3 } });
  });
  afterAll(() => be.dispose());

  for (const suite of suites) {
    test(suite.kernel.spec.name, async () => {
      for (const c of fewCases(suite, 2)) {
        try {
          await verifyVariants(be, problem(suite, c));
        } catch (e) {
          (e as Error).message = `${caseName(c)}: ${(e as Error).message}`;
          throw e;
        }
      }
    }, 240_000);
  }
});
