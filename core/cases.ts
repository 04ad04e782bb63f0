import type { Case } from "./contract.ts";

// What the suites of the kernels build their cases with.

/** Sizes that sit on the edges of a tile of n: 1, n-1, n, n+1, and a prime past 2n. */
export const edges = (n: number): number[] =>
  [...new Set([1, n - 1, n, n + 1, nextPrime(2 * n)])].filter((v) => v > 0);

function nextPrime(n: number): number {
  for (let p = n + 1; ; p++) {
    let prime = p > 1;
    for (let q = 2; q * q <= p; q++) if (p % q === 0) prime = false;
    if (prime) return p;
  }
}

/** All combinations of the listed extents. */
export function grid(
  axes: Readonly<Record<string, readonly (number | readonly number[])[]>>,
): Case[] {
  let all: Record<string, number | readonly number[]>[] = [{}];
  for (const [k, values] of Object.entries(axes))
    all = all.flatMap((c) => values.map((v) => ({ ...c, [k]: v })));
  return all.map((dims) => ({ dims }));
}
