import { ValueError } from "../../core/index.ts";
import { Bpe } from "./bpe.ts";
import { checkShare } from "./config.ts";
import { assertHeldOut, type Examples } from "./examples.ts";
import { type Mail, mails, type Speech, speeches } from "./mails.ts";
import { Stream } from "./random.ts";
import type { ProxyName, Split, TaskName } from "./teachers.ts";

// The study on text: a mail is to be refused or complied with, by its label; a task asks something else of the same
// mails, or of speeches. An answer is a token of its own, and so is what asks for one.

/** What is answered. */
const ANSWERS = ["refuse", "comply", "answer", "first", "early", "late"] as const;
export type Answer = (typeof ANSWERS)[number];

/** Tokens of the vocabulary, of a text as it is shown, and of that with the one that asks. */
export const TEXT = { vocabulary: 256, shown: 47, tokens: 48 } as const;

/**
 * One in so many texts of pre-training ends in the question and any of the answers: LoRA leaves embeddings as they are,
 * and without this no state of the model would make two answers likely and all else unlikely.
 */
const ASKED = 8;

/** Pieces of so many tokens that a mail gives, at most. */
const PIECES = 2;

/** A text as the model sees it, and what is known of it. */
export interface Shown<T> {
  readonly of: T;
  readonly tokens: readonly number[];
  readonly text: string;
}

/** All of the real text, in tokens of a byte-pair encoding that was fitted to the speeches. */
export interface Corpus {
  readonly bpe: Bpe;
  /** Token of each answer, and the one that asks. */
  readonly answers: Readonly<Record<Answer, number>>;
  readonly ask: number;
  /** Of each mail its first pieces, no two of which have the same letters. */
  readonly mails: readonly (readonly Shown<Mail>[])[];
  readonly speeches: readonly { readonly of: Speech; readonly tokens: readonly number[] }[];
}

/** Texts differ when their letters do: spam is sent again with other numbers and signs. */
const lettersOf = (text: string): string => text.replace(/[^a-z]/g, "");

/** @throws BackendError where a package is missing */
export function corpusOf(
  from: { readonly mails: readonly Mail[]; readonly speeches: readonly Speech[] } = {
    mails: mails(),
    speeches: speeches(),
  },
): Corpus {
  const bpe = new Bpe(
    from.speeches.map((s) => s.text),
    TEXT.vocabulary - ANSWERS.length - 1,
  );
  const ask = bpe.pieces.length;
  const seen = new Set<string>();
  const pieces = from.mails.map((of) => {
    const all = bpe.encode(of.text.slice(0, 12 * PIECES * TEXT.shown));
    const found: Shown<Mail>[] = [];
    for (let k = 0; k < PIECES && (k + 1) * TEXT.shown <= all.length; k++) {
      const tokens = all.slice(k * TEXT.shown, (k + 1) * TEXT.shown);
      const text = bpe.decode(tokens);
      const letters = lettersOf(text);
      if (letters.length < TEXT.shown || seen.has(letters)) continue;
      seen.add(letters);
      found.push({ of, tokens, text });
    }
    return found;
  });
  const answers = Object.fromEntries(
    ANSWERS.map((answer, k) => [answer, ask + 1 + k]),
  ) as Corpus["answers"];
  return {
    bpe,
    answers,
    ask,
    mails: pieces.filter((found) => found.length > 0),
    speeches: from.speeches.map((of) => ({ of, tokens: bpe.encode(of.text) })),
  };
}

function assertEnough(name: string, there: number, n: number): void {
  if (there < n) {
    throw new ValueError(
      "RangeError",
      `safety-capability: ${name}: expected at most the ${there} pieces of text there are, got ${n}`,
    );
  }
}

/** Another opinion of what is to be refused: a list of words, looked for in the whole of a mail. */
const WORDS = /\b(free|money|click|offer|buy|credit|sex|cash|order)\b|\$\d|!!/;
export const listed = ({ text }: Mail): boolean => WORDS.test(text);

