import { f32, nonNegative, type Params } from "../../core/contract.ts";

// Optimisers that clip by a global norm on the way: the optional input `sumsq` () is its square, from
// `sum_squares` over the slab of gradients, `max_norm` its bound.

export const maxNorm = () => ({ max_norm: f32(0, nonNegative) });

/** What g is multiplied by. */
export function clipScale(sumsq: ArrayLike<number> | undefined, { max_norm }: Params): number {
  if (!sumsq) return 1;
  const norm = Math.sqrt(sumsq[0]);
  return norm <= max_norm ? 1 : max_norm / norm;
}

/** One without the other clips nothing, or everything. */
export function clipsWhole(p: Params, has: (arg: string) => boolean): string | undefined {
  if (has("sumsq") === p.max_norm > 0) return undefined;
  return has("sumsq")
    ? "sumsq: is given without max_norm > 0"
    : "sumsq: is needed to clip to max_norm";
}
