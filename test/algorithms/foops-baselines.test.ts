import qp from "quadprog";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { triangleTarget } from "../../algorithms/foops/experiments/analytic.ts";
import * as foops from "../../algorithms/foops/index.ts";
import type { Backend } from "../../core/index.ts";
import { threefry2x32, uniformOf } from "../../core/threefry.ts";
import { openBackend } from "../support/backends.ts";

const random = (seed: number) => {
  let i = 0;
  return () => 2 * uniformOf(threefry2x32(seed, 3, i++, 0)[0]) - 1;
};
const matrix = (n: number, m: number, next: () => number) =>
  Array.from({ length: n }, () => Array.from({ length: m }, next));
const gram = (J: number[][]) => J.map((a) => J.map((b) => foops.dot(a, b)));
const value = (Q: number[][], c: number[], x: number[]) =>
  foops.dot(x, foops.apply(Q, x)) / 2 - foops.dot(c, x);

/** quadprog counts from 1: min ½xᵀDx − dᵀx with the columns of A at least b, the first `equal` exactly. */
function quadprog(D: number[][], d: number[], A: number[][], b: number[], equal: number): number[] {
  const one = <T>(rows: T[]): T[] => [undefined as T, ...rows];
  const columns = d.map((_, i) => one(A.map((a) => a[i])));
  const { solution, message } = qp.solveQP(
    one(D.map((row) => one(row))),
    one(d),
    one(columns),
    one(b),
    equal,
  );
  expect(message).toBe("");
  return solution.slice(1);
}

describe("small solvers against quadprog", () => {
  const cases = [2, 3, 4, 5, 6].flatMap((n) => [1, 2, 3, 4].map((seed) => [n, seed]));

  test.each(cases)("quadratic over the simplex, n = %d, seed %d", (n, seed) => {
    const next = random(100 * n + seed);
    const Q = gram(matrix(n, n + 2, next));
    const c = Array.from({ length: n }, next);
    const ones = c.map(() => 1);
    const units = c.map((_, i) => c.map((_, j) => Number(i === j)));
    const zeros = c.map(() => 0);
    const want = quadprog(Q, c, [ones, ...units], [1, ...zeros], 1);
    const got = foops.simplexQp(Q, c) as number[];
    expect(value(Q, c, got)).toBeCloseTo(value(Q, c, want), 8);
    expect(got.reduce((a, b) => a + b)).toBeCloseTo(1, 9);

    // a half-space that cuts the solution off
    const a = Array.from({ length: n }, next);
    const b = foops.dot(a, want) + 0.3 * (Math.max(...a) - foops.dot(a, want));
    const cut = quadprog(Q, c, [ones, ...units, a], [1, ...zeros, b], 1);
    const half = foops.simplexQp(Q, c, { a, b }) as number[];
    expect(value(Q, c, half)).toBeCloseTo(value(Q, c, cut), 7);
    expect(foops.simplexQp(Q, c, { a, b: Math.max(...a) + 1 })).toBeUndefined();

    const free = quadprog(Q, c, units, zeros, 0);
    const lambda = foops.nonNegativeQp(Q, c) as number[];
    lambda.forEach((v, i) => {
      expect(v).toBeCloseTo(free[i], 7);
    });
  });

  test("a linear program sits in the best vertex", () => {
    expect(foops.simplexLp([1, 3, 2], [], [])).toEqual([0, 1, 0]);
    const beta = foops.simplexLp([1, 3], [[1, 0]], [0.25]) as number[];
    expect(beta[0]).toBeCloseTo(0.25, 12);
    expect(foops.simplexLp([1, 3], [[1, 0]], [2])).toBeUndefined();
  });

  test("hypervolume counts what is dominated once", () => {
    const points = [
      [0.2, 0.8],
      [0.5, 0.5],
      [0.6, 0.9],
      [1.5, 0.1],
    ];
    expect(foops.hypervolume(points, [1, 1])).toBeCloseTo(0.8 * 0.2 + 0.5 * 0.3, 12);
    expect(foops.hypervolume([[2, 2]], [1, 1])).toBe(0);
  });
});

