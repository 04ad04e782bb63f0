import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  type Backend,
  DiffError,
  grad,
  ShapeError,
  type Tensor,
  ValueError,
  vjp,
} from "../core/index.ts";
import { WebgpuBackend } from "../core/webgpu.ts";
import { isRight } from "../core/webgpu-variant.ts";
import {
  attention,
  attention_bwd,
  attention_bwd_bias,
  attention_decode,
  kv_append,
  rope,
  sum,
} from "../kernels/index.ts";
import { openBackend } from "./support/backends.ts";
import { mismatch, uniform } from "./support/registry.ts";

// What the kernels of attention are to each other, how their options combine, and what they refuse.

/** Rows of levels such that any two levels of any two factors meet in one of them; the same rows every time. */
function pairwise(levels: readonly number[]): number[][] {
  const key = (f: number, a: number, g: number, b: number) =>
    f < g ? `${f},${a},${g},${b}` : `${g},${b},${f},${a}`;
  const open = new Set<string>();
  levels.forEach((n, f) => {
    for (let g = f + 1; g < levels.length; g++)
      for (let a = 0; a < n; a++) for (let b = 0; b < levels[g]; b++) open.add(key(f, a, g, b));
  });
  const rows: number[][] = [];
  while (open.size > 0) {
    const [f, a, g, b] = ([...open][0] as string).split(",").map(Number);
    const row: (number | undefined)[] = levels.map((_, i) =>
      i === f ? a : i === g ? b : undefined,
    );
    levels.forEach((n, i) => {
      if (row[i] !== undefined) return;
      const gain = (level: number) =>
        row.filter((r, h) => r !== undefined && open.has(key(i, level, h, r))).length;
      row[i] = Array.from({ length: n }, (_, level) => level).sort((x, y) => gain(y) - gain(x))[0];
    });
    const full = row as number[];
    full.forEach((x, i) => {
      full.forEach((y, h) => {
        if (h > i) open.delete(key(i, x, h, y));
      });
    });
    rows.push(full);
  }
  return rows;
}

