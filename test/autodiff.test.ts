import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  type Backend,
  checkpoint,
  DiffError,
  grad,
  hvp,
  init,
  slab,
  stopGradient,
  type Tensor,
  valueAndGrad,
  vjp,
} from "../core/index.ts";
import {
  add,
  div,
  exp,
  gelu,
  matmul,
  mul,
  scale,
  sigmoid,
  sin,
  softmax,
  sub,
  sum,
  tanh,
} from "../kernels/index.ts";
import { openBackend } from "./support/backends.ts";

const total = (x: Tensor): Tensor => sum(x.reshape([x.size]));

describe.each(["ref", "wasm", "webgpu"] as const)("autodiff on %s", (name) => {
  let be: Backend;
  beforeAll(async () => {
    be = await openBackend(name);
  });
  afterAll(() => be.dispose());

  const digits = name === "ref" ? 6 : 4;
  const point = (...v: number[]) => be.tensor([v.length], v);

  async function check(f: (x: Tensor) => Tensor, at: number, first: number, second: number) {
    const x = point(at);
    const g = grad(f)(x);
    expect((await g.read())[0]).toBeCloseTo(first, digits);
    const h = hvp(f)(x, point(1));
    expect((await h.read())[0]).toBeCloseTo(second, digits);
  }

  // A well-known peer returns 2.1033 for the second derivative here: its ops save their output and
  // lose that it depends on the input.
  test("sin(x)·exp(x): both derivatives at 0.5", async () => {
    const e = Math.exp(0.5);
    await check(
      (x) => total(mul(sin(x), exp(x))),
      0.5,
      e * (Math.sin(0.5) + Math.cos(0.5)),
      2 * e * Math.cos(0.5),
    );
    expect(2 * e * Math.cos(0.5)).toBeCloseTo(2.8938, 4);
  });

  test("exp, tanh, sigmoid: second derivatives", async () => {
    await check((x) => total(exp(x)), 0.3, Math.exp(0.3), Math.exp(0.3));
    const t = Math.tanh(0.7);
    await check((x) => total(tanh(x)), 0.7, 1 - t * t, -2 * t * (1 - t * t));
    const s = 1 / (1 + Math.exp(0.4));
    await check((x) => total(sigmoid(x)), -0.4, s * (1 - s), s * (1 - s) * (1 - 2 * s));
  });

  test("x/(1+x²): second derivative through div", async () => {
    const at = 0.6;
    const q = 1 + at * at;
    await check(
      (x) => total(div(x, scale(mul(x, x), { shift: 1 }))),
      at,
      (1 - at * at) / q ** 2,
      (2 * at * (at * at - 3)) / q ** 3,
    );
  });

  test("softmax: Hessian-vector product of Σ w·softmax(x)", async () => {
    const x = [0.2, -0.5, 1.1];
    const w = [1, -2, 0.5];
    const v = [0.3, 0.7, -0.4];
    const dot = (a: number[], b: number[]) => a.reduce((s, c, i) => s + c * b[i], 0);
    // Gradient of wᵀs is s∘(w − wᵀs); its directional derivative along v, by hand.
    const gradient = (at: number[]) => {
      const e = at.map(Math.exp);
      const z = e.reduce((a, b) => a + b);
      const s = e.map((c) => c / z);
      return s.map((c, i) => c * (w[i] - dot(s, w)));
    };
    const h = 1e-5;
    const plus = gradient(x.map((c, i) => c + h * v[i]));
    const minus = gradient(x.map((c, i) => c - h * v[i]));
    const W = point(...w);
    const got = await hvp((t: Tensor) => total(mul(softmax(t), W)))(
      point(...x),
      point(...v),
    ).read();
    for (const [i, g] of got.entries())
      expect(g).toBeCloseTo((plus[i] - minus[i]) / (2 * h), digits);
  });

  test("matmul: Hessian-vector product of ½‖Ax − b‖² is AᵀA v", async () => {
    const A = be.tensor([3, 2], [1, 2, 3, 4, 5, 6]);
    const b = be.tensor([3, 1], [1, 0, -1]);
    const f = (x: Tensor) => {
      const r = sub(matmul(A, x), b);
      return scale(total(mul(r, r)), { by: 0.5 });
    };
    const x = be.tensor([2, 1], [0.5, -0.25]);
    expect([...(await grad(f)(x).read())]).toEqual([
      35 * 0.5 - 44 * 0.25 + 4,
      44 * 0.5 - 56 * 0.25 + 4,
    ]);
    const v = be.tensor([2, 1], [1, -1]);
    expect([...(await hvp(f)(x, v).read())]).toEqual([35 - 44, 44 - 56]);
  });

  test("a product whose gradient is differentiated again gives that of its pieces", async () => {
    const x = be.tensor([3, 2], [1, 2, -3, 0.5, 0.2, -1]);
    const p = { w: be.tensor([2, 2], [0.3, -0.2, 0.5, 0.1]), b: be.tensor([2], [0.1, -0.4]) };
    const v = { w: be.tensor([2, 2], [1, -1, 2, 0.5]), b: be.tensor([2], [-1, 1]) };
    type Q = typeof p;
    const whole = hvp((q: Q) => total(matmul(x, q.w, { bias: q.b, act: "tanh" })))(p, v);
    const pieces = hvp((q: Q) => total(tanh(add(matmul(x, q.w), q.b))))(p, v);
    for (const name of ["w", "b"] as const) {
      const want = await pieces[name].read();
      for (const [i, g] of (await whole[name].read()).entries()) expect(g).toBeCloseTo(want[i], 4);
    }
  });

  test("a value used twice adds its gradients, and broadcasts sum theirs", async () => {
    const x = point(1, 2, 3);
    const m = be.tensor([2, 3], [1, 1, 1, 2, 2, 2]);
    const g = grad((t: Tensor) => total(add(mul(m, t), mul(t, t))))(x);
    expect([...(await g.read())]).toEqual([3 + 4 * 1, 3 + 4 * 2, 3 + 4 * 3]);
  });

  test("slab: gradients land in the twin; untouched entries are zero", async () => {
    const p = slab(be, { w: [2, 2], b: [2], idle: [3] }, { w: [1, 2, 3, 4], b: [1, 1] });
    const x = be.tensor([1, 2], [1, -1]);
    const { value, grads } = valueAndGrad(({ w, b }: Readonly<Record<string, Tensor>>) =>
      total(matmul(x, w, { bias: b })),
    )(p);
    expect((await value.read())[0]).toBe(1 - 3 + 2 - 4 + 2);
    expect(grads).toBe(p.grad);
    expect([...(await grads.tensors.w.read())]).toEqual([1, 1, -1, -1]);
    expect([...(await grads.tensors.b.read())]).toEqual([1, 1]);
    expect([...(await grads.tensors.idle.read())]).toEqual([0, 0, 0]);
    p.dispose();
  });

  test("stopGradient cuts; checkpoint does not change a gradient", async () => {
    const x = point(0.3, -0.8);
    const cut = grad((t: Tensor) => total(mul(t, stopGradient(t))))(x);
    expect([...(await cut.read())]).toEqual([...(await x.read())]);
    const f = (t: Tensor) => tanh(mul(t, t));
    const plain = await grad((t: Tensor) => total(mul(f(t), t)))(x).read();
    const saved = await grad((t: Tensor) => total(mul(checkpoint(f)(t), t)))(x).read();
    expect([...saved]).toEqual([...plain]);
  });

  test("vjp takes cotangents of several results", async () => {
    const x = point(2, 3);
    const { grads } = vjp((t: Tensor) => [mul(t, t), scale(t, { by: 5 })])(x, [
      point(1, 1),
      point(1, 0),
    ]);
    expect([...(await grads.read())]).toEqual([4 + 5, 6]);
  });

  test("temporaries of a gradient are freed", async () => {
    const x = point(1, 2, 3, 4);
    const f = grad((t: Tensor) => total(mul(tanh(mul(t, t)), t)));
    f(x).dispose();
    const before = be.bytesInUse;
    for (let i = 0; i < 10; i++) f(x).dispose();
    expect(be.bytesInUse).toBe(before);
  });

  test("what cannot be differentiated says so", () => {
    const x = point(1, 2);
    expect(() => grad((t: Tensor) => mul(t, t))(x)).toThrow(
      new DiffError("scalar", "grad: f must return a scalar of shape (), got (2)"),
    );
    expect(() => hvp((t: Tensor) => total(gelu(t)))(x, x)).toThrow(
      "[gelu_bwd] has no VJP, and a gradient was asked through it",
    );
  });
});

test("the plain reference needs no setup", async () => {
  const be = await init("ref");
  const x = be.tensor([], [3]);
  expect((await grad((t: Tensor) => mul(t, t))(x).read())[0]).toBe(6);
});
