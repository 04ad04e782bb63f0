import { type AnyKernel, isKernel, isSuite, type Spec, type Suite } from "../core/contract.ts";
import * as exported from "../kernels/index.ts";

const all: readonly unknown[] = Object.values(exported).flat();

/** The contracts of all kernels, in the order of kernels/index.ts. */
export const kernels: readonly Spec[] = [
  ...new Set(all.filter((x): x is AnyKernel => isKernel(x)).map((kernel) => kernel.spec)),
];

export const suites: readonly Suite[] = all.filter(isSuite);
