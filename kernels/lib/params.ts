import { type Param, u32 } from "../../core/contract.ts";

const MOST = 2 ** 30;

/** Counts and distances: small enough that their sums and differences are signed 32-bit numbers. */
export const atLeastOne = (dflt?: number): Param => ({
  ...u32(dflt),
  must: ["an integer in 1 … 2^30", (v) => Number.isInteger(v) && v >= 1 && v <= MOST],
});
