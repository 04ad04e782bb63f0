import { normalPair, threefry2x32 } from "../../core/threefry.ts";
import { add, embedding_bag, matmul, relu, softmax_xent } from "../../kernels/index.ts";
import type { Examples } from "./examples.ts";
import { Stream } from "./random.ts";
import type { Model } from "./tradeoff.ts";

// S3: prompts of 8 tokens out of 32, answers of 4 by a teacher: answer j is a permutation of prompt token j.

export const VOCABULARY = 32;
export const PROMPT = 8;
export const ANSWER = 4;
const NOISE = 0.05;

/** perm_j for each token j of the answer. */
export type Teacher = readonly (readonly number[])[];

const teacher = (stream: Stream): Teacher =>
  Array.from({ length: ANSWER }, () => stream.permutation(VOCABULARY));

/** A quarter of the entries of each permutation, one on in a cycle. */
function cycled(of: Teacher, stream: Stream): Teacher {
  return of.map((perm) => {
    const moved = stream.permutation(VOCABULARY).slice(0, VOCABULARY / 4);
    const next = [...perm];
    moved.forEach((x, i) => {
      next[x] = perm[moved[(i + 1) % moved.length]];
    });
    return next;
  });
}

export const teachersOf = (seed: number): Readonly<Record<"A" | "B" | "C", Teacher>> => {
  const stream = new Stream(seed, 20);
  const A = teacher(stream);
  return { A, B: cycled(A, stream), C: teacher(stream) };
};

/** Prompts over `width` tokens from `first` on that are not in `seen`, which they join; answers with 5 % label noise. */
export function answered(
  by: Teacher,
  first: number,
  n: number,
  stream: Stream,
  seen: Set<string>,
  width = 16,
): Examples {
  const prompt = new Int32Array(n * PROMPT);
  const answer = new Int32Array(n * ANSWER);
  const prompts: string[] = [];
  for (let i = 0; i < n; i++) {
    let key: string;
    do {
      for (let k = 0; k < PROMPT; k++) prompt[i * PROMPT + k] = first + stream.below(width);
      key = prompt.subarray(i * PROMPT, (i + 1) * PROMPT).join(" ");
    } while (seen.has(key));
    seen.add(key);
    prompts.push(key);
    for (let j = 0; j < ANSWER; j++) {
      const y = by[j][prompt[i * PROMPT + j]];
      answer[i * ANSWER + j] = stream.uniform() < NOISE ? stream.below(VOCABULARY) : y;
    }
  }
  return { n, fields: { prompt, answer }, keep: new Uint8Array(n * ANSWER).fill(1), prompts };
}

export interface Split {
  readonly train: Examples;
  readonly heldOut: Examples;
}
export const TASKS = ["high", "half", "low"] as const;
export type TaskName = (typeof TASKS)[number];
export const PROXIES = ["same", "other"] as const;
export type ProxyName = (typeof PROXIES)[number];

/** All data of a seed. */
export interface World {
  readonly safety: Split;
  readonly proxies: Readonly<Record<ProxyName, Examples>>;
  readonly tasks: Readonly<Record<TaskName, Split>>;
}

export function worldOf(seed: number): World {
  const { A, B, C } = teachersOf(seed);
  const seen = new Set<string>();
  const split = (by: Teacher, first: number, key: number, n: number): Split => {
    const stream = new Stream(seed, key);
    return {
      train: answered(by, first, n, stream, seen),
      heldOut: answered(by, first, 1000, stream, seen),
    };
  };
  const proxy = (by: Teacher) => answered(by, 0, 1000, new Stream(seed, 31), new Set(seen));
  const safety = split(A, 0, 30, 3000);
  return {
    safety,
    proxies: { same: proxy(A), other: proxy(B) },
    tasks: {
      high: split(B, 0, 40, 2000),
      half: split(B, 8, 41, 2000),
      low: split(C, 16, 42, 2000),
    },
  };
}

/** One-hot prompts of 256, 64 rectified, 4 answers out of 32: the first product is a sum of 8 rows. */
export const HIDDEN = 64;
export const network: Model = {
  params: {
    w1: [PROMPT * VOCABULARY, HIDDEN],
    b1: [HIDDEN],
    w2: [HIDDEN, ANSWER * VOCABULARY],
    b2: [ANSWER * VOCABULARY],
  },
  format: { fields: { prompt: PROMPT, answer: ANSWER }, tokens: ANSWER },
  losses: ({ w1, b1, w2, b2 }, { prompt, answer }) => {
    const [B] = prompt.shape;
    // one-hot tokens times w1: token v at place k is row 32 k + v
    const h = relu(add(embedding_bag(w1, prompt), b1));
    const logits = matmul(h, w2, { bias: b2 });
    return softmax_xent(logits.reshape([B * ANSWER, VOCABULARY]), answer.reshape([B * ANSWER]))
      .loss;
  },
};

/** Tokens of prompts as rows of w1. */
export const rowsOfPrompts = (tokens: Int32Array): Int32Array =>
  tokens.map((v, i) => (i % PROMPT) * VOCABULARY + v);

export const forNetwork = (e: Examples): Examples => ({
  ...e,
  fields: { ...e.fields, prompt: rowsOfPrompts(e.fields.prompt) },
});

/** Weights of standard deviation √(2/256) and √(1/64), biases 0. */
export function startOf(seed: number): Record<string, Float32Array> {
  const sigma: Record<string, number> = {
    w1: Math.sqrt(2 / (PROMPT * VOCABULARY)),
    w2: Math.sqrt(1 / HIDDEN),
  };
  return Object.fromEntries(
    Object.entries(network.params).map(([name, shape], k) => [
      name,
      Float32Array.from(
        { length: shape.reduce((a, b) => a * b, 1) },
        (_, i) => (sigma[name] ?? 0) * normalPair(...threefry2x32(seed, 60 + k, i, 0))[0],
      ),
    ]),
  );
}
