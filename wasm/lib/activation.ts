import { gelu4, relu4, sigmoid4, silu4, tanh4 } from "./math";

/** The param `act` of kernels/lib/activation.ts, by index. */
// @ts-ignore: decorator
@inline
export function activate(act: u32, v: v128): v128 {
  if (act == 0) return v;
  if (act == 1) return relu4(v);
  if (act == 2) return tanh4(v);
  if (act == 3) return sigmoid4(v);
  if (act == 4) return gelu4(v);
  return silu4(v);
}
