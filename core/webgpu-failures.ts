import { BackendError, MemoryError, type TilegradError } from "./errors.ts";

/**
 * A device reports errors long after the call that caused them. Here they wait, typed and with the
 * name of that call, until the caller comes for its result: nothing is read before they are in.
 */
export class Failures {
  readonly #device: GPUDevice;
  readonly #pending = new Set<Promise<void>>();
  #undelivered: TilegradError[] = [];

  constructor(device: GPUDevice) {
    this.#device = device;
  }

  /**
   * Runs `work` inside error scopes of these kinds. `fail` hears of an error, in the words of
   * `explain`, before anybody can read a result; `settled` when there is no more to come.
   */
  watch<T>(
    kinds: readonly GPUErrorFilter[],
    explain: (e: GPUError) => TilegradError | Promise<TilegradError>,
    work: () => T,
    fail: (e: TilegradError) => void,
    settled: () => void = () => {},
  ): T {
    for (const kind of kinds) this.#device.pushErrorScope(kind);
    try {
      return work();
    } finally {
      for (const _ of kinds) this.#expect(explain, fail, settled);
    }
  }

  #expect(
    explain: (e: GPUError) => TilegradError | Promise<TilegradError>,
    fail: (e: TilegradError) => void,
    settled: () => void,
  ): void {
    const pending = this.#device
      .popErrorScope()
      .then(async (error) => {
        if (!error) return;
        const typed = await explain(error);
        this.add(typed);
        fail(typed);
      })
      // The device is gone, which `lost` says better.
      .catch(() => {})
      .finally(() => {
        this.#pending.delete(pending);
        settled();
      });
    this.#pending.add(pending);
  }

  add(e: TilegradError): void {
    this.#undelivered.push(e);
  }

  /** Resolves when every error of the work so far is known. */
  async settle(): Promise<void> {
    while (this.#pending.size) await Promise.all(this.#pending);
  }

  /** Throws this error, or else the first that nobody was told of; what came after is its consequence. */
  raise(e: TilegradError | undefined = this.#undelivered[0]): void {
    const at = this.#undelivered.indexOf(e as TilegradError);
    if (at >= 0) this.#undelivered.length = at;
    if (e) throw e;
  }
}

/** In words that do not rest on the text of one implementation. */
export function typedError(error: GPUError, what: string): TilegradError {
  const text = error.message ? `: ${error.message.trim()}` : "";
  return error.constructor.name === "GPUOutOfMemoryError"
    ? new MemoryError("exhausted", `webgpu: ${what}: the device is out of memory${text}`)
    : new BackendError("validation", `webgpu: ${what}${text}`);
}
