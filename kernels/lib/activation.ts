import { type AnyKernel, choice, type Param, type Vjp } from "../../core/contract.ts";
import type { Tensor } from "../../core/tensor.ts";
import { gelu_bwd, relu_bwd, sigmoid_bwd, silu_bwd, tanh_bwd } from "../unary.ts";

// What a product may do to its sums before it stores them: the param `act` and its gradient.

export const activation = (): Param => choice("none", "relu", "tanh", "sigmoid", "gelu", "silu");

export const activations: Record<string, (v: number) => number> = {
  none: (v) => v,
  relu: (v) => Math.max(v, 0),
  tanh: Math.tanh,
  sigmoid: (v) => 1 / (1 + Math.exp(-v)),
  gelu: (v) => 0.5 * v * (1 + Math.tanh(0.7978845608028654 * (v + 0.044715 * v ** 3))),
  silu: (v) => v / (1 + Math.exp(-v)),
};
/** Slopes from the output; the others need the value before the activation. */
const fromOutput: Record<string, AnyKernel> = {
  relu: relu_bwd,
  tanh: tanh_bwd,
  sigmoid: sigmoid_bwd,
};
const fromInput: Record<string, AnyKernel> = { gelu: gelu_bwd, silu: silu_bwd };

/** Cotangent of the sums from that of y = act(sums); `sums` computes them where they are needed. */
export function beforeActivation(g: Vjp, act: string, sums: () => Tensor): Tensor {
  if (act in fromOutput) return fromOutput[act](g.d.y, g.out.y);
  return act in fromInput ? fromInput[act](g.d.y, sums()) : g.d.y;
}
