import type { Call } from "./contract.ts";

/** An open tape; calls whose inputs it tracks are appended to it. */
export interface TapeSink {
  record(call: Call): void;
}

// Split from tape.ts so that a page that never differentiates does not ship it.
export const tapes: TapeSink[] = [];

export function recordOnTapes(call: Call): void {
  for (const t of tapes) t.record(call);
}