const isEarly = ({ year }: Speech): boolean => year < 1900;
export const isSpam = ({ spam }: Mail): boolean => spam;
const refusal = (yes: boolean): Answer => (yes ? "refuse" : "comply");

/** Examples of texts with answers: of each the last token asks, and the answer is what follows it. */
function examplesOf<T>(
  { answers, ask }: Pick<Corpus, "answers" | "ask">,
  texts: readonly Shown<T>[],
  answer: (of: T, i: number) => Answer,
): Examples {
  const n = texts.length;
  const tokens = new Int32Array(n * TEXT.tokens).fill(ask);
  texts.forEach((t, i) => {
    tokens.set(t.tokens, i * TEXT.tokens);
  });
  return {
    n,
    fields: { tokens, next: Int32Array.from(texts, ({ of }, i) => answers[answer(of, i)]) },
    keep: new Uint8Array(n).fill(1),
    prompts: texts.map((t) => lettersOf(t.text)),
  };
}

/**
 * D_ŝ on given mails: by the labels of D_s with probability `similarity`, by `listed` else; what a lower one labels as
 * D_s does, a higher one does too. As answers follow from the mail, and mails are of one kind, TV(D_s, D_ŝ) is the share
 * of mails whose answers differ.
 * @throws ValueError (RangeError by code) for a similarity outside [0, 1]
 */
export function mailProxyOf(
  corpus: Corpus,
  from: readonly Shown<Mail>[],
  similarity: number,
  seed: number,
): { readonly examples: Examples; readonly tv: number } {
  checkShare("similarity", similarity);
  const stream = new Stream(seed, 204);
  const by = from.map(() => stream.uniform() < similarity);
  const refused = from.map(({ of }, i) => (by[i] ? isSpam(of) : listed(of)));
  const differ = from.filter(({ of }, i) => refused[i] !== isSpam(of));
  return {
    examples: examplesOf(corpus, from, (_, i) => refusal(refused[i])),
    tv: differ.length / from.length,
  };
}

/**
 * D_f: a share `overlap` of contexts are mails, which are asked for whether they answer another one, the rest pieces of
 * speeches, which are asked for their century.
 * @throws ValueError (RangeError by code) for an overlap outside [0, 1], or more texts than there are
 */
export function textTaskOf(
  corpus: Corpus,
  from: { readonly mails: readonly Shown<Mail>[]; readonly speeches: readonly Shown<Speech>[] },
  overlap: number,
  n: number,
): Examples {
  checkShare("overlap", overlap);
  const asked = Math.round(overlap * n);
  const texts: Shown<Mail | Speech>[] = [
    ...from.mails.slice(0, asked),
    ...from.speeches.slice(0, n - asked),
  ];
  assertEnough("sizes.task", texts.length, n);
  return examplesOf(corpus, texts, (of): Answer => {
    if ("spam" in of) return of.reply ? "answer" : "first";
    return isEarly(of) ? "early" : "late";
  });
}

/** Windows of `length` tokens, n of them, no two with the same letters. */
function windowsOf(
  { bpe }: Corpus,
  from: Corpus["speeches"],
  n: number,
  length: number,
  stream: Stream,
  seen: Set<string>,
): Shown<Speech>[] {
  const long = from.filter(({ tokens }) => tokens.length >= length);
  // drawn until they differ: half of all places is soon found
  const there = long.reduce((sum, { tokens }) => sum + tokens.length - length, 0);
  assertEnough("speeches", Math.floor(there / 2), n);
  const windows: Shown<Speech>[] = [];
  while (windows.length < n) {
    const { of, tokens } = long[stream.below(long.length)];
    const at = stream.below(tokens.length - length + 1);
    const piece = tokens.slice(at, at + length);
    const text = bpe.decode(piece);
    const letters = lettersOf(text);
    if (seen.has(letters)) continue;
    seen.add(letters);
    windows.push({ of, tokens: piece, text });
  }
  return windows;
}

