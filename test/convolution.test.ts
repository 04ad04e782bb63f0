import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Backend, DiffError, grad, hvp, init, type Tensor } from "../core/index.ts";
import {
  conv_transpose2d,
  conv2d,
  conv2d_bwd_w,
  conv2d_winograd,
  depthwise_conv_transpose2d,
  depthwise_conv2d,
  groupnorm,
  sum,
  sum_squares,
  winograd_filter,
} from "../kernels/index.ts";
import { asTransposed, asWeightGradient, convCase } from "../kernels/lib/conv.ts";
import { openBackend } from "./support/backends.ts";
import {
  caseName,
  expected,
  mismatch,
  place,
  problem,
  suites,
  uniform,
} from "./support/registry.ts";

// What the registry walker does not see: numbers worked out by hand, the words of the errors, second
// derivatives, and how much Winograd's tiles round.

const whole = (t: Tensor): Tensor => t.reshape([t.size]);

describe.each(["ref", "wasm", "webgpu"] as const)("convolutions on %s", (name) => {
  let be: Backend;
  beforeAll(async () => {
    be = await openBackend(name);
  });
  afterAll(() => be.dispose());
  const numbers = async (t: Tensor) => Array.from(await t.read());

  test("a kernel is not turned around, and stands at the upper left of its window", async () => {
    const x = be.tensor([1, 1, 3, 3], [1, 2, 3, 4, 5, 6, 7, 8, 10]);
    const w = be.tensor([1, 1, 2, 2], [1, 0, 0, -1]);
    expect(await numbers(conv2d(x, w))).toEqual([-4, -4, -4, -5]);
    expect(await numbers(conv2d(x, w, { stride: 2, pad: 1 }))).toEqual([-1, -3, -7, -5]);
    expect(await numbers(conv2d(x, w, { dilation: 2 }))).toEqual([-9]);
  });

  test("a group maps its own channels to its own part of the result", async () => {
    const x = be.tensor([1, 4, 1, 1], [1, 2, 3, 4]);
    const w = be.tensor([2, 2, 1, 1], [1, 10, 100, 1000]);
    const bias = be.tensor([2], [0.5, -0.5]);
    expect(await numbers(conv2d(x, w, { groups: 2, bias }))).toEqual([21.5, 4299.5]);
    const four = be.tensor([4, 1, 1], [1, 10, 100, 1000]);
    expect(await numbers(depthwise_conv2d(x, four))).toEqual([1, 20, 300, 4000]);
  });

  test("a transposed convolution lays its kernel down at every pixel", async () => {
    const x = be.tensor([1, 1, 2, 2], [1, 2, 3, 4]);
    const w = be.tensor([1, 1, 2, 2], [1, 0, 0, 5]);
    const y = conv_transpose2d(x, w, { stride: 2, output_pad_w: 1 });
    expect(y.shape).toEqual([1, 1, 4, 5]);
    expect(await numbers(y)).toEqual(
      [
        [1, 0, 2, 0, 0],
        [0, 5, 0, 10, 0],
        [3, 0, 4, 0, 0],
        [0, 15, 0, 20, 0],
      ].flat(),
    );
    expect(await numbers(conv_transpose2d(x, w, { pad: 1 }))).toEqual([9]);
  });

  test("a stride far beyond the image leaves one window", async () => {
    const x = be.tensor([1, 1, 3, 3], [1, 2, 3, 4, 5, 6, 7, 8, 10]);
    const w = be.tensor([1, 1, 2, 2], [1, 0, 0, -1]);
    const stride = 2 ** 30;
    expect(await numbers(conv2d(x, w, { stride }))).toEqual([-4]);
    const y = be.tensor([1, 1, 1, 1], [2]);
    const back = { stride, output_pad_h: 1, output_pad_w: 1 };
    expect(await numbers(conv_transpose2d(y, w, back))).toEqual([2, 0, 0, 0, -2, 0, 0, 0, 0]);
    const options = { stride, kernel_h: 2, kernel_w: 2 };
    expect(await numbers(conv2d_bwd_w(x, y, options))).toEqual([2, 4, 8, 10]);
    expect(await numbers(depthwise_conv2d(x, w.reshape([1, 2, 2]), { stride }))).toEqual([-4]);
    const deep = depthwise_conv_transpose2d(y, w.reshape([1, 2, 2]), back);
    expect(await numbers(deep)).toEqual([2, 0, 0, 0, -2, 0, 0, 0, 0]);
  });

  test("NaN in an image reaches the pixels whose windows hold it, and no other", async () => {
    const x = be.tensor([1, 1, 4, 9], new Array(36).fill(1));
    const data = await x.read();
    data[9 + 4] = Number.NaN;
    x.write(data);
    const w = be.tensor([1, 1, 3, 3], new Array(9).fill(1));
    const flat = be.tensor([1, 3, 3], new Array(9).fill(1));
    for (const y of [
      conv2d(x, w, { pad: 1, act: "relu" }),
      depthwise_conv2d(x, flat, { pad: 1 }),
      conv_transpose2d(x, w, { pad: 1 }),
    ]) {
      const bad = (await numbers(y)).map(Number.isNaN);
      bad.forEach((is, i) => {
        const [h, v] = [Math.floor(i / 9), i % 9];
        expect(is, `(${h},${v})`).toBe(h <= 2 && Math.abs(v - 4) <= 1);
      });
    }
  });

  test("second derivatives are convolutions again", async () => {
    // f = |x ⋆ w|², so the Hessian with respect to w takes v to 2·(x ⋆)ᵀ(x ⋆ v).
    const x = be.tensor(
      [2, 2, 5, 4],
      Array.from({ length: 80 }, (_, i) => Math.sin(i)),
    );
    const w = be.tensor(
      [3, 2, 3, 2],
      Array.from({ length: 36 }, (_, i) => Math.cos(2 * i)),
    );
    const v = be.tensor(
      [3, 2, 3, 2],
      Array.from({ length: 36 }, (_, i) => Math.sin(3 * i)),
    );
    const options = { stride: 2, pad: 1 };
    const h = hvp((w: Tensor) => sum_squares(whole(conv2d(x, w, options))))(w, v);
    const want = conv2d_bwd_w(x, conv2d(x, v, options), { ...options, kernel_h: 3, kernel_w: 2 });
    const [got, half] = [await h.read(), await want.read()];
    got.forEach((g, i) => {
      expect(Math.abs(g - 2 * half[i])).toBeLessThan(1e-4);
    });
  });
});

