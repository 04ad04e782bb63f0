// Attention forward and backward, as one captured step: what it costs a layer in training.
import { capture } from "../../core/capture.ts";
import { vjp } from "../../core/tape.ts";
import type { Tensor } from "../../core/tensor.ts";
import { attention } from "../../kernels/attention.ts";
import type { Point } from "../subject.ts";
import { inputData } from "../uniform.ts";
import { stepSubject } from "./subject.ts";

const [B, H, S, D] = [1, 8, 1024, 64];
const heads = [B, H, S, D];
/** Two products forward, five backward. */
const FLOPS = 7 * 2 * B * H * S * S * D;

/** q, k, v and the cotangent of the output; what comes out is dq, dk and dv, one after another. */
export const attentionCase = {
  op: "attention_fwd_bwd",
  inputs: [heads, heads, heads, heads],
};

export const attentionStep: Point = {
  kernel: "attention_fwd_bwd",
  source: "attention forward and backward",
  async prepare(backend) {
    const [q, k, v, dy] = inputData(attentionCase.inputs).map((x) => backend.tensor(heads, x));
    const forward = (x: Readonly<Record<string, Tensor>>) => attention(x.q, x.k, x.v).o;
    const step = await capture(backend, () => vjp(forward)({ q, k, v }, dy).grads);
    const output = async () => {
      step.run();
      const { q, k, v } = step.out;
      const parts = await Promise.all([q, k, v].map((g) => g.read()));
      return Float32Array.from(parts.flatMap((part) => [...part]));
    };
    const shape = `B=${B} H=${H} S=${S} D=${D}`;
    return stepSubject(backend, step, { shape, flops: FLOPS }, output, [q, k, v, dy]);
  },
};
