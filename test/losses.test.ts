import { beforeAll, describe, expect, test } from "vitest";
import { type Backend, DiffError, grad, type Tensor, vjp } from "../core/index.ts";
import {
  batchnorm,
  batchnorm_inference,
  matmul,
  mean,
  mul,
  softmax_kl,
  softmax_xent,
  softmax_xent_bwd_inplace,
  sum,
} from "../kernels/index.ts";
import { openBackend } from "./support/backends.ts";

// Losses and norms whose by-products keep the registry's finite differences away, in f64 on the reference.

let be: Backend;
beforeAll(async () => {
  be = await openBackend("ref");
});

const wave = (n: number, k: number) =>
  Float64Array.from({ length: n }, (_, i) => Math.sin(k * i + k));
const total = (t: Tensor) => sum(t.reshape([t.size])).reshape([]);

/** Of a scalar function of one tensor: the tape against central differences. */
function check(f: (x: Tensor) => Tensor, shape: number[], x: Float64Array, rel = 1e-6): void {
  const g = grad(f)(be.tensor(shape, x)).view();
  for (let i = 0; i < x.length; i++) {
    const at = (h: number) => {
      const moved = x.slice();
      moved[i] += h;
      return f(be.tensor(shape, moved)).view()[0];
    };
    const numeric = (at(1e-5) - at(-1e-5)) / 2e-5;
    expect(Math.abs(g[i] - numeric), `[${i}] ${g[i]} against ${numeric}`).toBeLessThan(
      rel * Math.max(1, Math.abs(numeric)) * 10,
    );
  }
}

describe("softmax_kl", () => {
  const [R, C] = [3, 7];
  const z = wave(R * C, 1.3);
  const t = wave(R * C, 2.1);
  const weights = [0.5, -1, 2];

  test.each([
    { kind: "forward" },
    { kind: "reverse" },
    { kind: "forward", alpha: 0.1 },
    { kind: "forward", alpha: 0.7, temperature: 2 },
    { kind: "reverse", alpha: 0.1 },
    { kind: "reverse", alpha: 0.6, temperature: 0.5 },
  ])("gradient of $kind, alpha $alpha", (p) => {
    const teacher = be.tensor([R, C], t);
    const w = be.tensor([R], weights);
    check((x) => total(mul(softmax_kl(x, teacher, p).loss, w)), [R, C], z);
  });

  test("detached, the gradient of the reverse is that of JSD over alpha", () => {
    // a·SRKL_a(detached) = grad JSD_{1−a} = (1−a) KL(p ‖ m) + a KL(q ‖ m), m = a q + (1−a) p.
    const alpha = 0.3;
    const teacher = be.tensor([1, C], t.slice(0, C));
    const x = z.slice(0, C);
    const g = grad((v: Tensor) =>
      total(softmax_kl(v, teacher, { kind: "reverse", alpha, mixture: "detached" }).loss),
    )(be.tensor([1, C], x)).view();
    const soft = (v: Float64Array) => {
      const e = v.map(Math.exp);
      const s = e.reduce((a, b) => a + b);
      return e.map((a) => a / s);
    };
    const jsd = (v: Float64Array) => {
      const [q, p] = [soft(v), soft(t.slice(0, C))];
      let sum = 0;
      for (let i = 0; i < C; i++) {
        const m = alpha * q[i] + (1 - alpha) * p[i];
        sum += (1 - alpha) * p[i] * Math.log(p[i] / m) + alpha * q[i] * Math.log(q[i] / m);
      }
      return sum;
    };
    for (let i = 0; i < C; i++) {
      const at = (h: number) => jsd(x.map((c, k) => (k === i ? c + h : c)));
      expect(alpha * g[i]).toBeCloseTo((at(1e-5) - at(-1e-5)) / 2e-5, 8);
    }
  });

  test("equal rows are 0, skewed losses stay below −ln alpha, no mass is no loss", () => {
    const same = be.tensor([1, C], z.slice(0, C));
    for (const kind of ["forward", "reverse"])
      for (const alpha of [0, 0.1, 0.5])
        expect(Math.abs(softmax_kl(same, same, { kind, alpha }).loss.view()[0])).toBeLessThan(
          1e-12,
        );
    const sure = be.tensor([1, 3], [80, 0, 0]);
    const other = be.tensor([1, 3], [0, 80, -Infinity]);
    for (const kind of ["forward", "reverse"]) {
      const loss = softmax_kl(sure, other, { kind, alpha: 0.1 }).loss.view()[0];
      expect(loss).toBeGreaterThan(2.3);
      expect(loss).toBeLessThanOrEqual(-Math.log(0.1) + 1e-12);
    }
    expect(softmax_kl(sure, other, { kind: "forward" }).loss.view()[0]).toBeCloseTo(80, 6);
  });

  test("a gradient of the teacher is refused", () => {
    const a = be.tensor([1, 3], [1, 2, 3]);
    expect(() => grad((x: Tensor) => total(softmax_kl(a, x).loss))(a)).toThrow(
      new DiffError("no-vjp", "t has no gradient: the teacher is held fixed", "softmax_kl"),
    );
  });
});