describe("directions", () => {
  const next = random(9);
  const J = matrix(2, 5, next);
  const C = gram(J);
  const situation = {
    F: [0.4, 0.7],
    C,
    v: [4, 5],
    all: [
      [4, 5],
      [1, 3],
      [3, 1],
    ],
    t: 100,
    steps: 100,
  };
  const slopes = (rule: foops.Rule, s = situation) => foops.apply(s.C, [...rule(s).beta]);

  test("MGDA descends on every objective", () => {
    const [a, b] = slopes(foops.mgda);
    expect(Math.min(a, b)).toBeGreaterThan(0);
    // the shortest vector in the hull has the same product with both ends, unless it is an end
    const beta = foops.mgda(situation).beta;
    if (Math.min(...beta) > 0) expect(a).toBeCloseTo(b, 9);
  });

  test("FERERO corrects H at the rate c, and is a multiple of no objective's ascent", () => {
    const [row] = foops.ratioRows(situation.v);
    const H = foops.dot(row, situation.F);
    expect(foops.dot(row, slopes(foops.ferero(0.5)))).toBeCloseTo(0.5 * H, 9);
  });

  test("PMGDA keeps to its half-space where it can", () => {
    const [row] = foops.ratioRows(situation.v);
    const sign = Math.sign(foops.dot(row, situation.F));
    const eta = row.map((e) => sign * e);
    const norm = Math.sqrt(foops.dot(eta, foops.apply(C, eta)));
    const got = foops.dot(eta, slopes(foops.pmgda(0.1)));
    const best = Math.max(...foops.apply(C, eta));
    expect(got).toBeGreaterThanOrEqual(Math.min(0.1 * norm, best) - 1e-9);
  });

  test("PNG descends by κ‖g‖ on every objective while that is large", () => {
    const beta = foops.mgda(situation).beta;
    const norm = Math.sqrt(foops.dot(beta, foops.apply(C, [...beta])));
    for (const s of slopes(foops.png(0.5))) expect(s).toBeGreaterThanOrEqual(0.5 * norm - 1e-7);
  });

  test("Tchebycheff follows the worst r_m f_m as μ falls", () => {
    const { beta } = foops.tchebycheff(1e-4)({ ...situation, F: [0.9, 0.1] });
    expect(beta[1]).toBeCloseTo(0, 9);
    expect(beta[0]).toBeGreaterThan(0);
  });

  test("PMTL repairs its sector first, and stands still inside it", () => {
    const inside = { ...situation, F: [0.4, 0.5], t: 0 };
    expect(foops.pmtl(inside).beta).toEqual([0, 0]);
    const outside = { ...situation, F: [0.1, 0.9], t: 0 };
    expect(foops.pmtl(outside).beta.some((b) => b !== 0)).toBe(true);
  });

  test("EPO balances where F is not parallel to v, descends where it is", () => {
    expect(foops.epo({ ...situation, F: [0.4, 0.5] }).factor).toBe(1);
    const { beta } = foops.epo(situation);
    expect(beta.reduce((a, b) => a + b)).toBeCloseTo(1, 9);
  });
});

describe("runs", () => {
  let be: Backend;
  beforeAll(async () => {
    be = await openBackend("wasm");
  });
  afterAll(() => be.dispose());

  test("FERERO does not move from the KKT point (3, 0) of Example A.1", async () => {
    const problem = foops.toyProblem(foops.exampleA1, foops.ratio([8, 9]));
    const { rule, alpha } = foops.baselines.FERERO;
    const x = await foops.runBaseline(
      be,
      problem,
      { x: [3, 0] },
      {
        rule,
        alpha: () => alpha,
        preferences: [[8, 9]],
        steps: 50,
      },
    );
    expect(Math.hypot(x.x[0] - 3, x.x[1])).toBeLessThan(1e-6);
  });

  test("linear scalarisation is gradient descent", async () => {
    const toy: foops.Toy = { centres: [[1], [3]], saturating: false };
    const x = await foops.runBaseline(
      be,
      foops.toyProblem(toy, foops.ratio([1, 1])),
      { x: [0] },
      {
        rule: foops.linearScalarisation,
        alpha: () => 0.25,
        preferences: [[1, 3]],
        steps: 60,
      },
    );
    // weights ∝ 1/v are ¾ and ¼
    expect(x.x[0]).toBeCloseTo(1.5, 6);
  });

  test("the targets of three objectives have F parallel to v", () => {
    for (const v of [
      [1, 1, 1],
      [1, 1.2, 0.8],
      [0.8, 1.2, 1],
    ]) {
      const p = triangleTarget(v);
      const centres = [
        [1, 0],
        [-1, 0],
        [0, 1],
      ];
      const F = foops.toyObjectives({ centres, saturating: true }, p);
      for (const row of foops.ratioRows(v)) expect(foops.dot(row, F)).toBeCloseTo(0, 9);
    }
    expect(triangleTarget([1, 1.2, 0.8])[0]).toBeCloseTo(0.083, 3);
  });
});

