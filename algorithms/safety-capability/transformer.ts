import {
  type Backend,
  type Shape,
  type Slab,
  slab,
  type Tensor,
  ValueError,
} from "../../core/index.ts";
import {
  add,
  attention,
  gather,
  matmul,
  mul,
  permute,
  project_ball,
  rmsnorm,
  rope,
  scale,
  silu,
  softmax_xent,
  sum,
} from "../../kernels/index.ts";
import { Stream } from "./random.ts";
import type { Model, Named } from "./tradeoff.ts";

// A decoder with RMSNorm, RoPE, grouped-query attention and SwiGLU, all of it trainable, or LoRA on its seven products.

export interface Shapes {
  readonly vocabulary: number;
  /** Tokens of an example; the loss of each is that of the next one. */
  readonly tokens: number;
  /** How many of them, the last ones, have their loss asked for; default all. The last layer then does without the rest. */
  readonly answer?: number;
  readonly width: number;
  readonly heads: number;
  /** Heads of k and v. */
  readonly groups: number;
  readonly layers: number;
  /** Width of the MLP. */
  readonly inner: number;
}

export interface Lora {
  readonly rank: number;
  /** a: what is added to W0 is (a/r) A B. */
  readonly alpha: number;
}

/** The products of a layer, [in, out]. */
function products({
  width,
  heads,
  groups,
  inner,
}: Shapes): Readonly<Record<string, [number, number]>> {
  const kv = (width / heads) * groups;
  return {
    q: [width, width],
    k: [width, kv],
    v: [width, kv],
    o: [width, width],
    gate: [width, inner],
    up: [width, inner],
    down: [inner, width],
  };
}

const layersOf = (s: Shapes): number[] => Array.from({ length: s.layers }, (_, i) => i);
/** Every product by name, `0.q` and so on. */
export const linears = (s: Shapes): [string, [number, number]][] =>
  layersOf(s).flatMap((i) =>
    Object.entries(products(s)).map(([n, io]): [string, [number, number]] => [`${i}.${n}`, io]),
  );

const paramsOf = (s: Shapes): Record<string, Shape> => ({
  // RoPE tells how far apart two tokens are; a permutation for each place asks where they are
  tokens: [s.vocabulary, s.width],
  positions: [s.tokens, s.width],
  ...Object.fromEntries(linears(s)),
  ...Object.fromEntries(
    layersOf(s).flatMap((i) => [`${i}.norm1`, `${i}.norm2`].map((n) => [n, [s.width]])),
  ),
  norm: [s.width],
});

const answerOf = (s: Shapes): number => s.answer ?? s.tokens;

/** Rows of the tokens whose loss is asked for, (B·answer, W), of those of all of them. */
function asked(s: Shapes, x: Tensor): Tensor {
  const [T, n] = [s.tokens, answerOf(s)];
  if (n === T) return x;
  const B = x.shape[0] / T;
  const rows = Int32Array.from({ length: B * n }, (_, i) => {
    const [b, k] = [Math.floor(i / n), i % n];
    return (b + 1) * T - n + k;
  });
  return gather(x, x.backend.tensor([B * n], rows, "i32"));
}

/** Logits (B·answer, V) of tokens (B,T); `product` does x W of a name. */
function logitsOf(
  s: Shapes,
  base: Named,
  tokens: Tensor,
  product: (x: Tensor, name: string) => Tensor,
): Tensor {
  const { tokens: T, width: W, heads: H, groups: G } = s;
  const [B] = tokens.shape;
  const rows = B * T;
  const split = (x: Tensor, n: number) => permute(x.reshape([B, T, n, W / H]));
  let x = add(gather(base.tokens, tokens), base.positions).reshape([rows, W]);
  for (const i of layersOf(s)) {
    const h = rmsnorm(x, base[`${i}.norm1`]).y;
    const q = rope(split(product(h, `${i}.q`), H));
    const k = rope(split(product(h, `${i}.k`), G));
    const v = split(product(h, `${i}.v`), G);
    let o = permute(attention(q, k, v, { causal: 1 }).o).reshape([rows, W]);
    if (i === s.layers - 1) [o, x] = [asked(s, o), asked(s, x)];
    x = add(x, product(o, `${i}.o`));
    const n = rmsnorm(x, base[`${i}.norm2`]).y;
    const inside = mul(silu(product(n, `${i}.gate`)), product(n, `${i}.up`));
    x = add(x, product(inside, `${i}.down`));
  }
  return matmul(rmsnorm(x, base.norm).y, base.tokens, { tb: 1 });
}

const format = (s: Shapes): Model["format"] => ({
  fields: { tokens: s.tokens, next: answerOf(s) },
  tokens: answerOf(s),
});
const lossOf = (logits: Tensor, next: Tensor): Tensor =>
  softmax_xent(logits, next.reshape([next.size])).loss;

