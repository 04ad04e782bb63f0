import { describe, expect, test, vi } from "vitest";
import * as foops from "../../algorithms/foops/index.ts";
import {
  type Backend,
  capture,
  ShapeError,
  scope,
  type Tensor,
  ValueError,
} from "../../core/index.ts";
import { threefry2x32, uniformOf } from "../../core/threefry.ts";
import { matmul, mean, mul, softmax_xent, square, sub, sum, tanh } from "../../kernels/index.ts";
import { others, ref } from "../support/all-backends.ts";

const { defaults } = foops;
const uniform = (i: number, lo: number, hi: number) =>
  lo + (hi - lo) * uniformOf(threefry2x32(5, 9, i, 0)[0]);
const quiet = { warn: () => {} };
const first = (F: Tensor) => sum(F); // a preference where none matters

/** The merit function and its gradient after so many inner steps from y_0 = x, or from `y`. */
async function merit(
  be: Backend,
  problem: foops.Problem,
  config: Partial<foops.Config>,
  x: Readonly<Record<string, ArrayLike<number>>>,
  innerSteps: number,
) {
  using s = foops.init(be, problem, { ...defaults, ...config }, x, quiet);
  const { tau } = s.config;
  const Fx = scope(() => foops.valuesAt(s));
  using inner = await capture(be, () => foops.innerStep(s, Fx));
  for (let k = 0; k < innerSteps; k++) inner.run();
  const { v, pi } = scope(() => foops.meritGradient(s));
  // the numbers of the reference are f64, and reading rounds
  const numbers = async (t: Tensor): Promise<number[]> =>
    Array.from(be === ref ? t.view() : await t.read());
  const named = async (ts: Readonly<Record<string, Tensor>>) => {
    const pairs = Object.entries(ts).map(async ([n, t]) => [n, await numbers(t)] as const);
    return Object.fromEntries(await Promise.all(pairs));
  };
  const shift = tau * Math.log(problem.M);
  const result = {
    v: (await numbers(v)).map((u) => u - shift),
    pi: await numbers(pi),
    gradient: await named(s.x.grad.tensors),
    y: await named(s.y.tensors),
  };
  for (const t of [v, pi, Fx]) t.dispose();
  return result;
}

/** A step that contracts h(x, ·) of Fig. 2, whose curvature is 12 + l + 144 π₁π₂/τ. */
const lineBeta = (l: number, tau: number) => 1 / (12 + l + 36 / tau);
const line = (be: Backend, xs: number[], l: number, tau: number, steps = 4000) =>
  merit(
    be,
    foops.toyProblem(foops.figure2, first, xs.length),
    { l, tau, beta: lineBeta(l, tau) },
    { x: xs },
    steps,
  );

