import type { Backend, CopyCall } from "./backend.ts";
import type { Call } from "./contract.ts";

/** What an open capture does with each launch: note it, or note it without running it. */
export interface Recorder {
  note(call: Call | CopyCall): "run" | "skip";
}

// Split from capture.ts so that contracts need not import the whole of it.
const open = new Map<Backend, Recorder>();

export const activeCapture = (be: Backend): Recorder | undefined => open.get(be);

export function setCapture(be: Backend, recorder: Recorder | undefined): void {
  if (recorder) open.set(be, recorder);
  else open.delete(be);
}
