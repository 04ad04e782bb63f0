import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Backend, capture, slab, type Tensor, valueAndGrad } from "../core/index.ts";
import { adamw, add, matmul, mean, relu, softmax_xent } from "../kernels/index.ts";
import { openBackend } from "./support/backends.ts";

// How many launches a training step takes: an MLP 784-256-128-10 with AdamW over one slab.

const SIZES = [784, 256, 128, 10];
const STEPS = 3;
const noise = (n: number, seed: number) =>
  Float32Array.from({ length: n }, (_, i) => Math.sin(i * 12.9898 + seed) / 20);

type Net = Readonly<Record<string, Tensor>>;

const fused = (p: Net, x: Tensor, labels: Tensor): Tensor => {
  const h = matmul(x, p.w1, { bias: p.b1, act: "relu" });
  const g = matmul(h, p.w2, { bias: p.b2, act: "relu" });
  const z = matmul(g, p.w3, { bias: p.b3 });
  return softmax_xent(z, labels, { reduction: "mean" }).loss;
};

/** The same in the smallest steps there are. */
const composed = (p: Net, x: Tensor, labels: Tensor): Tensor => {
  const h = relu(add(matmul(x, p.w1), p.b1));
  const g = relu(add(matmul(h, p.w2), p.b2));
  return mean(softmax_xent(add(matmul(g, p.w3), p.b3), labels).loss);
};

function trainer(be: Backend, batch: number, loss: typeof fused) {
  const shapes: Record<string, number[]> = {};
  for (let i = 1; i < SIZES.length; i++) {
    shapes[`w${i}`] = [SIZES[i - 1], SIZES[i]];
    shapes[`b${i}`] = [SIZES[i]];
  }
  const start = Object.entries(shapes).map(([name, s], i) => [
    name,
    noise(
      s.reduce((a, b) => a * b, 1),
      i,
    ),
  ]);
  const p = slab(be, shapes, Object.fromEntries(start));
  const m = p.like();
  const v = p.like();
  const x = be.tensor([batch, SIZES[0]], noise(batch * SIZES[0], 9));
  const labels = be.tensor(
    [batch],
    Int32Array.from({ length: batch }, (_, i) => (7 * i) % 10),
  );
  const step = (t: unknown) => {
    const { value } = valueAndGrad((q: Net) => loss(q, x, labels))(p);
    adamw(p.flat, m.flat, v.flat, p.grad.flat, { lr: 1e-3, t });
    return value;
  };
  return { p, step };
}

describe.each(["wasm", "webgpu"] as const)("a training step on %s", (name) => {
  let be: Backend;
  beforeAll(async () => {
    be = await openBackend(name);
  });
  afterAll(() => be.dispose());

  test.each([32, 128])("is 11 launches at batch %i", async (batch) => {
    const { step } = trainer(be, batch, fused);
    const s = await capture(be, ({ scalar: { t } }) => step(t), { scalars: { t: { start: 1 } } });
    // 3 products, the loss, its gradient, 3 gradients of parameters, 2 of activations, AdamW
    expect(s.dispatches).toBe(11);
    s.dispose();
  });

  test("gives the loss and the gradients of the same step in small pieces", async () => {
    const ref = await openBackend("ref");
    const want = trainer(ref, 32, composed);
    const got = trainer(be, 32, fused);
    for (let t = 1; t <= STEPS; t++) {
      const expected = (await want.step(t).read())[0];
      // Sums of 784 terms in f32, and what three steps make of it.
      expect(Math.abs((await got.step(t).read())[0] - expected)).toBeLessThan(1e-5);
      const g = await got.p.grad.flat.read();
      const w = await want.p.grad.flat.read();
      let worst = 0;
      for (let i = 0; i < w.length; i++) worst = Math.max(worst, Math.abs(g[i] - w[i]));
      expect(worst).toBeLessThan(1e-5);
    }
    ref.dispose();
  });
});
