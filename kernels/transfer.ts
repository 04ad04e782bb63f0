import {
  defineKernel,
  edges,
  f32,
  inout,
  inp,
  linear,
  out,
  type Params,
  positive,
  type Suite,
} from "../core/contract.ts";
import source from "../wgsl/transfer.wgsl";

/**
 * One transfer step from a fast array through the digital buffer h (N), in place: h ← keep·h + rate·p,
 * then n = clip(trunc(h/threshold), ±most) pulses are due, n (N) as f32, and where n ≠ 0 the buffer
 * gives them up: h − n·threshold, or h·forget when `forget` >= 0 (TTv2's forget_buffer, its momentum).
 *
 * Residual Learning v2 (arXiv:2502.06309 Eq. 14–15): keep = 1 − β_H, rate = β_H, most = 1. TTv2: keep =
 * 1, rate = the transfer rate.
 * @throws ValueError unless threshold > 0 and most > 0
 */
export const threshold_transfer = /* @__PURE__ */ defineKernel({
  name: "threshold_transfer",
  family: "crossbar",
  args: [out("n", "*N"), inout("h", "*N"), inp("p", "*N")],
  params: {
    keep: f32(1),
    rate: f32(1),
    threshold: f32(undefined, positive),
    most: f32(1, positive),
    forget: f32(-1),
  },
  ref: ({ n, h, p }, { N }, { keep, rate, threshold, most, forget }) => {
    for (let i = 0; i < N; i++) {
      const sum = keep * h[i] + rate * p[i];
      const c = Math.min(most, Math.max(-most, Math.trunc(sum / threshold)));
      n[i] = c;
      h[i] = c === 0 ? sum : forget >= 0 ? sum * forget : sum - c * threshold;
    }
  },
  cost: ({ N }) => ({ flops: 6 * N, bytes: 16 * N }),
  webgpu: [{ source, grid: ({ N }) => linear(N) }],
  wasm: { tiles: ({ N }) => Math.ceil(N / 1024) },
});

const modes: Params[] = [
  { keep: 0.5, rate: 0.5, threshold: 0.125 },
  { threshold: 0.25, rate: 2, most: 31, forget: 0.125 },
];

export const transferSuite: Suite = {
  kernel: threshold_transfer,
  cases: () =>
    modes.flatMap((params) => [...edges(1024), 7].map((n) => ({ dims: { N: [n] }, params }))),
  bench: () => [{ dims: { N: [784 * 256] }, params: modes[0], source: "first layer of the FCN" }],
  tol: { rel: 1e-6, abs: 1e-7 },
  // Dyadic, so that every backend crosses the threshold at the same element.
  fill: { h: (u) => Math.floor(u * 128) / 64 - 1, p: (u) => Math.floor(u * 128) / 64 - 1 },
};
