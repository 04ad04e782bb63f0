import { type Case, type Dims, type Params, u32, type Vjp } from "../../core/contract.ts";
import type { Tensor } from "../../core/tensor.ts";
import { sum, sum_leading } from "../reduce.ts";
import { atLeastOne } from "./params.ts";

// What the convolutions share. All are one trilinear sum over the same triples of indices, read three
// ways: y += x·w, dx += dy·w, dw += dy·x.

type Fail = (why: string) => never;

/** Both axes alike: step of the window, zeros added on every side, distance of two taps. */
export const windowParams = () => ({ stride: atLeastOne(1), pad: u32(0), dilation: atLeastOne(1) });
/** Rows and columns of x beyond the last window: what a stride leaves over, less than it. */
export const outputPads = () => ({ output_pad_h: u32(0), output_pad_w: u32(0) });
/** Extents of w, which x and dy leave open where the stride is not 1. */
export const kernelExtents = () => ({ kernel_h: u32(), kernel_w: u32() });

/** Padded axes stay below this, so that wasm and WGSL can use signed coordinates. */
const LIMIT = 2 ** 30;

/** P and Q from H, W, R and S; where they are known already, they must be these. */
export function windows(d: Dims, p: Params, fail: Fail): void {
  for (const [out, size, taps] of [
    ["P", "H", "R"],
    ["Q", "W", "S"],
  ]) {
    const padded = d[size] + 2 * p.pad;
    const span = p.dilation * (d[taps] - 1) + 1;
    if (d[taps] < 1) fail(`w: ${taps} is 0; a kernel has at least one tap`);
    if (padded >= LIMIT) fail(`x: ${size} + 2·pad = ${padded} is not below 2^30`);
    if (span > padded) {
      fail(
        `x: ${size} + 2·pad = ${padded} is less than the ${span} that ${taps} = ${d[taps]} taps span: no output`,
      );
    }
    const n = Math.floor((padded - span) / p.stride) + 1;
    if (d[out] !== undefined && d[out] !== n) fail(`dy: ${out} = ${d[out]}, but x and w give ${n}`);
    d[out] = n;
  }
}

/** H and W from P, Q, R and S: the x whose windows P and Q count. */
export function transposedWindows(d: Dims, p: Params, fail: Fail): void {
  for (const [out, size, taps] of [
    ["P", "H", "R"],
    ["Q", "W", "S"],
  ]) {
    const extra = p[`output_pad_${size.toLowerCase()}`];
    if (d[taps] < 1) fail(`w: ${taps} is 0; a kernel has at least one tap`);
    if (d[out] < 1) fail(`x: ${out} is 0; a transposed convolution needs at least one window`);
    if (extra >= p.stride)
      fail(`output_pad_${size.toLowerCase()} = ${extra} is not below the stride ${p.stride}`);
    const n = (d[out] - 1) * p.stride + p.dilation * (d[taps] - 1) + 1 + extra - 2 * p.pad;
    if (n < 0) fail(`y: ${size} would be ${n}; the padding takes away more than there is`);
    if (n + 2 * p.pad >= LIMIT) fail(`y: ${size} + 2·pad = ${n + 2 * p.pad} is not below 2^30`);
    d[size] = n;
  }
}

/** The params of the transposed convolution whose result has the extents of x. */
export const transposed = (d: Dims, p: Params): Params => ({
  ...windowOf(p),
  output_pad_h: (d.H + 2 * p.pad - p.dilation * (d.R - 1) - 1) % p.stride,
  output_pad_w: (d.W + 2 * p.pad - p.dilation * (d.S - 1) - 1) % p.stride,
});

/** The params that all convolutions of one geometry have in common. */
export const windowOf = ({ stride, pad, dilation, groups }: Params): Params => ({
  stride,
  pad,
  dilation,
  ...(groups === undefined ? {} : { groups }),
});
export const extentsOf = ({ R, S }: Dims): Params => ({ kernel_h: R, kernel_w: S });

/**
 * All triples of flat indices into y (B,O,P,Q), x (B,C,H,W) and w (O,C/groups,R,S) whose elements
 * meet; taps on the padding meet nothing.
 */
export function eachMeeting(
  { B, O, P, Q, C, H, W, R, S }: Dims,
  { stride, pad, dilation, groups }: Params,
  meet: (y: number, x: number, w: number) => void,
): void {
  const I = C / groups;
  for (let iy = 0; iy < B * O * P * Q; iy++) {
    const q = iy % Q;
    const p = Math.floor(iy / Q) % P;
    const o = Math.floor(iy / (P * Q)) % O;
    const b = Math.floor(iy / (O * P * Q));
    const first = Math.floor(o / (O / groups)) * I;
    for (let iw = o * I * R * S; iw < (o + 1) * I * R * S; iw++) {
      const h = p * stride - pad + (Math.floor(iw / S) % R) * dilation;
      const w = q * stride - pad + (iw % S) * dilation;
      const c = first + (Math.floor(iw / (R * S)) % I);
      if (h >= 0 && h < H && w >= 0 && w < W) meet(iy, ((b * C + c) * H + h) * W + w, iw);
    }
  }
}

/** Gradient of a bias (C) added to all pixels of (B,C,·,·). */
export function biasGradient(g: Vjp, dz: Tensor): void {
  if (!g.needs("bias")) return;
  const [B, C, H, W] = dz.shape;
  g.to("bias", sum_leading, [sum(dz.reshape([B, C, H * W]))]);
}

/** A case from the extents of x and w: `O C R S` of the kernel on `B H W`. */
export const convCase = (
  dims: { B: number; C: number; H: number; W: number; O: number; R: number; S: number },
  params: Params = {},
  more: Omit<Case, "dims" | "params"> = {},
): Case => ({ dims: { ...dims, I: dims.C / (params.groups ?? 1) }, params, ...more });

/** Cases of a convolution as cases of its gradients: the same extents, and what no shape gives. */
export const asTransposed = (from: () => Case[]) => () =>
  from().map((c): Case => {
    const p = { stride: 1, pad: 0, dilation: 1, ...c.params };
    const d: Dims = { ...(c.dims as Dims) };
    windows(d, p, (why) => {
      throw new Error(why);
    });
    return { ...c, dims: d, params: { ...c.params, ...transposed(d, p) } };
  });
export const asWeightGradient = (from: () => Case[]) => () =>
  from().map((c): Case => ({ ...c, params: { ...c.params, ...extentsOf(c.dims as Dims) } }));
