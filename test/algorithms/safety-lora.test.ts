import { describe, expect, test } from "vitest";
import { sequences } from "../../algorithms/safety-capability/experiments/lora.ts";
import * as sc from "../../algorithms/safety-capability/index.ts";
import { Stream } from "../../algorithms/safety-capability/random.ts";
import { answered, teachersOf } from "../../algorithms/safety-capability/teachers.ts";
import { type Backend, scope, slab, type Tensor } from "../../core/index.ts";
import { others, ref } from "../support/all-backends.ts";

// S4's checks: LoRA on the products of a transformer with grouped heads, against the dense model it stands for.

const SHAPES: sc.Shapes = {
  vocabulary: 32,
  tokens: 11,
  width: 16,
  heads: 4,
  groups: 2,
  layers: 2,
  inner: 24,
};
const LORA: sc.Lora = { rank: 3, alpha: 12 };

const examples = (n: number) =>
  sequences(answered(teachersOf(2).A, 0, n, new Stream(2, 1), new Set()));
const tokensOf = (be: Backend, n: number) =>
  be.tensor([n, SHAPES.tokens], examples(n).fields.tokens, "i32");

/** A base, LoRA over it, and its θ: B zero, or drawn. */
function lora(be: Backend, drawn: boolean) {
  const base = slab(be, sc.transformer(SHAPES).params, sc.startOfTransformer(SHAPES, 4));
  const model = sc.loraTransformer(SHAPES, LORA, base);
  const start = sc.startOfLora(SHAPES, LORA, 5);
  const stream = new Stream(5, 6);
  if (drawn)
    for (const values of Object.values(start))
      values.forEach((v, i) => {
        if (v === 0) values[i] = 0.05 * stream.normal();
      });
  return { base, model, start, theta: slab(be, model.params, start) };
}

const read = async (f: () => Tensor): Promise<Float32Array> => {
  const t = scope(f);
  const values = (await t.read()) as Float32Array;
  t.dispose();
  return values;
};
const apart = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Math.max(...Array.from(a, (v, i) => Math.abs(v - b[i])));

