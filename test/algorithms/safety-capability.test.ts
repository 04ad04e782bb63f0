import { describe, expect, test } from "vitest";
import * as sc from "../../algorithms/safety-capability/index.ts";
import { Stream } from "../../algorithms/safety-capability/random.ts";
import {
  answered,
  forNetwork,
  network,
  PROMPT,
  startOf,
  teachersOf,
} from "../../algorithms/safety-capability/teachers.ts";
import { type Backend, scope, TilegradError, ValueError } from "../../core/index.ts";
import { others, ref } from "../support/all-backends.ts";

const { defaults } = sc;
const quiet = { warn: () => {} };
const bits = (v: Float32Array) => new Uint32Array(v.buffer, v.byteOffset, v.length);

/** Small data of S3: task by teacher B, proxy by teacher A. */
function data(n = 64) {
  const { A, B } = teachersOf(3);
  const seen = new Set<string>();
  const task = forNetwork(answered(B, 0, n, new Stream(3, 1), seen));
  const proxy = forNetwork(answered(A, 0, n, new Stream(3, 2), seen));
  return { task, proxy };
}
const start = startOf(3);

const tuned = (
  be: Backend,
  config: Partial<sc.Config>,
  steps = 12,
  o: Partial<sc.TrainOptions> = {},
) =>
  sc.train(be, network, { ...defaults, batch: 16, ...config }, start, data(), {
    steps,
    seed: 1,
    ...quiet,
    ...o,
  });

describe("what the strategies must agree on, bit for bit", () => {
  test("λ = 0 and ε = ∞ are plain fine-tuning", async () => {
    for (const be of others) {
      const plain = await tuned(be, { strategy: "plain" });
      const penalty = await tuned(be, { strategy: "loss", lambda: 0 });
      const ball = await tuned(be, { strategy: "ball", eps: Number.POSITIVE_INFINITY });
      const wide = await tuned(be, { strategy: "ball", eps: 1e6 });
      expect(plain.distance).toBeGreaterThan(0.1);
      for (const other of [penalty, ball, wide])
        expect(bits(other.theta)).toEqual(bits(plain.theta));
    }
  });

  test("ε = 0 returns θ_s, a mask of nothing too", async () => {
    for (const be of others) {
      using s = sc.init(be, network, { ...defaults, strategy: "ball", batch: 16 }, start);
      const before = await s.theta.save();
      const next = sc.batches(network, s.config, data().task, undefined, 1);
      for (let t = 1; t <= 3; t++) {
        scope(() => {
          const batch = sc.tensorsOf(be, network, 16, next());
          sc.step(s, batch, { eps: 0, t });
        });
      }
      expect(bits(await s.theta.save())).toEqual(bits(before));
      const masked = await tuned(be, { strategy: "masked" }, 3, { trainable: () => false });
      expect(bits(masked.theta)).toEqual(bits(before));
    }
  });

  test("a run is the same twice", async () => {
    for (const be of others) {
      const [a, b] = [await tuned(be, {}), await tuned(be, {})];
      expect(bits(a.theta)).toEqual(bits(b.theta));
    }
  });
});