const factors = {
  heads: [
    { H: 2, G: 2 },
    { H: 4, G: 2 },
    { H: 3, G: 1 },
  ],
  causal: [0, 1],
  window: [0, 3],
  bias: [undefined, "S T", "H S T", "B H S T"],
  softcap: [0, 0.4],
  lengths: [
    { S: 5, T: 5 },
    { S: 3, T: 9 },
    { S: 9, T: 4 },
  ],
  D: [32, 64, 80, 96, 128, 256, 5],
} as const;
interface Combination {
  name: string;
  d: Record<string, number>;
  shapes: Record<string, number[]>;
  options: { causal: number; window: number; softcap: number; scale: number };
}
const names = Object.keys(factors) as (keyof typeof factors)[];
const combinations = pairwise(names.map((n) => factors[n].length)).map((row): Combination => {
  const at = Object.fromEntries(names.map((n, i) => [n, factors[n][row[i]]])) as {
    [K in keyof typeof factors]: (typeof factors)[K][number];
  };
  const d: Record<string, number> = { B: 2, ...at.heads, ...at.lengths, D: at.D };
  const sizes = (text: string) => text.split(" ").map((n) => d[n]);
  const shapes: Record<string, number[]> = {
    q: sizes("B H S D"),
    k: sizes("B G T D"),
    v: sizes("B G T D"),
    ...(at.bias ? { bias: sizes(at.bias) } : {}),
  };
  const { causal, window, softcap } = at;
  return { name: JSON.stringify(at), d, shapes, options: { causal, window, softcap, scale: 0.5 } };
});

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

  /** o and the gradients of ⟨o, weights⟩, on this backend or another. */
  async function differentiate(
    on: Backend,
    { shapes, options }: Combination,
    moved: Record<string, ArrayLike<number>> = {},
  ): Promise<Record<string, ArrayLike<number>>> {
    const size = (s: number[]) => s.reduce((a, b) => a * b, 1);
    const t: Record<string, Tensor> = Object.fromEntries(
      Object.entries(shapes).map(([n, s], i) => [n, on.tensor(s, moved[n] ?? values(size(s), i))]),
    );
    const call = (x: typeof t) => attention(x.q, x.k, x.v, { ...options, bias: x.bias }).o;
    const { value, grads } = vjp(call)(t, on.tensor(shapes.q, values(size(shapes.q), 9)));
    const read = async (x: Tensor) => (on.name === "ref" ? x.view() : await x.read());
    const all = { o: value, ...grads };
    const out: Record<string, ArrayLike<number>> = {};
    for (const [n, x] of Object.entries(all)) out[n] = await read(x as Tensor);
    return out;
  }

  /** Every way the backend has to run a case: on WebGPU also the tiles, which a software adapter does not prefer. */
  function ways(d: Record<string, number>, options: object): (() => void)[] {
    if (!(be instanceof WebgpuBackend)) return [() => {}];
    const gpu = be;
    const kernels = [attention, attention_bwd];
    const tiles = kernels.map((k) =>
      k.spec.webgpu?.find((v) => v.name === "tiles" && isRight(v, gpu.capabilities, d, options)),
    );
    const force = (list: typeof tiles) => () => {
      kernels.forEach((k, i) => {
        gpu.force(k, list[i]);
      });
    };
    return tiles[0]
      ? [force(tiles), force([undefined, undefined])]
      : [force([undefined, undefined])];
  }

  test("options in pairs have the gradients of the definition", async () => {
    const ref = await openBackend("ref");
    for (const c of combinations) {
      const want = await differentiate(ref, c);
      if (name === "ref") {
        // Along a random direction of each input: the change of ⟨o, weights⟩.
        const weights = values(want.o.length, 9);
        const loss = async (n: string, h: number) => {
          const x = values(want[n].length, Object.keys(c.shapes).indexOf(n));
          const along = Float64Array.from(x, (v, i) => v + h * (2 * uniform(i, 77) - 1));
          const { o } = await differentiate(ref, c, { [n]: along });
          return weights.reduce((s, w, i) => s + w * o[i], 0);
        };
        for (const n of Object.keys(c.shapes)) {
          const slope = ((await loss(n, 1e-5)) - (await loss(n, -1e-5))) / 2e-5;
          const got = Array.from(want[n]).reduce((s, g, i) => s + g * (2 * uniform(i, 77) - 1), 0);
          expect(Math.abs(got - slope), `${c.name} ${n}`).toBeLessThan(1e-7 * (1 + want[n].length));
        }
        continue;
      }
      for (const enter of ways({ ...c.d, L: c.shapes.bias ? 1 : 0 }, c.options)) {
        enter();
        const got = await differentiate(be, c);
        for (const [n, w] of Object.entries(want))
          expect(mismatch(got[n], w, { rel: 1e-5, abs: 1e-5 }), `${c.name} ${n}`).toBeUndefined();
      }
    }
    ref.dispose();
  }, 240_000);

  test("a query that sees nothing gives zeros, lse -Inf and no gradient", async () => {
    const [S, T, D] = [3, 2, 8];
    const shapes = { q: [1, 1, S, D], k: [1, 1, T, D], v: [1, 1, T, D], bias: [S, T] };
    const bias = [0, 0, -Infinity, -Infinity, 0.5, -Infinity];
    const options = { causal: 0, window: 0, softcap: 0, scale: 0.5 };
    const c = { name: "", d: { B: 1, H: 1, G: 1, S, T, D }, shapes, options };
    for (const enter of ways({ ...c.d, L: 1 }, options)) {
      enter();
      const got = await differentiate(be, c, { bias });
      expect(Array.from(got.o).slice(D, 2 * D)).toEqual(new Array(D).fill(0));
      expect(Array.from(got.q).slice(D, 2 * D)).toEqual(new Array(D).fill(0));
      expect(Array.from(got.bias).slice(2, 4)).toEqual([0, 0]);
      expect(Array.from(got.bias).every(Number.isFinite)).toBe(true);
      const [q, k] = [values(S * D, 0), values(T * D, 1)];
      const kv = be.tensor([1, 1, T, D], k);
      const { lse } = attention(be.tensor([1, 1, S, D], q), kv, kv, {
        bias: be.tensor([S, T], bias),
      });
      expect((await lse.read())[1]).toBe(-Infinity);
    }
  });

  test("without keys there are zeros", async () => {
    const [q, kv] = [be.tensor([1, 2, 3, 8], values(48, 1)), be.tensor([1, 2, 0, 8])];
    const { o, lse } = attention(q, kv, kv);
    expect(Array.from(await o.read())).toEqual(new Array(48).fill(0));
    expect(Array.from(await lse.read())).toEqual(new Array(6).fill(-Infinity));
    const { grads } = vjp((t: Tensor) => attention(t, kv, kv).o)(q, q);
    expect(Array.from(await grads.read())).toEqual(new Array(48).fill(0));
  });

  test("NaN and Inf in what is seen come out where the definition has them", async () => {
    const ref = await openBackend("ref");
    const [S, D] = [4, 8];
    const shapes = { q: [1, 1, S, D], k: [1, 1, S, D], v: [1, 1, S, D] };
    const options = { causal: 1, window: 0, softcap: 0, scale: 0.5 };
    const c = { name: "", d: { B: 1, H: 1, G: 1, S, T: S, D }, shapes, options };
    for (const [n, at, bad] of [
      ["q", 2 * D, Number.NaN],
      ["q", D, Number.POSITIVE_INFINITY],
      ["k", 3 * D, Number.NaN],
      ["k", 0, Number.POSITIVE_INFINITY],
      ["v", 0, Number.POSITIVE_INFINITY],
    ] as const) {
      const x = values(S * D, ["q", "k", "v"].indexOf(n));
      x[at] = bad;
      const want = await differentiate(ref, c, { [n]: x });
      for (const enter of ways({ ...c.d, L: 0 }, options)) {
        enter();
        const got = await differentiate(be, c, { [n]: x });
        for (let i = 0; i < S * D; i++) {
          const message = `${n}[${at}] = ${bad}: o[${i}]`;
          if (Number.isFinite(want.o[i])) expect(got.o[i], message).toBeCloseTo(want.o[i], 4);
          else expect(Number.isFinite(got.o[i]), message).toBe(false);
        }
      }
    }
    ref.dispose();
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
      () => attention(t(1, 2, 5, 4), kv, kv, { window: -1 }),
      ValueError,
      "window: expected an integer in 0 … 2^32-1, got -1",
    );
    refuses(
      () => attention(t(1, 2, 5, 4), kv, kv, { softcap: -1 }),
      ValueError,
      "softcap: expected finite and >= 0, got -1",
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
  for (const { spec } of [attention, attention_bwd, attention_bwd_bias, attention_decode]) {
    expect(spec.wasm?.scratch?.(d, {}), spec.name).toBeLessThan(2 * linear);
    for (const v of spec.webgpu ?? [])
      if (v.when?.(d, { softcap: 0 }) ?? true) expect(v.scratch?.(d, {}) ?? 0, spec.name).toBe(0);
  }
});