describe("T1: the merit function of Fig. 2", () => {
  const outside = (x: number) => Math.max(0, Math.abs(x) - 0.5);

  test.each([
    [0.75, 2, 0.1, 0.321429],
    [0.25, 0, 0.1, -0.056715],
    [0.5, 0, 0.1, -0.008079],
    [1, 10, 0.01, 0.818182],
    [0, 2, 0.1, -0.1 * Math.log(2)],
  ])("v(%d), l = %d, τ = %d is %d", async (x, l, tau, want) => {
    const { v } = await line(ref, [x], l, tau, 20000);
    expect(Math.abs(v[0] - want)).toBeLessThan(1e-6);
  });

  test("y* lies at (6 + l x)/(12 + l) for x outside and τ small", async () => {
    for (const l of [0, 2, 10]) {
      const { y } = await line(ref, [0.75, 1], l, 0.01, 12000);
      [0.75, 1].forEach((x, i) => {
        expect(y.x[i]).toBeCloseTo((6 + l * x) / (12 + l), 6);
      });
    }
  });

  test("P1–P3 at 200 random (x, l, τ)", async () => {
    for (let k = 0; k < 8; k++) {
      const l = uniform(2 * k, 0, 10);
      const tau = uniform(2 * k + 1, 0.05, 0.5);
      const xs = Array.from({ length: 25 }, (_, i) => uniform(100 + 25 * k + i, -1, 1));
      const { v } = await line(ref, xs, l, tau, 2000);
      const room = tau * Math.log(2);
      xs.forEach((x, i) => {
        const u = (72 / (12 + l)) * outside(x) ** 2;
        // P1: u − τ ln M <= v <= u, and so v >= −τ ln M; P3: v <= 0 on the Pareto set [−½, ½].
        expect(v[i]).toBeGreaterThan(u - room - 1e-6);
        expect(v[i]).toBeLessThan(u + 1e-6);
        expect(v[i]).toBeGreaterThan(-room - 1e-6);
        if (Math.abs(x) <= 0.5) expect(v[i]).toBeLessThan(1e-6);
      });
    }
  });

  test("P2: v = −τ ln M at the minimiser of the uniform average, and more elsewhere", async () => {
    const { v, y } = await line(ref, [0, 0.2, -0.4], 1, 0.1);
    expect(v[0]).toBeCloseTo(-0.1 * Math.log(2), 9);
    expect(y.x[0]).toBeCloseTo(0, 9);
    expect(Math.min(v[1], v[2])).toBeGreaterThan(v[0] + 1e-3);
  });

  test("wasm and WebGPU agree", async () => {
    for (const be of others) {
      const { v, pi } = await line(be, [0.75, 0.25], 2, 0.1, 400);
      expect(v[0]).toBeCloseTo(0.321429, 5);
      expect(pi[2] + pi[3]).toBeCloseTo(1, 6);
    }
  });
});

describe("invariants of the merit function", () => {
  const xs = [0.75, 0.3, -0.9];
  const at = (toy: foops.Toy, more: Partial<foops.Config> = {}) =>
    merit(
      ref,
      foops.toyProblem(toy, first, xs.length),
      { l: 1, tau: 0.1, beta: lineBeta(1, 0.1), ...more },
      { x: xs },
      3000,
    );

  test("a constant added to an objective changes nothing", async () => {
    const a = await at(foops.figure2);
    const b = await at({ ...foops.figure2, offsets: [5, 0.125] });
    a.v.forEach((v, i) => {
      expect(b.v[i]).toBeCloseTo(v, 9);
    });
    expect(b.y.x[0]).toBeCloseTo(a.y.x[0], 9);
  });

  test("F → cF, τ → cτ, l → cl scales v by c", async () => {
    const a = await at(foops.figure2);
    const toy = { ...foops.figure2, weights: [[18], [18]] };
    const b = await at(toy, { tau: 0.3, l: 3, beta: lineBeta(1, 0.1) / 3 });
    a.v.forEach((v, i) => {
      expect(b.v[i]).toBeCloseTo(3 * v, 9);
    });
  });

  test("objectives in another order have their π in that order", async () => {
    const a = await at(foops.figure2);
    const b = await at({ ...foops.figure2, centres: [[0.5], [-0.5]] });
    a.pi.forEach((p, i) => {
      expect(b.pi[i ^ 1]).toBeCloseTo(p, 9);
    });
  });

  test("every objective given twice changes τ ln M and nothing else", async () => {
    const { centres } = foops.figure2;
    const a = await at(foops.figure2);
    const b = await at({
      saturating: false,
      centres: [...centres, ...centres],
      weights: [[6], [6], [6], [6]],
    });
    a.v.forEach((v, i) => {
      expect(b.v[i]).toBeCloseTo(v - 0.1 * Math.log(2), 9);
    });
    expect(b.y.x[1]).toBeCloseTo(a.y.x[1], 9);
  });

  test("scales s_m are a division of the objectives", async () => {
    const a = await at(foops.figure2);
    const b = await at(
      {
        ...foops.figure2,
        weights: [[48], [3]],
        offsets: [1, 0.0625],
      },
      { scales: [8, 0.5] },
    );
    a.v.forEach((v, i) => {
      expect(b.v[i]).toBeCloseTo(v, 9);
    });
  });

  test("v + τ ln M >= ((l − L_f)/2)‖x − y*‖² for l above the smoothness L_f (Lemma D.6)", async () => {
    const l = 20;
    const { v, y } = await at(foops.figure2, { l, beta: lineBeta(l, 0.1) });
    xs.forEach((x, i) => {
      const bound = ((l - 12) / 2) * (x - y.x[i]) ** 2;
      expect(v[i] + 0.1 * Math.log(2)).toBeGreaterThanOrEqual(bound - 1e-9);
    });
  });
});