describe("LoRA", () => {
  test("with B = 0 gives the logits of the base, bit for bit", async () => {
    for (const be of [ref, ...others]) {
      const { base, theta } = lora(be, false);
      const tokens = tokensOf(be, 5);
      const full = await read(() => sc.fullLogits(SHAPES, base.tensors, tokens));
      const low = await read(() =>
        sc.loraLogits(SHAPES, LORA, base.tensors, theta.tensors, tokens),
      );
      expect(new Uint32Array(low.buffer)).toEqual(new Uint32Array(full.buffer));
      expect(apart(full, new Float32Array(full.length))).toBeGreaterThan(0.01);
    }
  });

  test("merged into the base gives the logits it gives beside it", async () => {
    for (const be of [ref, ...others]) {
      const { base, theta } = lora(be, true);
      const tokens = tokensOf(be, 5);
      const beside = await read(() =>
        sc.loraLogits(SHAPES, LORA, base.tensors, theta.tensors, tokens),
      );
      const into = sc.merged(SHAPES, LORA, base, theta.tensors);
      const dense = await read(() => sc.fullLogits(SHAPES, into.tensors, tokens));
      expect(apart(beside, dense)).toBeLessThan(1e-5);
      const plain = await read(() => sc.fullLogits(SHAPES, base.tensors, tokens));
      expect(apart(beside, plain)).toBeGreaterThan(0.01);
    }
  });

  test("‖W − W0‖ by r×r products is that of the dense difference", async () => {
    for (const be of [ref, ...others]) {
      const { theta, start } = lora(be, true);
      const [squared] = await read(() => sc.loraSquaredNorm(SHAPES, LORA, theta.tensors));
      let dense = 0;
      for (const [name, [from, to]] of sc.linears(SHAPES)) {
        const [A, B] = [start[`${name}.A`], start[`${name}.B`]];
        for (let i = 0; i < from; i++)
          for (let o = 0; o < to; o++) {
            let w = 0;
            for (let r = 0; r < LORA.rank; r++) w += A[i * LORA.rank + r] * B[r * to + o];
            dense += ((LORA.alpha / LORA.rank) * w) ** 2;
          }
      }
      // sums of f32, a few hundred terms each
      expect(Math.abs(squared / dense - 1)).toBeLessThan(3e-6);
    }
  });

  test("its gradient is that of differences, and the base has none", async () => {
    const n = 4;
    const { base, model, theta } = lora(ref, true);
    using s = sc.init(
      ref,
      model,
      { ...sc.defaults, strategy: "plain", batch: n },
      await theta.save(),
    );
    const data = examples(n);
    const batch = sc.batchOf(model.format, [{ from: data, rows: [0, 1, 2, 3] }]);
    const before = await base.save();
    const F = scope(() => sc.gradient(s, sc.tensorsOf(ref, model, n, batch)));
    F.dispose();
    const at = await s.theta.save();
    const grad = await s.theta.grad.save();
    expect(Object.keys(s.theta.tensors).every((name) => /\.[AB]$/.test(name))).toBe(true);
    expect(await base.save()).toEqual(before);
    const size = Math.hypot(...grad);
    expect(size).toBeGreaterThan(0.01);
    // along the gradient and along random directions; losses are f32, of about 3.5
    const stream = new Stream(6, 1);
    const directions = [
      grad.map((g) => g / size),
      ...[1, 2].map(() => {
        const d = grad.map((g) => stream.normal() * Math.abs(g));
        const long = Math.hypot(...d);
        return d.map((v) => v / long);
      }),
    ];
    for (const d of directions) {
      const f = (h: number) =>
        sc.evaluate(
          ref,
          model,
          at.map((v, i) => v + h * d[i]),
          data,
        );
      const slope = (h: number) => f(h).then(async (a) => (a - (await f(-h))) / (2 * h));
      // Richardson: the error of h² is gone
      const [coarse, fine] = [await slope(0.005), await slope(0.0025)];
      const want = grad.reduce((t, g, i) => t + g * d[i], 0);
      expect(Math.abs((4 * fine - coarse) / 3 - want)).toBeLessThan(
        1e-4 * size + 1e-4 * Math.abs(want),
      );
    }
  });

  test("wasm and WebGPU follow the reference, in a ball of ‖W − W0‖ too", async () => {
    for (const config of [
      { strategy: "loss", lambda: 1 },
      { strategy: "ball", eps: 0.3 },
    ] as const) {
      const run = async (be: Backend) => {
        const { model, theta } = lora(be, true);
        const data = examples(16);
        return sc.train(
          be,
          model,
          { ...sc.defaults, ...config, optimiser: "sgd", lr: 0.02, batch: 8 },
          await theta.save(),
          { task: data, proxy: data },
          { steps: 5, seed: 1, warn: () => {} },
        );
      };
      const want = await run(ref);
      for (const be of others) {
        const got = await run(be);
        expect(apart(got.theta, want.theta)).toBeLessThan(1e-5);
        expect(got.distance).toBeCloseTo(want.distance, 5);
      }
      if (config.strategy === "ball") expect(want.distance).toBeLessThan(0.3001);
    }
  });

  test("a rank or heads that make no sense are refused", () => {
    const base = slab(others[0], sc.transformer(SHAPES).params);
    for (const rank of [0, -1, 1.5, Number.NaN])
      expect(() => sc.loraTransformer(SHAPES, { ...LORA, rank }, base)).toThrow(/rank: expected/);
    expect(() => sc.transformer({ ...SHAPES, heads: 3 })).toThrow(/heads: expected/);
    expect(() => sc.transformer({ ...SHAPES, groups: 3 })).toThrow(/heads: expected/);
  });
});
