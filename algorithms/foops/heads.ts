import { type Backend, scope, slab, type Tensor } from "../../core/index.ts";
import { normalPair, threefry2x32 } from "../../core/threefry.ts";
import { conv2d, matmul, max_pool2d, mean, relu, softmax_xent, tanh } from "../../kernels/index.ts";
import type { Pairs } from "./pairs.ts";
import type { Named, Problem } from "./problem.ts";

/** A network with a trunk and two heads of ten classes over images of side×side. */
export interface Network {
  readonly side: number;
  readonly params: Readonly<Record<string, readonly number[]>>;
  /** Features of images (B, side²). */
  readonly trunk: (p: Named, x: Tensor) => Tensor;
}

const POOL = { kernel_h: 2, kernel_w: 2, stride: 2 };
const heads = (width: number) => ({
  left: [width, 10],
  leftBias: [10],
  right: [width, 10],
  rightBias: [10],
});

/** side²-width-{10,10}. */
export const mlp = (side: number, width: number, act: "relu" | "tanh" = "relu"): Network => ({
  side,
  params: { w: [side * side, width], b: [width], ...heads(width) },
  trunk: ({ w, b }, x) => {
    const h = matmul(x, w, { bias: b });
    return act === "relu" ? relu(h) : tanh(h);
  },
});

/** The LeNet of Multi-MNIST, 36×36: conv 1-10 9×9, pool, conv 10-20 5×5, pool, 500-50. */
export const lenet: Network = {
  side: 36,
  params: {
    c1: [10, 1, 9, 9],
    c1Bias: [10],
    c2: [20, 10, 5, 5],
    c2Bias: [20],
    w: [500, 50],
    b: [50],
    ...heads(50),
  },
  trunk: ({ c1, c1Bias, c2, c2Bias, w, b }, x) => {
    const [B] = x.shape;
    const a = relu(conv2d(x.reshape([B, 1, 36, 36]), c1, { bias: c1Bias }));
    const d = relu(conv2d(max_pool2d(a, POOL).y, c2, { bias: c2Bias }));
    return matmul(max_pool2d(d, POOL).y.reshape([B, 500]), w, { bias: b, act: "relu" });
  },
};

/** Weights of He et al., biases 0. */
export function startOf({ params }: Network, seed: number): Record<string, Float32Array> {
  return Object.fromEntries(
    Object.entries(params).map(([name, shape], k) => {
      const size = shape.reduce((a, b) => a * b, 1);
      const isBias = name.toLowerCase().endsWith("bias") || name === "b";
      const fanIn = shape.length === 4 ? size / shape[0] : shape[0];
      const sigma = isBias ? 0 : Math.sqrt(2 / fanIn);
      return [
        name,
        Float32Array.from(
          { length: size },
          (_, i) => sigma * normalPair(...threefry2x32(seed, 50 + k, i, 0))[0],
        ),
      ];
    }),
  );
}

const logits = (net: Network, p: Named, x: Tensor): [Tensor, Tensor] => {
  const h = net.trunk(p, x);
  return [matmul(h, p.left, { bias: p.leftBias }), matmul(h, p.right, { bias: p.rightBias })];
};

/** F = the mean cross-entropies of the two heads on a batch. */
export const headsProblem = (
  net: Network,
  batch: number,
  preference: Problem["preference"],
): Problem => ({
  M: 2,
  params: net.params,
  inputs: {
    x: [batch, net.side ** 2],
    left: { shape: [batch], dtype: "i32" },
    right: { shape: [batch], dtype: "i32" },
  },
  losses: (p, { x, left, right }) => {
    const [a, b] = logits(net, p, x);
    return [mean(softmax_xent(a, left).loss), mean(softmax_xent(b, right).loss)];
  },
  preference,
});

/** Mean losses and accuracies of both heads over `data`. */
export async function judge(
  be: Backend,
  net: Network,
  x: Readonly<Record<string, ArrayLike<number>>>,
  data: Pairs,
): Promise<{ F: [number, number]; accuracy: [number, number] }> {
  using p = slab(be, net.params, x);
  const n = data.left.length;
  const features = net.side ** 2;
  const F: [number, number] = [0, 0];
  const right: [number, number] = [0, 0];
  const chunk = 500;
  for (let at = 0; at < n; at += chunk) {
    const size = Math.min(chunk, n - at);
    const labels = [data.left, data.right].map((l) => l.subarray(at, at + size));
    const out = scope(() => {
      const images = be.tensor(
        [size, features],
        data.x.subarray(at * features, (at + size) * features),
      );
      const z = logits(net, p.tensors, images);
      return z.map((l, k) => ({
        z: l,
        loss: softmax_xent(l, be.tensor([size], labels[k], "i32")).loss,
      }));
    });
    for (const [k, { z, loss }] of out.entries()) {
      for (const l of await loss.read()) F[k] += l / n;
      const rows = await z.read();
      for (let i = 0; i < size; i++) {
        const row = rows.subarray(10 * i, 10 * i + 10);
        let best = 0;
        for (let c = 1; c < 10; c++) if (row[c] > row[best]) best = c;
        if (best === labels[k][i]) right[k] += 1 / n;
      }
      z.dispose();
      loss.dispose();
    }
  }
  return { F, accuracy: right };
}