describe("T2: the gradient by Danskin's theorem", () => {
  /** Largest error of ∇v against central differences, relative to ‖∇v‖, over some coordinates. */
  async function error(
    problem: foops.Problem,
    config: Partial<foops.Config>,
    near: Record<string, number[]>,
    steps: number,
    coordinates: [string, number][],
  ) {
    // written as f32: x ± h are exact in it
    const h = 2 ** -16;
    const x = Object.fromEntries(
      Object.entries(near).map(([n, p]) => [n, p.map((v) => Math.round(v * 1024) / 1024)]),
    );
    const { gradient } = await merit(ref, problem, config, x, steps);
    const norm = Math.hypot(...Object.values(gradient).flat());
    let worst = 0;
    for (const [name, e] of coordinates) {
      const at = async (d: number) => {
        const moved = x[name].map((v, i) => (i === e ? v + d : v));
        return (await merit(ref, problem, config, { ...x, [name]: moved }, steps)).v[0];
      };
      const slope = ((await at(h)) - (await at(-h))) / (2 * h);
      worst = Math.max(worst, Math.abs(gradient[name][e] - slope) / norm);
    }
    return worst;
  }

  test("on the line it is 2.571429 at x = 0.75, l = 2, τ = 0.1", async () => {
    const { gradient } = await line(ref, [0.75], 2, 0.1);
    expect(gradient.x[0]).toBeCloseTo(2.571429, 6);
  });

  test.each<[string, foops.Toy, number[], Partial<foops.Config>, number]>([
    ["the line", foops.figure2, [0.7], { l: 2, tau: 0.1, beta: lineBeta(2, 0.1) }, 3000],
    ["Example A.1", foops.exampleA1, [2, 0.5], { l: 0.5, tau: 0.1, beta: 0.05 }, 3000],
    [
      "20 dimensions",
      foops.exponential(20),
      Array.from({ length: 20 }, (_, i) => (i % 2 ? -0.1 : 0.15)),
      { l: 1, tau: 0.2, beta: 0.1 },
      1500,
    ],
  ])("%s", async (_, toy, x, config, steps) => {
    const problem = foops.toyProblem(toy, first);
    const coordinates = [...new Set([0, x.length - 1])].map((e): [string, number] => ["x", e]);
    expect(await error(problem, config, { x }, steps, coordinates)).toBeLessThan(1e-5);
  });

  test("an MLP with two heads", async () => {
    const data = Array.from({ length: 6 * 4 }, (_, i) => Math.sin(2.3 * i));
    const labels = [0, 1, 2, 0, 1, 2];
    const problem: foops.Problem = {
      M: 2,
      params: { w: [4, 3], a: [3, 3], b: [3, 3] },
      losses: ({ w, a, b }) => {
        const h = tanh(matmul(w.backend.tensor([6, 4], data), w));
        return [a, b].map((head, k) => {
          const y = w.backend.tensor(
            [6],
            labels.map((c) => (c + k) % 3),
            "i32",
          );
          return mean(softmax_xent(matmul(h, head), y).loss);
        });
      },
      preference: foops.fairness(0, 1),
    };
    const x = {
      w: Array.from({ length: 12 }, (_, i) => Math.cos(i)),
      a: Array.from({ length: 9 }, (_, i) => Math.cos(3 * i + 1)),
      b: Array.from({ length: 9 }, (_, i) => Math.sin(2 * i)),
    };
    const config = { l: 2, tau: 1, beta: 0.2 };
    const found = await error(problem, config, x, 300, [
      ["w", 1],
      ["a", 4],
    ]);
    expect(found).toBeLessThan(1e-5);
  });
});

