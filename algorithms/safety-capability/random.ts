import { normalPair, threefry2x32, uniformOf } from "../../core/threefry.ts";

/** A stream of random numbers on the host: the same for a seed and a key, whatever others draw. */
export class Stream {
  readonly #seed: number;
  readonly #key: number;
  #at = 0;

  constructor(seed: number, key: number) {
    this.#seed = seed;
    this.#key = key;
  }

  #words(): [number, number] {
    return threefry2x32(this.#seed, this.#key, this.#at++, 0x5afe);
  }

  /** In [0, 1). */
  uniform(): number {
    return uniformOf(this.#words()[0]);
  }

  /** An integer in 0 … n−1. */
  below(n: number): number {
    return Math.floor(this.uniform() * n);
  }

  normal(): number {
    return normalPair(...this.#words())[0];
  }

  /** A permutation of 0 … n−1. */
  permutation(n: number): number[] {
    const p = Array.from({ length: n }, (_, i) => i);
    for (let i = n - 1; i > 0; i--) {
      const j = this.below(i + 1);
      [p[i], p[j]] = [p[j], p[i]];
    }
    return p;
  }

  /** Gamma(shape, 1); Marsaglia and Tsang, ACM TOMS 26 (2000), with their boost below 1. */
  gamma(shape: number): number {
    if (shape < 1) return this.gamma(shape + 1) * Math.max(this.uniform(), 2 ** -25) ** (1 / shape);
    const d = shape - 1 / 3;
    for (;;) {
      const x = this.normal();
      const v = (1 + x / Math.sqrt(9 * d)) ** 3;
      if (
        v > 0 &&
        Math.log(Math.max(this.uniform(), 2 ** -25)) < (x * x) / 2 + d - d * v + d * Math.log(v)
      )
        return d * v;
    }
  }

  /** n probabilities, Dirichlet(alpha, …, alpha). */
  dirichlet(n: number, alpha: number): number[] {
    const g = Array.from({ length: n }, () => this.gamma(alpha));
    const total = g.reduce((a, b) => a + b);
    return g.map((v) => v / total);
  }
}
