/**
 * Addresses within one linear memory. Blocks are multiples of 64 bytes; freed ones are reused at
 * their exact size first, then joined with their neighbours before the memory grows.
 */
export class Arena {
  #top: number;
  #limit: number;
  readonly #grow: (limit: number) => number;
  readonly #bins = new Map<number, number[]>();

  /** `grow(limit)` makes at least `limit` bytes addressable and returns how many are, or 0. */
  constructor(base: number, limit: number, grow: (limit: number) => number) {
    this.#top = base;
    this.#limit = limit;
    this.#grow = grow;
  }

  /** Address of `bytes` (a multiple of 64), or -1 when there is no room. */
  alloc(bytes: number): number {
    const exact = this.#bins.get(bytes)?.pop();
    if (exact !== undefined) return exact;
    if (this.#top + bytes > this.#limit) {
      const p = this.#firstFit(bytes);
      if (p >= 0) return p;
      this.#limit = this.#grow(this.#top + bytes) || this.#limit;
      if (this.#top + bytes > this.#limit) return -1;
    }
    const p = this.#top;
    this.#top += bytes;
    return p;
  }

  free(p: number, bytes: number): void {
    const bin = this.#bins.get(bytes);
    if (bin) bin.push(p);
    else this.#bins.set(bytes, [p]);
  }

  /** Joins adjacent free blocks, gives the topmost back to the bump pointer, takes the first that fits. */
  #firstFit(bytes: number): number {
    const free = [...this.#bins]
      .flatMap(([n, ps]) => ps.map((p) => ({ p, n })))
      .sort((a, b) => a.p - b.p);
    const joined: { p: number; n: number }[] = [];
    for (const b of free) {
      const last = joined.at(-1);
      if (last && last.p + last.n === b.p) last.n += b.n;
      else joined.push({ ...b });
    }
    const top = joined.at(-1);
    if (top && top.p + top.n === this.#top) {
      this.#top = top.p;
      joined.pop();
    }
    this.#bins.clear();
    const fit = joined.find((b) => b.n >= bytes);
    for (const b of joined) {
      if (b !== fit) this.free(b.p, b.n);
      else if (b.n > bytes) this.free(b.p + bytes, b.n - bytes);
    }
    if (fit) return fit.p;
    if (this.#top + bytes > this.#limit) return -1;
    const p = this.#top;
    this.#top += bytes;
    return p;
  }
}
