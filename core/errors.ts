/**
 * Every error that tilegrad raises on purpose. `code` is for programs, the message for people: it
 * names the kernel, the argument, what was expected and what came.
 */
export class TilegradError extends Error {
  readonly code: string;
  readonly kernel: string | undefined;
  readonly detail: string;

  constructor(code: string, detail: string, kernel?: string) {
    super(kernel ? `[${kernel}] ${detail}` : detail);
    this.name = new.target.name;
    this.code = code;
    this.kernel = kernel;
    this.detail = detail;
  }
}

/** An argument's shape, rank, dtype or aliasing is not what the contract says. */
export class ShapeError extends TilegradError {}

/** A scalar or option outside its allowed range (NaN learning rate, tau <= 0, unknown choice). */
export class ValueError extends TilegradError {}

/** A backend that is unavailable, lost, lacks a kernel, or refuses to compile one. */
export class BackendError extends TilegradError {}

/** Memory is exhausted, or a tensor was used after it was disposed. */
export class MemoryError extends TilegradError {}

/** A captured step was given something that its recording does not cover. */
export class CaptureError extends TilegradError {}

/** A derivative that does not exist: the kernel has no VJP, or the value was not recorded. */
export class DiffError extends TilegradError {}

/** A file or byte stream that cannot be read: truncated, foreign, or of another version. */
export class FormatError extends TilegradError {}