/** Runs from `starts` side by side on wasm; x of each. */
async function solveToy(
  toy: foops.Toy,
  preference: foops.Problem["preference"],
  starts: readonly (readonly number[])[],
  config: Partial<foops.Config>,
  steps: number,
) {
  const problem = foops.toyProblem(toy, preference, starts.length);
  const { x } = await foops.solve(
    others[0],
    problem,
    { ...defaults, ...config },
    { x: starts.flat() },
    { steps, ...quiet },
  );
  const q = starts[0].length;
  return starts.map((_, r) => Array.from(x.x.subarray(r * q, (r + 1) * q)));
}

describe("T3: Example A.1 from (3, 0)", () => {
  const H = foops.ratio([8, 9]);
  const beta = (tau: number) => (tau === 0.02 ? 0.01 : 0.05);
  const solveA1 = async (c: { theta: number; gamma: number; l: number; tau: number }) => {
    const config = { ...c, innerSteps: 10, beta: beta(c.tau), alpha: 0.05 / Math.max(1, c.gamma) };
    const [[x1, x2]] = await solveToy(foops.exampleA1, H, [[3, 0]], config, 4000);
    return { x1, off: Math.hypot(x1 - 0.6, x2) };
  };

  test.each([0, 0.5, 2].flatMap((l) => [0.02, 0.1].map((tau) => [l, tau])))(
    "θ = 2 finds (0.6, 0), l = %d, τ = %d",
    async (l, tau) => {
      expect((await solveA1({ theta: 2, gamma: 1, l, tau })).off).toBeLessThan(1e-4);
    },
  );

  test("θ = 1 has a bias that grows with γτ", async () => {
    const off: number[] = [];
    for (const tau of [0.02, 0.1, 0.5])
      off.push((await solveA1({ theta: 1, gamma: 1, l: 0, tau })).off);
    [0.0027, 0.0101, 0.0215].forEach((want, i) => {
      expect(off[i]).toBeCloseTo(want, 4);
    });
  });

  test("θ = 1: γ → ∞ drifts to the uniform minimiser (2/3, 0), γ = 0.1 hardly moves", async () => {
    const strong = await solveA1({ theta: 1, gamma: 100, l: 0, tau: 0.1 });
    expect(Math.abs(strong.x1 - 2 / 3)).toBeLessThan(0.004);
    const weak = await solveA1({ theta: 1, gamma: 0.1, l: 0, tau: 0.1 });
    expect(Math.abs(weak.x1 - 2.75)).toBeLessThan(0.01);
  });
});

describe("T4: Example 3.12, q = 1", () => {
  const starts = Array.from({ length: 19 }, (_, i) => [-0.9 + 0.1 * i]);

  test("every start in [−0.9, 0.9] ends at x* = 0.095248", async () => {
    const config = { theta: 1, tau: 0.05, l: 1, gamma: 1, alpha: 0.05, beta: 0.1 };
    const xs = await solveToy(foops.exponential(1), foops.ratio([4, 5]), starts, config, 2000);
    for (const [x] of xs) expect(Math.abs(x - 0.095248)).toBeLessThan(0.005);
  });

  test("F* there is what the preference asks for", () => {
    const F = foops.toyObjectives(foops.exponential(1), [0.095248]);
    expect(F[0]).toBeCloseTo(0.558941, 5);
    expect(F[1]).toBeCloseTo(0.698676, 5);
    expect(foops.frontResidual(F)).toBeLessThan(1e-9);
  });
});

