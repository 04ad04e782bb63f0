import { EXIT } from "./errors.ts";

/** The first Ctrl-C raises the signal, a later one ends the process. */
export function onInterrupt(first: () => void): { signal: AbortSignal; off: () => void } {
  const controller = new AbortController();
  let since = 0;
  const listener = () => {
    if (!controller.signal.aborted) {
      since = Date.now();
      first();
      controller.abort();
    } else if (Date.now() - since > 500) {
      // npm hands a Ctrl-C on that the terminal has already delivered: that one does not count.
      process.exit(EXIT.interrupted);
    }
  };
  process.on("SIGINT", listener);
  return { signal: controller.signal, off: () => process.off("SIGINT", listener) };
}