/** With all of its parameters to train. */
export function transformer(s: Shapes): Model {
  if (s.width % s.heads || s.heads % s.groups || (s.width / s.heads) % 2) {
    throw new ValueError(
      "config",
      `safety-capability: heads: expected width a multiple of them, them of groups, and an even width of a head, got ` +
        `width ${s.width}, heads ${s.heads}, groups ${s.groups}`,
    );
  }
  return {
    params: paramsOf(s),
    format: format(s),
    losses: (base, { tokens, next }) =>
      lossOf(
        logitsOf(s, base, tokens, (x, name) => matmul(x, base[name])),
        next,
      ),
  };
}

/** Logits of a transformer without LoRA. */
export const fullLogits = (s: Shapes, base: Named, tokens: Tensor): Tensor =>
  logitsOf(s, base, tokens, (x, name) => matmul(x, base[name]));

/** x W0 + (a/r)(x A) B: W0 is not on the tape, and so gets no gradient. */
export const loraLogits = (
  s: Shapes,
  lora: Lora,
  base: Named,
  theta: Named,
  tokens: Tensor,
): Tensor =>
  logitsOf(s, base, tokens, (x, name) => {
    const y = matmul(x, base[name]);
    const low = matmul(x, theta[`${name}.A`]);
    const by = { alpha: lora.alpha / lora.rank, beta: 1 };
    matmul.into({ y }, { a: low, b: theta[`${name}.B`] }, by);
    return y;
  });

/** Σ ‖W − W0‖_F² = Σ (a/r)² tr((A Aᵀ)(B Bᵀ)) in products of r×r, (). */
export function loraSquaredNorm(s: Shapes, { rank, alpha }: Lora, theta: Named): Tensor {
  const parts = linears(s).map(([name]) => {
    const left = matmul(theta[`${name}.A`], theta[`${name}.A`], { ta: 1 });
    const right = matmul(theta[`${name}.B`], theta[`${name}.B`], { tb: 1 });
    return sum(mul(left, right).reshape([rank * rank]));
  });
  const total = parts.slice(1).reduce((t, p) => add(t, p), parts[0]);
  return scale(total, { by: (alpha / rank) ** 2 });
}

/** A and B of every product. */
export const loraParams = (s: Shapes, { rank }: Lora): Record<string, Shape> =>
  Object.fromEntries(
    linears(s).flatMap(([name, [from, to]]) => [
      [`${name}.A`, [from, rank]],
      [`${name}.B`, [rank, to]],
    ]),
  );

/** LoRA over a frozen base: A and B of every product are the parameters, and Case II's ball is that of W − W0. */
export function loraTransformer(s: Shapes, lora: Lora, base: Slab): Model {
  if (!(Number.isInteger(lora.rank) && lora.rank >= 1))
    throw new ValueError(
      "RangeError",
      `safety-capability: rank: expected an integer >= 1, got ${lora.rank}`,
    );
  return {
    params: loraParams(s, lora),
    format: format(s),
    losses: (theta, { tokens, next }) =>
      lossOf(loraLogits(s, lora, base.tensors, theta, tokens), next),
    ball: {
      squared: (theta) => loraSquaredNorm(s, lora, theta),
      // the norm is linear in B: all of them are scaled
      project: (theta, m, sumsq, radius) => {
        for (const [name] of linears(s)) {
          const B = `${name}.B`;
          const c = theta[B].backend.tensor(theta[B].shape);
          project_ball.into({ p: theta[B], m: m[B] }, { c, sumsq }, { radius });
        }
      },
    },
  };
}

/** W0 + (a/r) A B of every product, in a copy of the base. */
export function merged(s: Shapes, { rank, alpha }: Lora, base: Slab, theta: Named): Slab {
  const out = base.like();
  base.backend.copy(out.flat, base.flat);
  for (const [name] of linears(s)) {
    const y = out.tensors[name];
    matmul.into(
      { y },
      { a: theta[`${name}.A`], b: theta[`${name}.B`] },
      { alpha: alpha / rank, beta: 1 },
    );
  }
  return out;
}

/** Normal weights of 1/√in, embeddings of 0.1, gains 1. */
export function startOfTransformer(s: Shapes, seed: number): Record<string, Float32Array> {
  const stream = new Stream(seed, 80);
  return Object.fromEntries(
    Object.entries(paramsOf(s)).map(([name, shape]) => {
      const size = shape.reduce((a, b) => a * b, 1);
      if (shape.length === 1) return [name, new Float32Array(size).fill(1)];
      const sigma = name === "tokens" || name === "positions" ? 0.1 : shape[0] ** -0.5;
      return [name, Float32Array.from({ length: size }, () => sigma * stream.normal())];
    }),
  );
}

/** A normal of 1/√in, B zero: the model of the base. */
export function startOfLora(s: Shapes, { rank }: Lora, seed: number): Record<string, Float32Array> {
  const stream = new Stream(seed, 81);
  return Object.fromEntries(
    linears(s).flatMap(([name, [from, to]]) => [
      [
        `${name}.A`,
        Float32Array.from({ length: from * rank }, () => from ** -0.5 * stream.normal()),
      ],
      [`${name}.B`, new Float32Array(rank * to)],
    ]),
  );
}

/** θ as a slab of a model, for those who look at its tensors. */
export function loaded(be: Backend, model: Model, theta: Float32Array): Slab {
  const p = slab(be, model.params);
  p.load(theta);
  return p;
}