// Kernel and padding first, the image from what they need, so that there always is an output.
const geometry = fc
  .record({
    B: fc.integer({ min: 1, max: 2 }),
    groups: fc.integer({ min: 1, max: 3 }),
    I: fc.integer({ min: 1, max: 9 }),
    M: fc.integer({ min: 1, max: 14 }),
    R: fc.integer({ min: 1, max: 5 }),
    S: fc.integer({ min: 1, max: 5 }),
    stride: fc.integer({ min: 1, max: 4 }),
    pad: fc.integer({ min: 0, max: 4 }),
    dilation: fc.integer({ min: 1, max: 3 }),
    h: fc.integer({ min: 0, max: 12 }),
    w: fc.integer({ min: 0, max: 40 }),
  })
  .map(({ B, groups, I, M, R, S, stride, pad, dilation, h, w }) => {
    const extent = (taps: number, more: number) =>
      Math.max(1, dilation * (taps - 1) + 1 - 2 * pad) + more;
    const sizes = { B, C: groups * I, O: groups * M, H: extent(R, h), W: extent(S, w), R, S };
    return convCase(sizes, { stride, pad, dilation, groups });
  });

const byGeometry = [
  "conv2d",
  "conv_transpose2d",
  "conv2d_bwd_w",
  "depthwise_conv2d",
  "depthwise_conv_transpose2d",
  "depthwise_conv2d_bwd_w",
];
test.each(byGeometry.flatMap((name) => [[name, "wasm"] as const, [name, "webgpu"] as const]))(
  "%s of any geometry on %s",
  async (name, backend) => {
    const suite = suites.find((s) => s.kernel.spec.name === name);
    if (!suite) throw new Error(`no suite of ${name}`);
    using be = await openBackend(backend);
    await fc.assert(
      fc.asyncProperty(geometry, async (c) => {
        const { groups, ...apart } = c.params as Record<string, number>;
        const own = name.startsWith("depthwise") ? { ...c, params: apart } : c;
        const [k] = (
          name.includes("transpose")
            ? asTransposed(() => [own])
            : name.includes("bwd_w")
              ? asWeightGradient(() => [own])
              : () => [own]
        )();
        const p = problem(suite, k);
        const placed = place(be, p);
        placed.reset(true);
        placed.run(0);
        const { values, touched } = await placed.results();
        placed.dispose();
        expect(touched, caseName(k)).toEqual([]);
        for (const [output, want] of expected(p, 0)) {
          const got = values.get(output) as Float32Array;
          expect(mismatch(got, want, suite.tol), `${caseName(k)}: ${output}`).toBeUndefined();
        }
      }),
      { numRuns: 40 },
    );
  },
);