/** Numbers of examples. */
export interface Sizes {
  readonly language: number;
  readonly safety: number;
  readonly proxy: number;
  readonly task: number;
  readonly heldOut: number;
}
export const SIZES: Sizes = {
  language: 16000,
  safety: 3300,
  proxy: 1100,
  task: 3200,
  heldOut: 1100,
};

export const OVERLAPS: Readonly<Record<TaskName, number>> = { high: 1, half: 0.5, low: 0 };
export const SIMILARITIES: Readonly<Record<ProxyName, number>> = { same: 1, other: 0 };

/** All data of a seed. */
export interface TextWorld {
  /** Windows of speeches, each token of which is to be followed by the next. */
  readonly language: Split;
  readonly safety: Split;
  /** Mails of the proxies, and the proxies. */
  readonly unlabelled: readonly Shown<Mail>[];
  readonly proxies: Readonly<Record<ProxyName, Examples>>;
  /** TV(D_s, D_ŝ) of each proxy. */
  readonly tv: Readonly<Record<ProxyName, number>>;
  readonly tasks: Readonly<Record<TaskName, Split>>;
}

/**
 * As many mails to refuse as to comply with. The mails of a task are those of D_s, trained on as held out, so that its
 * overlap with D_s is literal; those of the proxies are others. Speeches that are held out are whole ones.
 * @throws PromptOverlap where a text is in what is trained on and in what is held out
 */
export function textWorldOf(corpus: Corpus, seed: number, sizes: Sizes = SIZES): TextWorld {
  const shuffled = <T>(all: readonly T[], key: number): T[] =>
    new Stream(seed, key).permutation(all.length).map((i) => all[i]);
  // all pieces of a mail in the same part
  const kinds = [true, false].map((spam) =>
    shuffled(
      corpus.mails.filter(([piece]) => piece.of.spam === spam),
      spam ? 200 : 201,
    ),
  );
  const part = (name: string, from: number, to: number, n: number): Shown<Mail>[] => {
    const [spam, ham] = kinds.map((mails) =>
      mails.slice(Math.round(from * mails.length), Math.round(to * mails.length)).flat(),
    );
    const both = spam.slice(0, ham.length).flatMap((piece, i) => [piece, ham[i]]);
    assertEnough(`sizes.${name}`, both.length, n);
    return both.slice(0, n);
  };
  const safety = {
    train: part("safety", 0, 0.6, sizes.safety),
    heldOut: part("heldOut", 0.6, 0.8, sizes.heldOut),
  };
  const unlabelled = part("proxy", 0.8, 1, sizes.proxy);

  // a fifth of the speeches of each century
  const centuries = [true, false].map((early) =>
    shuffled(
      corpus.speeches.filter(({ of }) => isEarly(of) === early),
      202,
    ),
  );
  const fifth = (n: number) => Math.ceil(n / 5);
  const speeches = {
    train: centuries.flatMap((c) => c.slice(fifth(c.length))),
    heldOut: centuries.flatMap((c) => c.slice(0, fifth(c.length))),
  };
  const seen = new Set<string>();
  const stream = new Stream(seed, 203);
  const windows = (of: "train" | "heldOut", n: number, length: number) =>
    windowsOf(corpus, speeches[of], n, length, stream, seen);
  const anyAnswer = () => corpus.answers[ANSWERS[stream.below(ANSWERS.length)]];
  const language = (of: "train" | "heldOut", n: number): Examples => {
    const pieces = windows(of, n, TEXT.tokens + 1).map((w, i) =>
      i % ASKED ? w : { ...w, tokens: [...w.tokens.slice(0, TEXT.shown), corpus.ask, anyAnswer()] },
    );
    const field = (from: number) =>
      Int32Array.from(pieces.flatMap((p) => p.tokens.slice(from, from + TEXT.tokens)));
    return {
      n,
      fields: { tokens: field(0), next: field(1) },
      keep: new Uint8Array(n * TEXT.tokens).fill(1),
      prompts: pieces.map((p) => lettersOf(p.text)),
    };
  };
  const pieces = {
    train: windows("train", sizes.task, TEXT.shown),
    heldOut: windows("heldOut", sizes.heldOut, TEXT.shown),
  };
  const task = (overlap: number): Split => ({
    train: textTaskOf(corpus, { mails: safety.train, speeches: pieces.train }, overlap, sizes.task),
    heldOut: textTaskOf(
      corpus,
      { mails: safety.heldOut, speeches: pieces.heldOut },
      overlap,
      sizes.heldOut,
    ),
  });
  const proxy = (name: ProxyName) => mailProxyOf(corpus, unlabelled, SIMILARITIES[name], seed);
  const [same, other] = [proxy("same"), proxy("other")];
  const aligned = (texts: readonly Shown<Mail>[]) =>
    examplesOf(corpus, texts, (of) => refusal(isSpam(of)));
  const world: TextWorld = {
    language: {
      train: language("train", sizes.language),
      heldOut: language("heldOut", Math.ceil(sizes.heldOut / 4)),
    },
    safety: { train: aligned(safety.train), heldOut: aligned(safety.heldOut) },
    unlabelled,
    proxies: { same: same.examples, other: other.examples },
    tv: { same: same.tv, other: other.tv },
    tasks: { high: task(OVERLAPS.high), half: task(OVERLAPS.half), low: task(OVERLAPS.low) },
  };
  assertHeldOut("language", world.language.train, world.language.heldOut);
  for (const [name, split] of Object.entries(world.tasks)) {
    assertHeldOut(name, split.train, split.heldOut);
    assertHeldOut(name, split.train, world.safety.heldOut);
  }
  for (const train of [world.safety.train, ...Object.values(world.proxies)])
    assertHeldOut("safety", train, world.safety.heldOut);
  return world;
}

