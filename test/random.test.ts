import { describe, expect, test } from "vitest";
import { mulhi, normalPair, threefry2x32, uniformOf } from "../core/threefry.ts";

const hex = (pair: readonly number[]) => pair.map((v) => v.toString(16).padStart(8, "0")).join(" ");

describe("Threefry2x32-20 against the published vectors (Random123, kat_vectors)", () => {
  test.each([
    [0, 0, 0, 0, "6b200159 99ba4efe"],
    [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, "1cb996fc bb002be7"],
    [0x13198a2e, 0x03707344, 0x243f6a88, 0x85a308d3, "c4923a9c 483df7a0"],
  ])("key %i %i, counter %i %i", (k0, k1, c0, c1, want) => {
    expect(hex(threefry2x32(k0, k1, c0, c1))).toBe(want);
  });
});

test("mulhi is the high word", () => {
  for (let i = 0; i < 2000; i++) {
    const [a, b] = threefry2x32(1, 2, i, 0);
    expect(mulhi(a, b)).toBe(Number((BigInt(a) * BigInt(b)) >> 32n));
  }
  expect(mulhi(0xffffffff, 0xffffffff)).toBe(0xfffffffe);
});

/** Box–Muller of the same words in f64. */
function exact(x0: number, x1: number): [number, number] {
  const r = Math.sqrt(-2 * Math.log(((x0 | 1) >>> 0) / 2 ** 32));
  const angle = (2 * Math.PI * x1) / 2 ** 32;
  return [r * Math.cos(angle), r * Math.sin(angle)];
}

test("normals agree with Box–Muller in f64, at the extremes too", () => {
  const edges = [
    0, 1, 2, 3, 0x3fffffff, 0x40000000, 0x7fffffff, 0x80000000, 0xbfffffff, 0xc0000000, 0xfffffffe,
    0xffffffff,
  ];
  const words: [number, number][] = edges.flatMap((a) =>
    edges.map((b): [number, number] => [a, b]),
  );
  for (let i = 0; i < 200_000; i++) words.push(threefry2x32(7, 8, i, 9));
  let worst = 0;
  for (const [x0, x1] of words) {
    const want = exact(x0, x1);
    const got = normalPair(x0, x1);
    const r = Math.hypot(...want);
    got.forEach((g, k) => {
      expect(Math.fround(g)).toBe(g);
      // Near 0 the logarithm has only its absolute precision of 2^-26 left.
      const allowed = 2e-6 + 5e-8 / Math.max(r, 1e-4);
      worst = Math.max(worst, Math.abs(g - want[k]) / allowed);
    });
  }
  expect(worst).toBeLessThan(1);
});

test("moments of 400,000 draws", () => {
  const n = 400_000;
  let [u1, u2, z1, z2, z4, cross] = [0, 0, 0, 0, 0, 0];
  for (let i = 0; i < n / 2; i++) {
    const words = threefry2x32(42, 0, i, 1);
    const z = normalPair(...words);
    for (const k of [0, 1]) {
      const u = uniformOf(words[k]);
      u1 += u;
      u2 += u * u;
      z1 += z[k];
      z2 += z[k] ** 2;
      z4 += z[k] ** 4;
    }
    cross += z[0] * z[1];
  }
  const within = (value: number, mean: number, variance: number) =>
    expect(Math.abs(value / n - mean)).toBeLessThan(4 * Math.sqrt(variance / n));
  within(u1, 1 / 2, 1 / 12);
  within(u2, 1 / 3, 4 / 45);
  within(z1, 0, 1);
  within(z2, 1, 2);
  within(z4, 3, 96);
  within(2 * cross, 0, 2);
});
