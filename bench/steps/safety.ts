// Fine-tuning steps of algorithms/safety-capability, Case I at λ = 1: 64 examples of the task and 64 of the proxy in one
// forward and backward pass, Adam. S3's network, and S4's transformer of which only LoRA learns.

import { defaults } from "../../algorithms/safety-capability/config.ts";
import { LORA, SMALL } from "../../algorithms/safety-capability/experiments/lora.ts";
import {
  ANSWER,
  HIDDEN,
  network,
  PROMPT,
  rowsOfPrompts,
  VOCABULARY,
} from "../../algorithms/safety-capability/teachers.ts";
import {
  init,
  type Model,
  rowsOf,
  step,
  tensorsOf,
} from "../../algorithms/safety-capability/tradeoff.ts";
import {
  linears,
  loraParams,
  loraTransformer,
  transformer,
} from "../../algorithms/safety-capability/transformer.ts";
import type { Backend } from "../../core/backend.ts";
import { capture } from "../../core/capture.ts";
import { slab } from "../../core/slab.ts";
import type { Point } from "../subject.ts";
import { inputData } from "../uniform.ts";
import { CHECKED, losses, stepSubject } from "./subject.ts";

const { batch, beta1, beta2 } = defaults;
const LR = 1e-2;
const ROWS = rowsOf(defaults);
const params = { lr: LR, beta1, beta2, eps: 1e-8, batch, scale: 0.3, checked: CHECKED };

/** A number u of a stream is token ⌊(u + 1)/2 · n⌋. */
const token = (u: number, n: number): number => Math.floor(((u + 1) / 2) * n);

/** A mean over the kept tokens of each half of the rows. */
function weightsOf(tokens: number, keep: (k: number) => boolean): Float32Array {
  const kept = Array.from({ length: tokens }, (_, k) => keep(k));
  const each = 1 / (batch * kept.filter(Boolean).length);
  return Float32Array.from({ length: 2 * ROWS * tokens }, (_, i) => {
    const [row, source] = [Math.floor(i / 2 / tokens), i % 2];
    return kept[(i >> 1) % tokens] && Number(row >= batch) === source ? each : 0;
  });
}

/** Steps on one batch, again and again; what is checked is f_f. */
async function fixedBatch(
  backend: Backend,
  model: Model,
  start: Readonly<Record<string, ArrayLike<number>>>,
  data: Readonly<Record<string, Int32Array | Float32Array>>,
  { shape, flops }: { shape: string; flops: number },
  owns: readonly { dispose(): void }[] = [],
) {
  const state = init(backend, model, { ...defaults, lr: LR }, start);
  const inputs = tensorsOf(backend, model, ROWS, data);
  const captured = await capture(backend, ({ scalar: { t } }) => step(state, inputs, { t }), {
    scalars: { t: { start: 1 } },
  });
  return stepSubject(backend, captured, { shape, flops }, () => losses(captured), [
    { dispose: () => state[Symbol.dispose]() },
    ...Object.values(inputs),
    ...owns,
  ]);
}

/** Prompts over 16 tokens and answers as streams, then the parameters of the network. */
export const networkCase = {
  op: "step_safety_network",
  inputs: [[ROWS, PROMPT], [ROWS, ANSWER], ...Object.values(network.params)] as number[][],
  params: { ...params, vocabulary: VOCABULARY, prompts: 16 },
};

export const networkStep: Point = {
  kernel: "step_safety_network",
  source: "256-64-4×32, two sources of 64",
  prepare(backend) {
    const [prompts, answers, ...content] = inputData(networkCase.inputs);
    const start = Object.fromEntries(
      Object.keys(network.params).map((name, i) => [name, content[i].map((u) => params.scale * u)]),
    );
    const data = {
      prompt: rowsOfPrompts(Int32Array.from(prompts, (u) => token(u, networkCase.params.prompts))),
      answer: Int32Array.from(answers, (u) => token(u, VOCABULARY)),
      weights: weightsOf(ANSWER, () => true),
    };
    // the first layer is a sum of rows forward, and a scatter backward
    const flops = 2 * ROWS * HIDDEN * (2 * PROMPT + 3 * ANSWER * VOCABULARY);
    const shape = `${PROMPT * VOCABULARY}-${HIDDEN}-${ANSWER}x${VOCABULARY} batch=${batch}+${batch}`;
    return fixedBatch(backend, network, start, data, { shape, flops });
  },
};

const { tokens: TOKENS, width: WIDTH, vocabulary, layers, heads, groups } = SMALL;
const base = transformer(SMALL).params;
const LOW = loraParams(SMALL, LORA);

/**
 * Sequences as a stream of one token more, then the frozen parameters in the order of `transformer`, gains 1 more, then A
 * and B of each product in that order. The last ANSWER tokens are what counts.
 */
export const loraCase = {
  op: "step_safety_lora",
  inputs: [[ROWS, TOKENS + 1], ...Object.values(base), ...Object.values(LOW)] as number[][],
  params: { ...params, ...LORA, layers, heads, groups, answer: ANSWER, norm: 1e-6, theta: 10000 },
};

export const loraStep: Point = {
  kernel: "step_safety_lora",
  source: "LoRA over 2 layers of width 32, two sources of 64",
  prepare(backend) {
    const [stream, ...content] = inputData(loraCase.inputs);
    const named = (shapes: Readonly<Record<string, unknown>>, first: number) =>
      Object.fromEntries(
        Object.keys(shapes).map((name, i) => [
          name,
          content[first + i].map((u) => params.scale * u + Number(name.includes("norm"))),
        ]),
      );
    const frozen = slab(backend, base, named(base, 0));
    const model = loraTransformer(SMALL, LORA, frozen);
    const rows = (from: number) =>
      Int32Array.from({ length: ROWS * TOKENS }, (_, i) =>
        token(stream[Math.floor(i / TOKENS) * (TOKENS + 1) + (i % TOKENS) + from], vocabulary),
      );
    const data = {
      tokens: rows(0),
      next: rows(1),
      weights: weightsOf(TOKENS, (k) => k >= TOKENS - ANSWER),
    };
    const products = linears(SMALL).reduce((n, [, [from, to]]) => n + from * to, 0);
    const low = linears(SMALL).reduce((n, [, [from, to]]) => n + (from + to) * LORA.rank, 0);
    const attention = layers * 2 * WIDTH * ((TOKENS + 1) / 2);
    // W0 and the head have a gradient of x only, A and B both
    const each = 2 * (products + vocabulary * WIDTH) + 3 * (low + attention);
    const flops = 2 * ROWS * TOKENS * each;
    const shape = `layers=${layers} width=${WIDTH} heads=${heads} tokens=${TOKENS} rank=${LORA.rank} batch=${batch}+${batch}`;
    return fixedBatch(
      backend,
      model,
      named(LOW, Object.keys(base).length),
      data,
      { shape, flops },
      [frozen],
    );
  },
};
