import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Backend, grad, hvp, type Tensor } from "../core/index.ts";
import {
  avg_pool2d,
  max_pool2d,
  pixel_shuffle,
  pixel_unshuffle,
  resize_bilinear2d,
  resize_nearest2d,
  sum_squares,
} from "../kernels/index.ts";
import { openBackend } from "./support/backends.ts";

// What the registry walker does not see: numbers worked out by hand, ties and NaN, the words of the
// errors, gradients of padded windows on every backend, second derivatives.

const whole = (t: Tensor): Tensor => t.reshape([t.size]);
const { NaN: nan } = Number;

describe.each(["ref", "wasm", "webgpu"] as const)("images on %s", (name) => {
  let be: Backend;
  beforeAll(async () => {
    be = await openBackend(name);
  });
  afterAll(() => be.dispose());
  const numbers = async (t: Tensor) => Array.from(await t.read());
  const close = async (t: Tensor, want: number[]) =>
    (await numbers(t)).forEach((v, i) => {
      expect(v).toBeCloseTo(want[i], 5);
    });
  const square = () =>
    be.tensor(
      [1, 1, 4, 4],
      Array.from({ length: 16 }, (_, i) => i),
    );

  test("the first of equal numbers wins, the first NaN over all, never the padding", async () => {
    const window = { kernel_h: 2, kernel_w: 2, stride: 1 };
    const x = be.tensor(
      [1, 1, 3, 6],
      [1, 1, 0, -0, nan, 5, 1, 1, 0, 0, nan, 9, 2, nan, -1, -0, 7, nan],
    );
    const { y, index } = max_pool2d(x, window);
    expect(await numbers(y)).toEqual([1, 1, 0, nan, nan, nan, nan, 0, nan, nan]);
    expect(await numbers(index)).toEqual([0, 1, 2, 4, 4, 13, 13, 8, 10, 10]);
    const low = be.tensor([1, 1, 2, 2], new Array(4).fill(-Infinity));
    const padded = max_pool2d(low, { ...window, pad: 1 });
    expect(await numbers(padded.y)).toEqual(new Array(9).fill(-Infinity));
    expect(await numbers(padded.index)).toEqual([0, 0, 1, 0, 0, 1, 2, 2, 3]);
  });

  test("a mean is that of the pixels, or of the padding too", async () => {
    const window = { kernel_h: 2, kernel_w: 3, stride: 3, pad: 1 };
    await close(avg_pool2d(square(), window), [0.5, 2.5, 10.5, 12.5]);
    const zeros = avg_pool2d(square(), { ...window, count_include_pad: 1 });
    await close(zeros, [1 / 6, 5 / 6, 7, 50 / 6]);
  });

  test("pixels are taken, or drawn between, as PyTorch does", async () => {
    const x = be.tensor([1, 1, 1, 3], [1, 2, 4]);
    const size = { height: 1, width: 5 };
    expect(await numbers(resize_nearest2d(x, size))).toEqual([1, 1, 2, 2, 4]);
    await close(resize_bilinear2d(x, size), [1, 1.4, 2, 3.2, 4]);
    await close(resize_bilinear2d(x, { ...size, align_corners: 1 }), [1, 1.5, 2, 3, 4]);
    await close(resize_bilinear2d(x, { height: 2, width: 2 }), [1.25, 3.5, 1.25, 3.5]);
  });

  test("channels become pixels by rows", async () => {
    const x = be.tensor([1, 4, 1, 2], [0, 1, 2, 3, 4, 5, 6, 7]);
    const y = pixel_shuffle(x, { factor: 2 });
    expect(y.shape).toEqual([1, 1, 2, 4]);
    expect(await numbers(y)).toEqual([0, 2, 1, 3, 4, 6, 5, 7]);
    expect(await numbers(pixel_unshuffle(y, { factor: 2 }))).toEqual(await numbers(x));
  });

  test("gradients of overlapping, padded windows", async () => {
    const window = { kernel_h: 3, kernel_w: 3, stride: 2, pad: 1 };
    const of = (pool: (x: Tensor) => Tensor) =>
      numbers(grad((x: Tensor) => sum_squares(whole(pool(x))))(square()));
    // The maxima are 5, 7, 13 and 15.
    const largest = await of((x) => max_pool2d(x, window).y);
    expect(largest).toEqual([0, 0, 0, 0, 0, 10, 0, 14, 0, 0, 0, 0, 0, 26, 0, 30]);
    // The means 2.5, 4, 8.5 and 10 of 4, 6, 6 and 9 pixels: 2·mean/pixels goes to each.
    const [a, b, c, d] = [5 / 4, 8 / 6, 17 / 6, 20 / 9];
    const rows = [
      [a, a + b, b, b],
      [a + c, a + b + c + d, b + d, b + d],
      [c, c + d, d, d],
      [c, c + d, d, d],
    ];
    (await of((x) => avg_pool2d(x, window))).forEach((v, i) => {
      expect(v).toBeCloseTo(rows.flat()[i], 5);
    });
  });

  test("second derivatives", async () => {
    // f = |L x|² has the Hessian 2·LᵀL; L picks the four maxima.
    const window = { kernel_h: 2, kernel_w: 2, stride: 2 };
    const v = be.tensor(
      [1, 1, 4, 4],
      Array.from({ length: 16 }, (_, i) => i + 1),
    );
    const h = hvp((x: Tensor) => sum_squares(whole(max_pool2d(x, window).y)))(square(), v);
    expect(await numbers(h)).toEqual([0, 0, 0, 0, 0, 12, 0, 16, 0, 0, 0, 0, 0, 28, 0, 32]);
  });

  test("what does not fit is refused in words", () => {
    const x = square();
    const window = { kernel_h: 2, kernel_w: 2, stride: 1 };
    expect(() => max_pool2d(x, { ...window, pad: 2 })).toThrow("[max_pool2d] pad = 2 is not below");
    expect(() => max_pool2d(x, { kernel_h: 5, kernel_w: 1, stride: 1 })).toThrow("no output");
    expect(() => avg_pool2d(x, { kernel_h: 2, kernel_w: 2 })).toThrow("stride: is required");
    const large = { kernel_h: 2 ** 16, kernel_w: 2 ** 16, stride: 1, pad: 2 ** 16 - 1 };
    expect(() => avg_pool2d(x, large)).toThrow("a window of 65536×65536 is not below 2^30");
    expect(() => pixel_shuffle(x, { factor: 2 })).toThrow("D = 1 is not a multiple of factor² = 4");
    expect(() => pixel_unshuffle(x, { factor: 3 })).toThrow(
      "H = 4 is not a multiple of factor = 3",
    );
    expect(() => resize_nearest2d(x, { height: 0, width: 1 })).toThrow(
      "height: expected an integer",
    );
    expect(() => resize_bilinear2d(x, { height: 2 ** 29, width: 1 })).toThrow("not below 2^30");
  });
});
