/**
 * A worker's mailbox in shared memory:
 *
 *   i32 EPOCH │ DONE │ READY │ FUNCTION │ NARGS │ –  (24 bytes)  │ f64 arguments
 *
 * The main thread fills FUNCTION and the arguments, then moves EPOCH; the worker answers in DONE.
 */
export const EPOCH = 0;
export const DONE = 1;
export const READY = 2;
export const FUNCTION = 3;
export const NARGS = 4;
/** Byte offset of the arguments. */
export const ARGS = 24;
export const JOB_BYTES = 24 + 8 * 37;

/**
 * Whether word i moves on from `value` within so many milliseconds: what a thread waits for within a step
 * takes less time than waking it does. By the clock, for a number of looks takes ten times as long in the
 * interpreter as compiled.
 */
export function movesOn(word: Int32Array, i: number, value: number, patience: number): boolean {
  for (let until = 0; ; until ||= performance.now() + patience) {
    for (let k = 0; k < 200; k++) if (Atomics.load(word, i) !== value) return true;
    if (until && performance.now() > until) return false;
  }
}