describe("batchnorm", () => {
  const shape = [2, 3, 4];
  const x = wave(24, 0.7);
  const weight = [0.5, -1, 2];
  const bias = [0.1, 0.2, 0.3];
  const weights = wave(24, 3.3);

  test("gradients of x, weight and bias, with the batch's statistics and with given ones", () => {
    const [X, W, B] = [
      be.tensor(shape, x),
      be.tensor([3], Float64Array.from(weight)),
      be.tensor([3], Float64Array.from(bias)),
    ];
    const r = be.tensor(shape, weights);
    const given = { mean: be.tensor([3], [0.1, 0.2, -0.1]), variance: be.tensor([3], [0.5, 1, 2]) };
    const train = (a: Tensor, w: Tensor, b: Tensor) => total(mul(batchnorm(a, w, b).y, r));
    const infer = (a: Tensor, w: Tensor, b: Tensor) =>
      total(mul(batchnorm_inference(a, w, b, given.mean, given.variance), r));
    for (const f of [train, infer]) {
      check((v) => f(v, W, B), shape, x);
      check((v) => f(X, v, B), [3], Float64Array.from(weight));
      check((v) => f(X, W, v), [3], Float64Array.from(bias));
    }
  });

  test("a channel without elements is refused", () => {
    const one = be.tensor([3], [1, 1, 1]);
    expect(() => batchnorm(be.tensor([0, 3, 4]), one, one)).toThrow(
      "[batchnorm] x: a channel has no elements (B = 0, S = 4)",
    );
  });
});

test.each(["ref", "wasm", "webgpu"] as const)(
  "%s: dlogits in place of the logits give the gradients of the tape",
  async (name) => {
    using b = await openBackend(name);
    const [R, D, V] = [4, 5, 300];
    const data = (n: number, k: number) => Float32Array.from(wave(n, k));
    const h = b.tensor([R, D], data(R * D, 1.1));
    const w = b.tensor([D, V], data(D * V, 0.37));
    const labels = b.tensor([R], [0, 7, 299, 120], "i32");
    const want = grad(({ w }: { w: Tensor }) => mean(softmax_xent(matmul(h, w), labels).loss))({
      w,
    });
    const logits = matmul(h, w);
    const { lse } = softmax_xent(logits, labels);
    const dloss = b.tensor([R], new Float32Array(R).fill(1 / R));
    softmax_xent_bwd_inplace.into({ logits }, { dloss, lse, labels });
    const { grads } = vjp(({ w }: { w: Tensor }) => matmul(h, w))({ w }, logits);
    const [x, y] = [await want.w.read(), await grads.w.read()];
    for (let i = 0; i < x.length; i++) expect(y[i]).toBeCloseTo(x[i], 5);
  },
);