describe("data", () => {
  test("pairs of digits: seeded, of both labels, larger of the two where they overlap", () => {
    const a = foops.digitPairs(1, 50, 30, 2);
    expect(a.train.x).toEqual(foops.digitPairs(1, 50, 30, 2).train.x);
    expect(foops.digitPairs(2, 50, 30, 2).train.left).not.toEqual(a.train.left);
    expect(a.train.x).toHaveLength(50 * 18 * 18);
    expect(a.test.x.every((v) => v >= 0 && v <= 1)).toBe(true);
    // averaging 2×2 keeps the sum of each image
    const full = foops.digitPairs(1, 50, 30);
    const total = (x: Float32Array, size: number) => x.subarray(0, size).reduce((s, v) => s + v, 0);
    expect(total(a.train.x, 324) * 4).toBeCloseTo(total(full.train.x, 1296), 2);
    // nothing of the upper left digit reaches the last 8 columns of the first 8 rows
    expect(full.train.x.subarray(28, 36).every((v) => v === 0)).toBe(true);
  });

  test("pairs of templates have mean 0 and all ten labels", () => {
    const { train } = foops.templatePairs(1, 300, 10);
    expect(train.x.reduce((s, v) => s + v, 0) / train.x.length).toBeCloseTo(0, 4);
    expect(new Set(train.left).size).toBe(10);
    expect(new Set(train.right).size).toBe(10);
  });

  test("a pass through the batches meets every image once", () => {
    const { train } = foops.templatePairs(1, 60, 10);
    const next = foops.batchOf(train, 20, 1);
    const seen = [0, 1, 2].flatMap((t) => Array.from(next(t).left));
    expect(seen.sort()).toEqual(Array.from(train.left).sort());
    expect(Array.from(next(3).left)).not.toEqual(Array.from(next(0).left));
  });

  test("penguins: 333 whole rows, standardised, three species", () => {
    const { x, y, group } = foops.penguins();
    expect(y).toHaveLength(333);
    expect([0, 1, 2].map((g) => group.filter((k) => k === g).length)).toEqual([146, 68, 119]);
    for (let k = 0; k < 4; k++) {
      const column = Array.from(y, (_, i) => x[4 * i + k]);
      expect(column.reduce((a, b) => a + b) / 333).toBeCloseTo(0, 5);
      expect(column.reduce((s, v) => s + v * v, 0) / 333).toBeCloseTo(1, 5);
    }
  });

  test("the LeNet of the paper takes a FOOPS step on two digits", async () => {
    using be = await openBackend("wasm");
    const { train } = foops.digitPairs(1, 16, 8);
    const problem = foops.headsProblem(foops.lenet, 16, foops.ratio([1, 1]));
    const config = { ...foops.defaults, tau: 1, gamma: 1, theta: 1, alpha: 0.01, innerSteps: 1 };
    const start = foops.startOf(foops.lenet, 1);
    const { look } = await foops.solve(be, problem, config, start, {
      steps: 5,
      batch: foops.batchOf(train, 16, 1),
      warn: () => {},
    });
    const guess = Math.log(10);
    for (const f of look.F) expect(Math.abs(f - guess)).toBeLessThan(2);
    const { F, accuracy } = await foops.judge(be, foops.lenet, start, train);
    expect(F[0]).toBeGreaterThan(1);
    expect(accuracy.every((a) => a >= 0 && a <= 1)).toBe(true);
  });
});
