import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  type Backend,
  DiffError,
  grad,
  ShapeError,
  type Tensor,
  ValueError,
} from "../core/index.ts";
import {
  attention,
  attention_bwd,
  attention_decode,
  kv_append,
  rope,
  sum,
} from "../kernels/index.ts";
import { openBackend } from "./support/backends.ts";
import { uniform } from "./support/registry.ts";

// What the kernels of attention are to each other, and what they refuse.

describe.each(["ref", "wasm", "webgpu"] as const)("attention on %s", (name) => {
  let be: Backend;
  beforeAll(async () => {
    be = await openBackend(name);
  });
  afterAll(() => be.dispose());

  const values = (n: number, salt: number) =>
    Float32Array.from({ length: n }, (_, i) => 2 * uniform(i, salt) - 1);

  test("token by token over a cache gives the rows of causal attention", async () => {
    const [H, G, T, D] = [4, 2, 9, 8];
    const [q, k, v] = [H, G, G].map((n, salt) => values(n * T * D, salt));
    const tensor = (x: Float32Array, n: number) => be.tensor([1, n, T, D], x);
    const whole = attention(rope(tensor(q, H)), rope(tensor(k, G)), tensor(v, G), { causal: 1 });
    const want = await whole.o.read();

    // Row t of every head.
    const at = (x: Float32Array, n: number, t: number) =>
      be.tensor(
        [1, n, 1, D],
        Float32Array.from(
          { length: n * D },
          (_, i) => x[(Math.floor(i / D) * T + t) * D + (i % D)],
        ),
      );
    const cache = { k: be.tensor([1, G, T + 2, D]), v: be.tensor([1, G, T + 2, D]) };
    const [before, after] = [be.tensor([1], [0], "i32"), be.tensor([1], [0], "i32")];
    for (let t = 0; t < T; t++) {
      before.write([t]);
      after.write([t + 1]);
      kv_append(cache.k, cache.v, rope(at(k, G, t), { offset: t }), at(v, G, t), before);
      const q1 = rope(at(q, H, t), { offset: t });
      const got = await attention_decode(q1, cache.k, cache.v, after).o.read();
      const row = await at(want as Float32Array, H, t).read();
      got.forEach((x, i) => {
        expect(Math.abs(x - row[i]), `token ${t}, ${i}`).toBeLessThan(1e-5);
      });
    }
  });

  test("a score depends on the distance of two rotated vectors alone", async () => {
    const [q, k] = [values(16, 1), values(16, 2)].map((x) => be.tensor([1, 16], x));
    for (const interleaved of [0, 1]) {
      const score = async (i: number, j: number) => {
        const a = await rope(q, { offset: i, interleaved }).read();
        const b = await rope(k, { offset: j, interleaved }).read();
        return Array.from(a).reduce((s, x, c) => s + x * b[c], 0);
      };
      const near = await score(3, 10);
      expect(Math.abs((await score(99_993, 100_000)) - near)).toBeLessThan(1e-5);
    }
  });

  test("NaN in a key or a value reaches every query that sees it", async () => {
    const [S, D] = [5, 4];
    const bad = (x: Float32Array) => {
      x[3 * D] = Number.NaN;
      return x;
    };
    const [q, k, v] = [1, 2, 3].map((salt) => values(S * D, salt));
    const tensor = (x: Float32Array) => be.tensor([1, 1, S, D], x);
    const p = { causal: 1, window: 2 };
    const byKey = await attention(tensor(q), tensor(bad(k.slice())), tensor(v), p).o.read();
    const byValue = await attention(tensor(q), tensor(k), tensor(bad(v.slice())), p).o.read();
    for (const i of [3, 4]) {
      expect(byKey.slice(i * D, i * D + D).every(Number.isNaN), `key, query ${i}`).toBe(true);
      expect(byValue[i * D], `value, query ${i}`).toBeNaN();
    }
    for (const i of [0, 1, 2])
      expect(byKey.slice(i * D, i * D + D).some(Number.isNaN), `query ${i}`).toBe(false);
  });

  test("shapes that do not fit are refused in words", () => {
    const t = (...shape: number[]) => be.tensor(shape);
    const refuses = (
      f: () => unknown,
      type: abstract new (...a: never[]) => Error,
      say: string,
    ) => {
      expect(f).toThrow(type);
      expect(f).toThrow(say);
    };
    const kv = t(1, 2, 5, 4);
    refuses(
      () => attention(t(1, 3, 5, 4), kv, kv),
      ShapeError,
      "3 heads of q are no multiple of the 2",
    );
    refuses(
      () => attention(t(1, 2, 5, 4), kv, t(1, 2, 6, 4)),
      ShapeError,
      "v: expected (B,G,T,D)=(1,2,5,4)",
    );
    refuses(
      () => attention(t(1, 2, 5, 4), kv, kv, { bias: t(3, 5, 5) }),
      ShapeError,
      "bias: expected (S,T), (H,S,T) or (B,H,S,T) with (B,H,S,T)=(1,2,5,5), got (3,5,5)",
    );
    refuses(
      () => attention_bwd(t(1, 2, 5, 5), kv, kv, kv),
      ShapeError,
      "rows: expected (B,H,S,D+2)",
    );
    refuses(() => rope(t(3, 5)), ShapeError, "D=5 is not even");
    refuses(() => rope(t(3, 4), { theta: 0.5 }), ValueError, "theta: expected finite and >= 1");
  });

  test("second derivatives and gradients through a cache are refused", () => {
    const x = be.tensor([1, 1, 2, 2], [1, 2, 3, 4]);
    const energy = (t: Tensor) => sum(attention(t, t, t).o);
    expect(() => grad((t: Tensor) => sum(grad(energy)(t)))(x)).toThrow(DiffError);
    const length = be.tensor([1], [2], "i32");
    expect(() => grad((t: Tensor) => sum(attention_decode(t, x, x, length).o))(x)).toThrow(
      DiffError,
    );
  });
});

test("no memory of S·T", () => {
  const d = { B: 1, H: 8, G: 8, S: 8192, T: 8192, D: 64, E: 66, L: 0 };
  const linear = 4 * (d.S + d.T) * d.D;
  for (const { spec } of [attention, attention_bwd, attention_decode])
    expect(spec.wasm?.scratch?.(d, {}), spec.name).toBeLessThan(2 * linear);
});
