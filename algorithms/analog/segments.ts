import { normalPair, threefry2x32, uniformOf } from "../../core/threefry.ts";
import { type Split, splitOf } from "../digits.ts";

/** Segments of each digit: top, upper left, upper right, middle, lower left, lower right, bottom. */
const SEGMENTS = [
  "1110111",
  "0010010",
  "1011101",
  "1011011",
  "0111010",
  "1101011",
  "1101111",
  "1010010",
  "1111111",
  "1111011",
];

/** The seven-segment task E2 of the paper page: 9×5 digits at a random offset in 12×12, noise 0.25. */
export function segmentDigits(seed: number, trainSize = 3000, testSize = 1500): Split {
  const n = trainSize + testSize;
  const x: number[][] = [];
  const y: number[] = [];
  for (let k = 0; k < n; k++) {
    const [a, b] = threefry2x32(seed, 1, k, 0);
    const [c, d] = threefry2x32(seed, 1, k, 1);
    const digit = a % 10;
    const row = 1 + (b & 1);
    const col = 3 + (c & 1);
    const amplitude = 0.6 + 0.4 * uniformOf(d);
    const image = new Array<number>(144).fill(0);
    const on = (s: number) => SEGMENTS[digit][s] === "1";
    const set = (r: number, q: number) => {
      image[(row + r) * 12 + col + q] = amplitude;
    };
    for (let q = 0; q < 5; q++) {
      if (on(0)) set(0, q);
      if (on(3)) set(4, q);
      if (on(6)) set(8, q);
    }
    for (let r = 0; r <= 4; r++) {
      if (on(1)) set(r, 0);
      if (on(2)) set(r, 4);
      if (on(4)) set(r + 4, 0);
      if (on(5)) set(r + 4, 4);
    }
    for (let i = 0; i < 144; i += 2) {
      const z = normalPair(...threefry2x32(seed, 2, k, i));
      image[i] = Math.min(1, Math.max(0, image[i] + 0.25 * z[0]));
      image[i + 1] = Math.min(1, Math.max(0, image[i + 1] + 0.25 * z[1]));
    }
    x.push(image);
    y.push(digit);
  }
  return splitOf(x, y, seed, trainSize, testSize);
}
