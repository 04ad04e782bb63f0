import type { WebgpuPass } from "../../core/contract.ts";

/** The passes of a variant after its first: `...further(a, b)`. */
// biome-ignore lint/suspicious/noThenProperty: a list of passes, which nobody awaits
export const further = (...passes: WebgpuPass[]) => ({ then: passes });
