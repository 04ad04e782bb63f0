import type { Tensor } from "./tensor.ts";

/** Numbers of one step that have reached the host. */
export interface Metric {
  /** Counts the pushes from 0. */
  readonly index: number;
  readonly values: Float32Array | Int32Array | Uint32Array;
}

/**
 * Brings small results (losses, norms) to the host while the next steps run: `push` copies a tensor
 * on the device and returns at once, the numbers come later and in order. With `depth` copies on
 * their way a further push is dropped, so that nothing ever waits for the host.
 */
export class ReadbackRing {
  /** Pushes that found every place taken. */
  dropped = 0;
  readonly depth: number;
  #pushes = 0;
  #last: Promise<void> = Promise.resolve();
  #inFlight = 0;
  #arrived: Metric[] = [];
  #failure: { readonly error: unknown } | undefined;

  constructor(depth = 4) {
    this.depth = depth;
  }

  /**
   * Notes what `t` holds at this point of the work; false: dropped.
   * @throws what went wrong with an earlier push
   */
  push(t: Tensor): boolean {
    this.#raise();
    const index = this.#pushes++;
    if (this.#inFlight === this.depth) {
      this.dropped++;
      return false;
    }
    this.#inFlight++;
    const reading = t.read();
    const before = this.#last;
    this.#last = (async () => {
      try {
        const values = await reading;
        await before;
        this.#arrived.push({ index, values });
      } catch (error) {
        this.#failure ??= { error };
      } finally {
        this.#inFlight--;
      }
    })();
    return true;
  }

  /** What has arrived since the last call, oldest first; does not wait. */
  take(): Metric[] {
    this.#raise();
    const all = this.#arrived;
    this.#arrived = [];
    return all;
  }

  /** Waits for what is on its way, then as `take`. */
  async drain(): Promise<Metric[]> {
    await this.#last;
    return this.take();
  }

  #raise(): void {
    const f = this.#failure;
    this.#failure = undefined;
    if (f) throw f.error;
  }
}
