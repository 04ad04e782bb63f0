// A training step of a GPT-2 in the small: a decoder of 2 pre-norm layers, width 128, 4 heads, on 8
// sequences of 128 tokens. Learned positions, an output head tied to the embedding, AdamW over one slab
// without clipping; one captured step.
import { capture } from "../../core/capture.ts";
import { slab } from "../../core/slab.ts";
import { valueAndGrad } from "../../core/tape.ts";
import type { Tensor } from "../../core/tensor.ts";
import { adamw } from "../../kernels/adamw.ts";
import { attention } from "../../kernels/attention.ts";
import { add } from "../../kernels/binary.ts";
import { gather } from "../../kernels/gather.ts";
import { layernorm } from "../../kernels/layernorm.ts";
import { matmul } from "../../kernels/matmul.ts";
import { permute } from "../../kernels/permute.ts";
import { mean } from "../../kernels/reduce.ts";
import { softmax_xent } from "../../kernels/softmax_xent.ts";
import { gelu } from "../../kernels/unary.ts";
import type { Point } from "../subject.ts";
import { inputData } from "../uniform.ts";
import { CHECKED, losses, stepSubject } from "./subject.ts";

const [BATCH, TOKENS, WIDTH, HEADS, LAYERS, VOCABULARY] = [8, 128, 128, 4, 2, 256];
const ROWS = BATCH * TOKENS;
const ADAMW = { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01 };

const affine = (name: string, from: number, to: number): [string, number[]][] => [
  [`${name}.weight`, [from, to]],
  [`${name}.bias`, [to]],
];
const norm = (name: string): [string, number[]][] => [
  [`${name}.gain`, [WIDTH]],
  [`${name}.bias`, [WIDTH]],
];
const shapes: Readonly<Record<string, number[]>> = Object.fromEntries([
  ["tokens", [VOCABULARY, WIDTH]],
  ["positions", [TOKENS, WIDTH]],
  ...Array.from({ length: LAYERS }, (_, i) => [
    ...norm(`${i}.norm1`),
    ...["q", "k", "v", "o"].flatMap((name) => affine(`${i}.${name}`, WIDTH, WIDTH)),
    ...norm(`${i}.norm2`),
    ...affine(`${i}.up`, WIDTH, 4 * WIDTH),
    ...affine(`${i}.down`, 4 * WIDTH, WIDTH),
  ]).flat(),
  ...norm("norm"),
]);
const names = Object.keys(shapes);

/**
 * What a peer needs to do the same: a stream of tokens, then the parameters in the order above, all from
 * `inputData`. A number u of the stream is token ⌊(u + 1)/2 · vocabulary⌋, and what is predicted is the
 * next one. Parameters are times `scale`; gains are 1 more.
 */
export const transformerCase = {
  op: "step_transformer",
  inputs: [[BATCH, TOKENS + 1], ...Object.values(shapes)],
  params: { heads: HEADS, layers: LAYERS, scale: 0.05, checked: CHECKED, ...ADAMW },
};

type Named = Readonly<Record<string, Tensor>>;

/** Mean cross-entropy in nats of the next tokens (ROWS) after the tokens (BATCH,TOKENS). */
function lossOf(p: Named, tokens: Tensor, next: Tensor): Tensor {
  const linear = (x: Tensor, name: string) =>
    matmul(x, p[`${name}.weight`], { bias: p[`${name}.bias`] });
  const normed = (x: Tensor, name: string) => layernorm(x, p[`${name}.gain`], p[`${name}.bias`]).y;
  const split = (x: Tensor) => permute(x.reshape([BATCH, TOKENS, HEADS, WIDTH / HEADS]));
  let x = add(gather(p.tokens, tokens), p.positions).reshape([ROWS, WIDTH]);
  for (let i = 0; i < LAYERS; i++) {
    const h = normed(x, `${i}.norm1`);
    const [q, k, v] = ["q", "k", "v"].map((name) => split(linear(h, `${i}.${name}`)));
    const heads = permute(attention(q, k, v, { causal: 1 }).o);
    x = add(x, linear(heads.reshape([ROWS, WIDTH]), `${i}.o`));
    const up = gelu(linear(normed(x, `${i}.norm2`), `${i}.up`));
    x = add(x, linear(up, `${i}.down`));
  }
  return mean(softmax_xent(matmul(normed(x, "norm"), p.tokens, { tb: 1 }), next).loss);
}

/** Multiplications and additions of the products and of what causal attention looks at. */
const FORWARD =
  2 * ROWS * (LAYERS * 12 * WIDTH ** 2 + VOCABULARY * WIDTH) +
  LAYERS * 4 * BATCH * WIDTH * ((TOKENS * (TOKENS + 1)) / 2);

export const transformerStep: Point = {
  kernel: "step_transformer",
  source: "GPT of 2 layers, width 128, batch 8",
  async prepare(backend) {
    const [stream, ...content] = inputData(transformerCase.inputs);
    const start = Object.fromEntries(
      names.map((name, i) => [
        name,
        content[i].map((u) => transformerCase.params.scale * u + Number(name.endsWith("gain"))),
      ]),
    );
    const p = slab(backend, shapes, start);
    const [m, v] = [p.like(), p.like()];
    const rows = (from: number) =>
      Int32Array.from({ length: ROWS }, (_, i) => {
        const u = stream[Math.floor(i / TOKENS) * (TOKENS + 1) + (i % TOKENS) + from];
        return Math.floor(((u + 1) / 2) * VOCABULARY);
      });
    const tokens = backend.tensor([BATCH, TOKENS], rows(0), "i32");
    const next = backend.tensor([ROWS], rows(1), "i32");
    const step = await capture(
      backend,
      ({ scalar: { t } }) => {
        const { value } = valueAndGrad((q: Named) => lossOf(q, tokens, next))(p);
        adamw(p.flat, m.flat, v.flat, p.grad.flat, { ...ADAMW, t });
        return value;
      },
      { scalars: { t: { start: 1 } } },
    );
    const shape = `layers=${LAYERS} width=${WIDTH} heads=${HEADS} tokens=${TOKENS} batch=${BATCH}`;
    return stepSubject(backend, step, { shape, flops: 3 * FORWARD }, () => losses(step), [
      p,
      m,
      v,
      tokens,
      next,
    ]);
  },
};
