// A training step of the MLP 784-256-10 on 32 rows: forward, backward, SGD; one captured step.
import { capture } from "../../core/capture.ts";
import { slab } from "../../core/slab.ts";
import { valueAndGrad } from "../../core/tape.ts";
import type { Tensor } from "../../core/tensor.ts";
import { matmul } from "../../kernels/matmul.ts";
import { sgd } from "../../kernels/sgd.ts";
import { softmax_xent } from "../../kernels/softmax_xent.ts";
import type { Point } from "../subject.ts";
import { inputData } from "../uniform.ts";
import { CHECKED, losses, stepSubject } from "./subject.ts";

const [BATCH, INPUT, HIDDEN, CLASSES] = [32, 784, 256, 10];
const LR = 0.1;
const ARITHMETIC = 2 * BATCH * (INPUT * HIDDEN + HIDDEN * CLASSES);

/** What a peer needs to do the same: x, then weights and biases, all from `inputData`. */
export const mlpCase = {
  op: "step_mlp",
  inputs: [[BATCH, INPUT], [INPUT, HIDDEN], [HIDDEN], [HIDDEN, CLASSES], [CLASSES]],
  params: { lr: LR, scale: 0.05, checked: CHECKED },
};

export const mlpStep: Point = {
  kernel: "step_mlp",
  source: "MLP 784-256-10, batch 32",
  async prepare(backend) {
    const [x, ...weights] = inputData(mlpCase.inputs);
    const names = ["w1", "b1", "w2", "b2"];
    const pick = <T>(of: (i: number) => T) => Object.fromEntries(names.map((n, i) => [n, of(i)]));
    const start = pick((i) => weights[i].map((v) => mlpCase.params.scale * v));
    const p = slab(
      backend,
      pick((i) => mlpCase.inputs[i + 1]),
      start,
    );
    const m = p.like();
    const input = backend.tensor([BATCH, INPUT], x);
    const labels = backend.tensor(
      [BATCH],
      Int32Array.from({ length: BATCH }, (_, i) => i % CLASSES),
    );
    const step = await capture(backend, () => {
      const { value } = valueAndGrad(({ w1, b1, w2, b2 }: Readonly<Record<string, Tensor>>) => {
        const h = matmul(input, w1, { bias: b1, act: "relu" });
        return softmax_xent(matmul(h, w2, { bias: b2 }), labels, { reduction: "mean" }).loss;
      })(p);
      sgd(p.flat, m.flat, p.grad.flat, { lr: LR });
      return value;
    });
    // twice the forward's arithmetic again for the two gradients of each product, less that of x
    const flops = 3 * ARITHMETIC - 2 * BATCH * INPUT * HIDDEN;
    const shape = `${INPUT}-${HIDDEN}-${CLASSES} batch=${BATCH}`;
    return stepSubject(backend, step, { shape, flops }, () => losses(step), [p, m, input, labels]);
  },
};