describe("the step", () => {
  test("wasm and WebGPU follow the reference", async () => {
    const configs: Partial<sc.Config>[] = [
      { strategy: "loss", lambda: 3 },
      { strategy: "ball", eps: 0.2 },
      { strategy: "proximal", rho: 1 },
    ];
    for (const config of configs) {
      const want = await tuned(ref, config, 8);
      for (const be of others) {
        const got = await tuned(be, config, 8);
        const off = Math.max(...got.theta.map((v, i) => Math.abs(v - want.theta[i])));
        // Adam turns a gradient of rounding errors into a step of lr: where there is none, 8 steps of it
        expect(off).toBeLessThan(2e-3);
        expect(Math.abs(got.distance - want.distance)).toBeLessThan(1e-3 * want.distance);
      }
    }
  });

  test("F holds the two means, and the gradient is that of their weighted sum", async () => {
    const lambda = 3;
    using s = sc.init(ref, network, { ...defaults, lambda, batch: 8 }, start);
    const { task, proxy } = data(8);
    const rows = Array.from({ length: 8 }, (_, i) => i);
    const given = sc.batchOf(network.format, [
      { from: task, rows },
      { from: proxy, rows },
    ]);
    const F = scope(() => {
      return sc.gradient(s, sc.tensorsOf(ref, network, 16, given));
    });
    const theta = await s.theta.save();
    const grad = await s.theta.grad.save();
    const losses = async (at: Float32Array) => [
      await sc.evaluate(ref, network, at, task),
      await sc.evaluate(ref, network, at, proxy),
    ];
    const [f, sh] = await losses(theta);
    const found = Array.from(F.view());
    F.dispose();
    expect(found[0]).toBeCloseTo(f, 5);
    expect(found[1]).toBeCloseTo(sh, 5);
    // along the gradient, by central differences; θ is read and written as f32
    const size = Math.sqrt(grad.reduce((n, g) => n + g * g, 0));
    const h = 0.01;
    const at = async (sign: number) => {
      const [a, b] = await losses(theta.map((v, i) => v + (sign * h * grad[i]) / size));
      return (a + lambda * b) / (1 + lambda);
    };
    expect(((await at(1)) - (await at(-1))) / (2 * h) / size).toBeCloseTo(1, 2);
  });

  test("a ball is reached, and momentum does not push against it", async () => {
    for (const be of others) {
      const { theta, distance } = await tuned(be, { strategy: "ball", eps: 0.5 }, 60);
      expect(distance).toBeGreaterThan(0.495);
      expect(distance).toBeLessThan(0.5001);
      expect(theta.every(Number.isFinite)).toBe(true);
    }
  });

  test("a constraint that never binds is told", async () => {
    const told: string[] = [];
    await tuned(others[0], { strategy: "ball", eps: 50 }, 2, { warn: (m) => told.push(m) });
    expect(told).toHaveLength(1);
    expect(told[0]).toMatch(/not active/);
  });

  test("EWC with a Fisher diagonal of ones is the proximal strategy", async () => {
    const [be] = others;
    const size = Object.values(network.params).reduce(
      (n, s) => n + Math.ceil(s.reduce((a, b) => a * b) / 64) * 64,
      0,
    );
    const near = await tuned(be, { strategy: "proximal", rho: 2 });
    const fisher = new Float32Array(size).fill(1);
    const ewc = await tuned(be, { strategy: "ewc", rho: 2 }, 12, { fisher });
    expect(bits(ewc.theta)).toEqual(bits(near.theta));
    const plain = await tuned(be, { strategy: "plain" });
    expect(near.distance).toBeLessThan(plain.distance);
  });
});

describe("bad input", () => {
  const code = async (f: () => unknown): Promise<string> => {
    try {
      await f();
    } catch (e) {
      if (e instanceof TilegradError) return e.code;
      throw e;
    }
    return "none";
  };

  test.each([
    [{ strategy: "ball", eps: 0 }, /eps: expected > 0/],
    [{ strategy: "ball", eps: -1 }, /eps: expected > 0/],
    [{ strategy: "ball", eps: Number.NaN }, /eps: expected > 0.* got NaN/],
    [{ lambda: -1 }, /lambda: expected finite and >= 0, got -1/],
    [{ lambda: Number.POSITIVE_INFINITY }, /lambda/],
    [{ strategy: "proximal", rho: 0 }, /rho/],
    [{ lr: Number.NaN }, /lr/],
    [{ batch: 0 }, /batch/],
    [{ strategy: "case III" }, /strategy: expected one of plain, loss, ball/],
  ])("%o is refused", async (config, words) => {
    const bad = { ...defaults, ...config } as sc.Config;
    expect(() => sc.checkConfig(bad)).toThrow(ValueError);
    expect(() => sc.checkConfig(bad)).toThrow(words);
    expect(await code(() => sc.checkConfig(bad))).toBe("RangeError");
    await expect(tuned(others[0], config as Partial<sc.Config>)).rejects.toThrow(words);
  });

  test("strategies say what they lack", () => {
    for (const strategy of ["ewc", "masked"] as const)
      expect(() => sc.init(others[0], network, { ...defaults, strategy }, start)).toThrow(
        /expects/,
      );
  });

  test("an overlap or a similarity outside [0, 1]", async () => {
    for (const ov of [-0.1, 1.5, Number.NaN])
      expect(await code(() => sc.randomLaws(1, ov))).toBe("RangeError");
    expect(await code(() => sc.proxyOf(sc.randomLaws(1, 0.5), 2))).toBe("RangeError");
    const { s, f } = sc.randomLaws(1, 0.5);
    expect(await code(() => sc.tabularOptimum(f, s, -1, s.P))).toBe("RangeError");
    const r = sc.regression(1);
    expect(await code(() => sc.caseTwo(r, f, new Float64Array(60), 0))).toBe("RangeError");
  });

  test("a KL that is infinite is clipped and flagged", () => {
    const { value, infiniteGap } = sc.kl([0.5, 0.5], [1, 0]);
    expect(infiniteGap).toBe(true);
    expect(value).toBeCloseTo(0.5 * Math.log(0.5) + 0.5 * Math.log(0.5 / 1e-12), 9);
    expect(sc.kl([1, 0], [0.5, 0.5])).toEqual({ value: Math.log(2), infiniteGap: false });
    const law = {
      mu: [1, 0],
      P: [
        [0.5, 0.5],
        [1, 0],
      ],
    };
    expect(
      sc.gap(law, [
        [1, 0],
        [0, 1],
      ]).infiniteGap,
    ).toBe(true);
    // no one asks in context 1
    expect(
      sc.gap(law, [
        [0.5, 0.5],
        [0, 1],
      ]),
    ).toEqual({ value: 0, infiniteGap: false });
  });

  test("data without tokens", async () => {
    const { task, proxy } = data();
    const empty = { ...task, n: 0, keep: new Uint8Array(0) };
    const masked = { ...proxy, keep: new Uint8Array(proxy.keep.length) };
    const run = (d: { task: sc.Examples; proxy?: sc.Examples }) =>
      sc.train(others[0], network, { ...defaults, batch: 4 }, start, d, { steps: 1, seed: 1 });
    await expect(run({ task: empty, proxy })).rejects.toThrow(sc.EmptyLoss);
    await expect(run({ task, proxy: masked })).rejects.toThrow(/proxy: expected an answer token/);
    await expect(run({ task })).rejects.toThrow(sc.EmptyLoss);
    await expect(sc.evaluate(others[0], network, new Float32Array(0), empty)).rejects.toThrow(
      sc.EmptyLoss,
    );
  });

  test("prompts that are trained on and judged on", () => {
    const { task, proxy } = data();
    expect(() => sc.assertHeldOut("safety", task, proxy)).not.toThrow();
    const mixed = { ...proxy, prompts: [...proxy.prompts, task.prompts[5], task.prompts[7]] };
    expect(() => sc.assertHeldOut("safety", task, mixed)).toThrow(sc.PromptOverlap);
    expect(() => sc.assertHeldOut("safety", task, mixed)).toThrow(
      `got 2 that are: '${task.prompts[5]}'`,
    );
  });
});

