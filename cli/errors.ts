/** What the user asked for cannot be done as asked: a message without a stack trace, exit code 2. */
export class UsageError extends Error {}

export const EXIT = { ok: 0, failed: 1, usage: 2, interrupted: 130 } as const;

/** " (did you mean X?)" for the nearest of the known words, or nothing where none is near. */
export function didYouMean(word: string, known: readonly string[]): string {
  const [best] = known
    .map((k) => ({ k, d: distance(word, k) }))
    .filter(({ k, d }) => d <= 1 + Math.max(word.length, k.length) / 3 || k.startsWith(word))
    .sort((a, b) => a.d - b.d);
  return best ? ` (did you mean ${best.k}?)` : "";
}

/** Levenshtein: single-character insertions, deletions and replacements. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replace = row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(row[j] + 1, next[j - 1] + 1, replace));
    }
    row = next;
  }
  return row[b.length];
}