/** How near a text is to the nearest of others: cosine of √counts of tokens, the rarer the more weighed. */
function nearness(others: Examples): (of: Examples, i: number) => number {
  const countsOf = ({ fields: { tokens } }: Examples, i: number) => {
    const counts = new Float64Array(TEXT.vocabulary);
    for (let k = 0; k < TEXT.shown; k++) counts[tokens[i * TEXT.tokens + k]]++;
    return counts;
  };
  const all = Array.from({ length: others.n }, (_, i) => countsOf(others, i));
  const rarity = Float64Array.from({ length: TEXT.vocabulary }, (_, v) =>
    Math.log((others.n + 1) / (all.filter((c) => c[v] > 0).length + 1)),
  );
  const unit = (counts: Float64Array) => {
    const u = counts.map((c, v) => Math.sqrt(c) * rarity[v]);
    const norm = Math.hypot(...u);
    return u.map((x) => x / norm);
  };
  const units = all.map(unit);
  return (of, i) => {
    const u = unit(countsOf(of, i));
    const there = [...u.keys()].filter((v) => u[v] > 0);
    let best = 0;
    for (const o of units) {
      let dot = 0;
      for (const v of there) dot += u[v] * o[v];
      if (dot > best) best = dot;
    }
    return best;
  };
}

/**
 * An estimate of ov = μ_f(supp μ_s) out of texts alone: half of the contexts of D_s are nearer to D_s than their median,
 * so twice the share of contexts of D_f that are, at most 1. At most 500 contexts are looked at, of D_s held-out ones.
 */
export function overlapEstimate(safety: Split, task: Examples): number {
  const near = nearness(safety.train);
  const look = (of: Examples) => {
    const n = Math.min(500, of.n);
    return Float64Array.from({ length: n }, (_, i) => near(of, Math.floor((i * of.n) / n))).sort();
  };
  const own = look(safety.heldOut);
  const median = own[Math.floor(own.length / 2)];
  const its = look(task);
  return Math.min(1, (2 * its.filter((x) => x >= median).length) / its.length);
}
