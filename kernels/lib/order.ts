import type { Case, Fill, RefArrays } from "../../core/contract.ts";
import { edges, grid } from "../../core/contract.ts";

// What the kernels that order rows share.

/** The indices of a row in order: stable, with NaN last, or first where `nanFirst` says so. */
export function order(row: RefArrays[string], descending: boolean, nanFirst: boolean): number[] {
  const nan = (v: number) => (Number.isNaN(v) ? (nanFirst ? -1 : 1) : 0);
  return Array.from(row, (_, i) => i).sort((i, j) => {
    const [a, b] = [row[i], row[j]];
    return nan(a) - nan(b) || (descending ? b - a : a - b) || 0;
  });
}

export const orderCases = (): Case[] => [
  ...grid({ R: [[1], [2, 3]], C: [...edges(32), 64, 300] }),
  { dims: { R: [], C: 5 } },
  { dims: { R: [2], C: 0 } },
  { dims: { R: [0], C: 4 } },
  { dims: { R: [2], C: 2500 } },
];
/** Ties, zeros of both signs, infinities and NaN among numbers of both signs. */
export const orderFill: Fill = (u, i) =>
  i % 5 === 3
    ? Math.floor(4 * u) - 2
    : i % 11 === 4
      ? [0, -0, Infinity, -Infinity, Number.NaN][i % 5]
      : 2 * u - 1;
export const exact = { rel: 0, abs: 0 };
export const steps = "steps where elements are equal; test/gradients.test.ts";
