import { EmptyLoss, PromptOverlap } from "./config.ts";
import type { Stream } from "./random.ts";

/** Prompts and answers: fields of so many integers for each example, and which tokens of the answer count. */
export interface Examples {
  readonly n: number;
  readonly fields: Readonly<Record<string, Int32Array>>;
  /** (n · tokens of an answer): 1 where a token counts in the loss. */
  readonly keep: Uint8Array;
  /** What is asked, as text: tells examples of the same prompt. */
  readonly prompts: readonly string[];
}

/** What a model takes of an example. */
export interface Format {
  /** Integers of each field. */
  readonly fields: Readonly<Record<string, number>>;
  /** Tokens of an answer. */
  readonly tokens: number;
}

/** @throws EmptyLoss where no token of any example counts */
export function assertTokens(name: string, of: Examples | undefined): asserts of is Examples {
  if (!of?.keep.some((k) => k === 1)) {
    throw new EmptyLoss(
      "EmptyLoss",
      `safety-capability: ${name}: expected an answer token that counts, got none: its loss is a mean over nothing`,
    );
  }
}

/** @throws PromptOverlap listing prompts that stand in both */
export function assertHeldOut(name: string, train: Examples, heldOut: Examples): void {
  const known = new Set(train.prompts);
  const both = [...new Set(heldOut.prompts.filter((p) => known.has(p)))];
  if (both.length === 0) return;
  const shown = both.slice(0, 5).map((p) => `'${p.slice(0, 40)}'`);
  throw new PromptOverlap(
    "PromptOverlap",
    `safety-capability: ${name}: expected held-out prompts that are not trained on, got ${both.length} that are: ` +
      `${shown.join(", ")}${both.length > 5 ? ", …" : ""}`,
  );
}

/** Data of a model's inputs, by name: fields, and the weight of each token in f_f and in f_ŝ, (R,2). */
export type Batch = Readonly<Record<string, Int32Array | Float32Array>>;

/** A batch out of one source or two: rows of `task`, then rows of `proxy`. */
export function batchOf(
  { fields, tokens }: Format,
  parts: readonly { readonly from: Examples; readonly rows: ArrayLike<number> }[],
): Batch {
  const B = parts.reduce((n, p) => n + p.rows.length, 0);
  const batch: Record<string, Int32Array | Float32Array> = {};
  for (const [name, width] of Object.entries(fields)) {
    const to = new Int32Array(B * width);
    let at = 0;
    for (const { from, rows } of parts) {
      const data = from.fields[name];
      for (let i = 0; i < rows.length; i++)
        for (let k = 0; k < width; k++) to[at++] = data[rows[i] * width + k];
    }
    batch[name] = to;
  }
  const weights = new Float32Array(2 * B * tokens);
  let at = 0;
  parts.forEach(({ from: { keep }, rows }, source) => {
    const start = at;
    let counted = 0;
    for (let i = 0; i < rows.length; i++) {
      for (let k = 0; k < tokens; k++, at++) {
        const counts = keep[rows[i] * tokens + k];
        weights[2 * at + source] = counts;
        counted += counts;
      }
    }
    if (counted === 0) {
      throw new EmptyLoss(
        "EmptyLoss",
        `safety-capability: a batch of ${rows.length} examples has no answer token that counts`,
      );
    }
    for (let i = start; i < at; i++) weights[2 * i + source] /= counted;
  });
  return { ...batch, weights };
}

/** n rows of `from`, drawn with replacement. */
export const draw = (stream: Stream, from: Examples, n: number): Int32Array =>
  Int32Array.from({ length: n }, () => stream.below(from.n));
