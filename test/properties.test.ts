import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Backend, ShapeError } from "../core/index.ts";
import { add, matmul, sum, sum_leading } from "../kernels/index.ts";
import { openBackend } from "./support/backends.ts";
import {
  caseName,
  expected,
  mismatch,
  type Problem,
  place,
  problem,
  suites,
  uniform,
} from "./support/registry.ts";

// Shapes that nobody chose. Kernels whose extents depend on each other have cases of their own.

const extent = fc.integer({ min: 1, max: 70 });
const axes = fc.array(fc.integer({ min: 1, max: 9 }), { maxLength: 3 });
const RUNS = { numRuns: 25 };

describe.each(["wasm", "webgpu"] as const)("any shape on %s", (name) => {
  let be: Backend;
  beforeAll(async () => {
    be = await openBackend(name);
  });
  afterAll(() => be.dispose());

  async function agrees(p: Problem): Promise<string | undefined> {
    const placed = place(be, p);
    placed.reset(true);
    placed.run(0);
    const { values, touched } = await placed.results();
    placed.dispose();
    if (touched.length) return `guard band of ${touched} written`;
    for (const [output, want] of expected(p, 0)) {
      const wrong = mismatch(values.get(output) as Float32Array, want, p.suite.tol);
      if (wrong) return `${output}${wrong}`;
    }
    return undefined;
  }

  const free = suites.filter(({ kernel: { spec } }) => !spec.derive && !spec.check);
  test.each(free.map((s) => [s.kernel.spec.name, s] as const))("%s", async (_, suite) => {
    const some = suite.cases();
    const dims = Object.fromEntries(
      Object.entries(some[0].dims).map(([k, v]) => [k, Array.isArray(v) ? axes : extent]),
    );
    const chosen = fc.tuple(fc.record(dims), fc.nat(some.length - 1));
    await fc.assert(
      fc.asyncProperty(chosen, async ([d, k]) => {
        const c = { dims: d as Record<string, number | number[]>, params: some[k].params ?? {} };
        expect(await agrees(problem(suite, c)), caseName(c)).toBeUndefined();
      }),
      RUNS,
    );
  });

  const tensor = (shape: number[]) =>
    be.tensor(
      shape,
      Float32Array.from({ length: shape.reduce((n, d) => n * d, 1) }, (_, i) => uniform(i, 3)),
    );

  test("broadcasting repeats the operand with fewer axes", async () => {
    await fc.assert(
      fc.asyncProperty(axes, axes, async (lead, rest) => {
        const a = tensor([...lead, ...rest]);
        const b = tensor(rest);
        const y = add(a, b);
        expect(y.shape).toEqual([...lead, ...rest]);
        const [ya, va, vb] = [await y.read(), await a.read(), await b.read()];
        ya.forEach((v, i) => {
          expect(v).toBe(Math.fround(va[i] + vb[i % vb.length]));
        });
        for (const t of [a, b, y]) t.dispose();
      }),
      RUNS,
    );
  });

  test("(A B)ᵀ = Bᵀ Aᵀ, and sums of rows and columns of a product agree", async () => {
    await fc.assert(
      fc.asyncProperty(extent, extent, extent, async (M, N, K) => {
        const [a, b] = [tensor([M, K]), tensor([K, N])];
        const y = matmul(a, b);
        const yt = matmul(b, a, { ta: 1, tb: 1 });
        const [v, vt] = [await y.read(), await yt.read()];
        for (let i = 0; i < M * N; i++) {
          const t = vt[(i % N) * M + Math.floor(i / N)];
          expect(Math.abs(v[i] - t)).toBeLessThan(1e-5 * K);
        }
        const rows = sum(sum(y));
        const columns = sum(sum_leading(y));
        const [r, c] = [(await rows.read())[0], (await columns.read())[0]];
        expect(Math.abs(r - c)).toBeLessThan(1e-5 * Math.max(1, r));
        for (const t of [a, b, y, yt, rows, columns]) t.dispose();
      }),
      RUNS,
    );
  });

  test("shapes that do not fit are refused before anything runs", () => {
    fc.assert(
      fc.property(extent, extent, extent, extent, (M, K, L, N) => {
        fc.pre(K !== L);
        const [a, b] = [tensor([M, K]), tensor([L, N])];
        expect(() => matmul(a, b)).toThrow(ShapeError);
        expect(() => matmul(a, b)).toThrow(`b: expected (*C,K,N)=(*C,${K},N), got (${L},${N})`);
        a.dispose();
        b.dispose();
      }),
      RUNS,
    );
  });
});