describe("what is refused", async () => {
  const be = await init("ref");
  const t = (...shape: number[]) => be.tensor(shape);
  test.each<[string, () => unknown, string]>([
    [
      "an image smaller than the kernel",
      () => conv2d(t(1, 2, 3, 3), t(4, 2, 5, 3)),
      "[conv2d] x: H + 2·pad = 3 is less than the 5 that R = 5 taps span: no output",
    ],
    [
      "dilation beyond the padding",
      () => depthwise_conv2d(t(1, 2, 4, 5), t(2, 1, 3), { dilation: 4, pad: 1 }),
      "[depthwise_conv2d] x: W + 2·pad = 7 is less than the 9 that S = 3 taps span: no output",
    ],
    [
      "groups that do not divide C",
      () => conv2d(t(1, 5, 3, 3), t(4, 2, 3, 3), { groups: 2 }),
      "[conv2d] x and w: C = 5 is not groups · I = 2 · 2",
    ],
    [
      "groups that do not divide O",
      () => conv2d(t(1, 4, 3, 3), t(3, 2, 3, 3), { groups: 2 }),
      "[conv2d] w: O = 3 is not a multiple of groups = 2",
    ],
    [
      "a kernel of nothing",
      () => conv2d(t(1, 2, 3, 3), t(4, 2, 0, 3)),
      "[conv2d] w: R is 0; a kernel has at least one tap",
    ],
    [
      "a stride of 0",
      () => conv2d(t(1, 2, 3, 3), t(4, 2, 3, 3), { stride: 0 }),
      "[conv2d] stride: expected an integer in 1 … 2^30, got 0",
    ],
    [
      "a dy that is not of this x and w",
      () => conv2d_bwd_w(t(1, 2, 5, 5), t(1, 3, 4, 3), { kernel_h: 3, kernel_w: 3 }),
      "[conv2d_bwd_w] dy: P = 4, but x and w give 3",
    ],
    [
      "padding that leaves nothing",
      () => conv_transpose2d(t(1, 2, 1, 3), t(2, 1, 2, 2), { pad: 2 }),
      "[conv_transpose2d] y: H would be -2; the padding takes away more than there is",
    ],
    [
      "an output_pad of the stride",
      () => conv_transpose2d(t(1, 2, 3, 3), t(2, 1, 2, 2), { stride: 2, output_pad_w: 2 }),
      "[conv_transpose2d] output_pad_w = 2 is not below the stride 2",
    ],
    [
      "groups of a normalisation that do not divide C",
      () => groupnorm(t(1, 4, 2, 2), t(4), t(4), { groups: 3 }),
      "[groupnorm] x: C = 4 is not a multiple of groups = 3",
    ],
  ])("%s", (_, f, message) => {
    expect(f).toThrow(message);
  });

  test("a gradient through conv2d_winograd without the weights", () => {
    const [x, u, w] = [t(1, 1, 4, 4), t(16, 1, 1), t(1, 1, 3, 3)];
    expect(() => grad((x: Tensor) => sum(whole(conv2d_winograd(x, u))))(x)).toThrow(DiffError);
    expect(() => grad((u: Tensor) => sum(whole(conv2d_winograd(x, u, { w }))))(u)).toThrow(
      DiffError,
    );
  });
});

test.each([
  ["2", 5e-6],
  ["4", 6e-5],
] as const)("tile %s of conv2d_winograd rounds within what it says", async (tile, limit) => {
  // Unit variance: √3 times a uniform in (−1, 1). C = 512, the deepest layer that the docstring names.
  const [C, H, W, O] = [512, 9, 17, 4];
  const noise = (n: number, seed: number) =>
    Array.from({ length: n }, (_, i) => Math.sqrt(3) * (2 * uniform(i, seed) - 1));
  const [x, w] = [noise(C * H * W, 1), noise(O * C * 9, 2)];
  const exact = await init("ref");
  const y = conv2d(
    exact.tensor([1, C, H, W], x.map(Math.fround)),
    exact.tensor([O, C, 3, 3], w.map(Math.fround)),
    { pad: 1 },
  );
  const want = Float64Array.from(y.view());
  const deviation = Math.sqrt(want.reduce((s, v) => s + v * v, 0) / want.length);
  for (const build of ["simd", "relaxed"] as const) {
    const be = await openBackend("wasm", { wasm: { build } });
    const u = winograd_filter(be.tensor([O, C, 3, 3], w), { tile });
    const got = conv2d_winograd(be.tensor([1, C, H, W], x), u, {
      tile,
      pad: 1,
    }).view() as Float32Array;
    const error = got.reduce((m, v, i) => Math.max(m, Math.abs(v - want[i])), 0);
    expect(error / deviation, build).toBeLessThan(limit);
    be.dispose();
  }
});
