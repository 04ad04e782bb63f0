// Byte-pair encoding of ASCII; Sennrich, Haddow, Birch, arXiv:1508.07909. Pairs are merged within words.

/** A word with the space before it, a digit, or a run of signs. */
const WORDS = / ?[a-z]+| ?\d| ?[^a-z\d ]+| /g;

/** Words less frequent than this decide no merge. */
const RARE = 10;

export class Bpe {
  /** Text of each token. */
  readonly pieces: readonly string[];
  readonly #rank: ReadonlyMap<string, number>;
  readonly #id: ReadonlyMap<string, number>;
  readonly #known = new Map<string, readonly number[]>();

  /** Every printable ASCII character of lower case, and merges until there are `vocabulary` tokens. */
  constructor(texts: Iterable<string>, vocabulary: number) {
    const counts = new Map<string, number>();
    for (const text of texts)
      for (const word of text.match(WORDS) ?? []) counts.set(word, (counts.get(word) ?? 0) + 1);
    const words = [...counts]
      .filter(([, count]) => count >= RARE)
      .map(([word, count]) => ({ parts: [...word], count }));
    const letters = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i));
    const pieces = letters.filter((c) => c === c.toLowerCase());
    const rank = new Map<string, number>();
    while (pieces.length < vocabulary) {
      const pairs = new Map<string, number>();
      for (const { parts, count } of words)
        for (let i = 1; i < parts.length; i++) {
          const pair = `${parts[i - 1]}\t${parts[i]}`;
          pairs.set(pair, (pairs.get(pair) ?? 0) + count);
        }
      let best = "";
      let most = 1;
      for (const [pair, count] of pairs) if (count > most) [best, most] = [pair, count];
      if (!best) break;
      rank.set(best, rank.size);
      pieces.push(best.replace("\t", ""));
      for (const word of words) word.parts = joined(word.parts, best);
    }
    this.pieces = pieces;
    this.#rank = rank;
    this.#id = new Map(pieces.map((piece, i) => [piece, i]));
  }

  encode(text: string): number[] {
    return (text.match(WORDS) ?? []).flatMap((word) => {
      const known = this.#known.get(word);
      if (known) return known;
      let parts = [...word];
      for (;;) {
        const ranked = parts
          .slice(1)
          .map((part, i) => `${parts[i]}\t${part}`)
          .filter((pair) => this.#rank.has(pair))
          .sort((a, b) => (this.#rank.get(a) ?? 0) - (this.#rank.get(b) ?? 0));
        if (ranked.length === 0) break;
        parts = joined(parts, ranked[0]);
      }
      const ids = parts.map((part) => this.#id.get(part) ?? 0);
      this.#known.set(word, ids);
      return ids;
    });
  }

  decode(ids: Iterable<number>): string {
    return Array.from(ids, (id) => this.pieces[id]).join("");
  }
}

/** Every occurrence of a pair made one. */
function joined(parts: string[], pair: string): string[] {
  const [left, right] = pair.split("\t");
  const out: string[] = [];
  for (let i = 0; i < parts.length; i++) {
    if (parts[i] === left && parts[i + 1] === right) {
      out.push(left + right);
      i++;
    } else out.push(parts[i]);
  }
  return out.length === parts.length ? parts : out;
}