describe("every backend", () => {
  const problem = foops.toyProblem(foops.exponential(20), foops.ratio([4, 5], [1, 3]), 2);
  const x0 = Array.from({ length: 40 }, (_, i) => 0.4 * Math.sin(i));
  const configs: Record<string, Partial<foops.Config>> = {
    "θ = 2": {},
    "θ = 1, l > 0, momentum": { theta: 1, l: 0.5, gamma: 1, outer: "momentum", inner: "nesterov" },
    "θ = 1.5, Adam, scales": {
      theta: 1.5,
      outer: "adam",
      inner: "adam",
      scales: [2, 0.5],
      alpha: 0.01,
      beta: 0.01,
    },
  };
  const twenty = async (be: Backend, config: Partial<foops.Config>, boxed = false) => {
    using s = foops.init(
      be,
      boxed ? { ...problem, box: [0.05, 0.06] } : problem,
      { ...defaults, ...config },
      { x: x0 },
      quiet,
    );
    using step = await capture(be, ({ scalar: { t } }) => foops.step(s, {}, { t }), {
      scalars: { t: { start: 1 } },
    });
    for (let t = 0; t < 20; t++) step.run();
    return [
      ...(await s.x.tensors.x.read()),
      ...(await s.y.tensors.x.read()),
      ...(await step.out.F.read()),
      ...(await step.out.v.read()),
    ];
  };

  test.each(Object.entries(configs))("20 steps, %s", async (_, config) => {
    const want = await twenty(ref, config);
    for (const be of others) {
      const got = await twenty(be, config);
      got.forEach((v, i) => {
        expect(Math.abs(v - want[i]), `${be.name}, ${i}`).toBeLessThan(2e-4);
      });
    }
  });

  test("x and y stay in the box", async () => {
    for (const be of [ref, ...others]) {
      const x = (await twenty(be, {}, true)).slice(0, 80);
      expect(Math.min(...x), be.name).toBeGreaterThan(0.05 - 1e-6);
      expect(Math.max(...x), be.name).toBeLessThan(0.06 + 1e-6);
    }
  });

  test("a step is one recording, its inner steps included", async () => {
    using s = foops.init(others[0], problem, defaults, { x: x0 }, quiet);
    using step = await capture(others[0], () => foops.step(s));
    const before = await s.x.flat.read();
    step.run();
    expect(await s.x.flat.read()).not.toEqual(before);
    expect(step.dispatches).toBeLessThan(150);
  });
});

describe("one objective", () => {
  test("M = 1: v = f − min f, and FOOPS is a simple bilevel method", async () => {
    const toy: foops.Toy = { centres: [[1, 2]], weights: [[1, 0]], saturating: false };
    // towards (5, 3): exactly 3, and where the pull 2(x₁ − 5) meets γ 2(x₁ − 1)
    const preference: foops.Problem["preference"] = (_, { x }) =>
      sum(square(sub(x, x.backend.tensor([2], [5, 3]))).reshape([2]));
    const config = { theta: 1, gamma: 100, tau: 0.1, alpha: 0.005, beta: 0.3 };
    const [[x1, x2]] = await solveToy(toy, preference, [[0, 0]], config, 2000);
    expect(x1).toBeCloseTo(105 / 101, 4);
    expect(x2).toBeCloseTo(3, 4);
  });
});