describe("theory, by itself", () => {
  test("JS_w is at most the entropy of w, and 0 between equals", () => {
    const stream = new Stream(5, 5);
    for (let k = 0; k < 200; k++) {
      const [p, q] = [stream.dirichlet(6, 0.3), stream.dirichlet(6, 0.3)];
      const w = stream.uniform();
      const entropy = w > 0 ? -w * Math.log(w) - (1 - w) * Math.log(1 - w) : 0;
      const js = sc.jensenShannon(w, p, q);
      expect(js).toBeGreaterThanOrEqual(-1e-12);
      expect(js).toBeLessThanOrEqual(entropy + 1e-12);
      expect(Math.abs(sc.jensenShannon(w, p, p))).toBeLessThan(1e-12);
      expect(sc.kl(p, q).value).toBeGreaterThanOrEqual(0);
    }
  });

  test("R2 per context: KL(P_s ‖ P_λ) <= ln(1 + μ_f/(λ μ_s))", () => {
    const { s, f } = sc.randomLaws(2, 0.5);
    for (const lambda of [0.01, 1, 100]) {
      const P = sc.tabularOptimum(f, s, lambda, s.P);
      s.mu.forEach((m, x) => {
        if (m > 0)
          expect(sc.kl(s.P[x], P[x]).value).toBeLessThanOrEqual(
            Math.log1p(f.mu[x] / (lambda * m)) + 1e-12,
          );
      });
    }
  });

  test("contexts of neither source keep the model they had", () => {
    const laws = sc.randomLaws(2, 1); // D_f sits on the contexts of D_s
    const P = sc.tabularOptimum(laws.f, laws.s, 1, laws.alt);
    expect(P.slice(12)).toEqual(laws.alt.slice(12));
  });

  test("R6: the gradient of f_s is L-Lipschitz at random points", () => {
    const r = sc.regression(4);
    const { s } = sc.randomLaws(4, 0.5);
    const L = sc.smoothness(r, s);
    const stream = new Stream(4, 8);
    for (let k = 0; k < 50; k++) {
      const at = Float64Array.from({ length: 60 }, () => stream.normal());
      const d = Float64Array.from({ length: 60 }, () => 0.01 * stream.normal());
      const f = (by: number) =>
        sc.lossOf(
          r,
          s,
          at.map((v, i) => v + by * d[i]),
        );
      expect(f(1) + f(-1) - 2 * f(0)).toBeLessThanOrEqual(
        L * d.reduce((n, v) => n + v * v, 0) + 1e-9,
      );
    }
  });

  test("random numbers: a permutation, probabilities, the mean of a Gamma", () => {
    const stream = new Stream(7, 7);
    expect([...stream.permutation(PROMPT)].sort()).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    const p = stream.dirichlet(6, 0.3);
    expect(p.reduce((a, b) => a + b)).toBeCloseTo(1, 12);
    const mean =
      Array.from({ length: 4000 }, () => stream.gamma(0.3)).reduce((a, b) => a + b) / 4000;
    expect(Math.abs(mean - 0.3)).toBeLessThan(0.04); // 4.6 σ: the variance of a draw is 0.3
  });
});
