import type { Dims, WebgpuPass } from "../../core/contract.ts";

// Passes of wgsl/lib/merge.wgsl.

type Steps = readonly [even: WebgpuPass, odd: WebgpuPass];

/** The two passes that take turns: `<prefix>_merge_even` and `<prefix>_merge_odd`. */
export const mergeSteps = (prefix: string, grid: (d: Dims) => readonly number[]): Steps => [
  { entry: `${prefix}_merge_even`, grid },
  { entry: `${prefix}_merge_odd`, grid },
];

/** So many of them; those past the last that is needed do nothing. */
export const merges = (levels: number, steps: Steps): WebgpuPass[] =>
  Array.from({ length: levels }, (_, k) => steps[k % 2]);
