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