describe("bad input", () => {
  const problem = foops.toyProblem(foops.exponential(2), foops.ratio([1, 2]));
  const start = { x: [0.1, 0.2] };

  test.each<[Partial<foops.Config>, RegExp]>([
    [{ tau: 0 }, /tau: expected finite and > 0, got 0/],
    [{ l: -1 }, /l: expected finite and >= 0, got -1/],
    [{ gamma: Number.NaN }, /gamma: expected finite and >= 0, got NaN/],
    [{ theta: 0.5 }, /theta: expected finite and >= 1, got 0.5/],
    [{ innerSteps: 0 }, /innerSteps: expected an integer >= 1, got 0/],
    [{ outer: "lbfgs" as foops.Oracle }, /outer: expected one of pgd, .*, got lbfgs/],
    [{ scales: [1] }, /scales: expected one for each of 2 objectives, got 1/],
    [{ scales: [1, 0] }, /scales: expected finite and > 0, got 1,0/],
  ])("%o", (bad, message) => {
    const make = () => foops.init(ref, problem, { ...defaults, ...bad }, start, quiet);
    expect(make).toThrow(ValueError);
    expect(make).toThrow(message);
  });

  test("no objectives, or another number than was said", () => {
    expect(() => foops.init(ref, { ...problem, M: 0 }, defaults, start, quiet)).toThrow(
      /M: expected an integer >= 1, got 0/,
    );
    using s = foops.init(ref, { ...problem, M: 3 }, defaults, start, quiet);
    expect(() => foops.step(s)).toThrow(ShapeError);
    expect(() => foops.step(s)).toThrow(/losses: expected \(R,M\)=\(1,3\).*got \(1,2\)/);
    const two = { ...problem, losses: ({ x }: foops.Named) => [sum(x.reshape([2]))] };
    using t = foops.init(ref, two, defaults, start, quiet);
    expect(() => foops.step(t)).toThrow(/or M of \(R\), got \(\)/);
  });

  test.each([[[0, 1]], [[1, -2]], [[1, Number.NaN]], [[1]]])("a dead preference %o", (v) => {
    expect(() => foops.ratio(v)).toThrow(/preference v: expected two or more finite entries > 0/);
  });

  test("a parameter without a start", () => {
    expect(() => foops.init(ref, problem, defaults, {}, quiet)).toThrow(/got no x/);
  });

  test("l below the weak-convexity modulus, and γ τ ln M beside the preference, are warned of", () => {
    const warn = vi.fn();
    foops.init(ref, problem, defaults, start, { warn })[Symbol.dispose]();
    expect(warn).toHaveBeenCalledExactlyOnceWith(
      expect.stringMatching(/l = 0 is not above the weak-convexity modulus 0\.8925/),
    );
    warn.mockClear();
    const c = { ...defaults, l: 1, theta: 1 };
    foops.init(ref, problem, c, start, { warn, preferenceRange: 1 })[Symbol.dispose]();
    expect(warn).toHaveBeenCalledExactlyOnceWith(expect.stringMatching(/γ τ ln M = 0\.347/));
    warn.mockClear();
    foops.init(ref, problem, { ...c, theta: 2 }, start, { warn })[Symbol.dispose]();
    expect(warn).not.toHaveBeenCalled();
  });

  test.each([Number.NaN, Number.POSITIVE_INFINITY])("objectives of %d", async (bad) => {
    const poisoned: foops.Problem = {
      ...problem,
      inputs: { c: [] },
      losses: (p, { c }) => mul(problem.losses(p, {}) as Tensor, c),
    };
    const run = (be: Backend, times: number, steps: number) =>
      foops.solve(be, poisoned, defaults, start, {
        ...quiet,
        steps,
        every: 1,
        batch: (t) => ({ c: [t >= 2 && t < 2 + times ? bad : 1] }),
      });
    for (const be of [ref, ...others]) {
      // two bad steps are skipped, as if they had not been
      const { x, look } = await run(be, 2, 6);
      const clean = await run(be, 0, 4);
      x.x.forEach((v, i) => {
        expect(v, be.name).toBeCloseTo(clean.x.x[i], 6);
      });
      expect(look.F.every(Number.isFinite)).toBe(true);
      const failed = run(be, 3, 6);
      await expect(failed, be.name).rejects.toThrow(foops.FoopsNotFinite);
      await expect(failed).rejects.toMatchObject({ code: "FoopsNotFinite" });
    }
  });

  test("x that l pushes away on flat losses", async () => {
    // nothing but l acts so far outside: x − y grows by α γ l in each step, y follows by β l
    const flat = foops.toyProblem(foops.exponential(2), (_, { x }) => sum(x.reshape([2])));
    const config = {
      ...defaults,
      theta: 1,
      gamma: 1,
      l: 1,
      alpha: 0.02,
      beta: 0.01,
      innerSteps: 1,
    };
    const run = (allowDivergence: boolean) =>
      foops.solve(
        others[0],
        flat,
        config,
        { x: [9, 9] },
        { ...quiet, steps: 300, allowDivergence },
      );
    await expect(run(false)).rejects.toThrow(foops.FoopsDiverged);
    await expect(run(false)).rejects.toThrow(/l = 1 pushes x away from y\*/);
    expect((await run(true)).look.t).toBe(300);
  });
});
