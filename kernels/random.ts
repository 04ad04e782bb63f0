import {
  type Case,
  defineKernel,
  edges,
  f32,
  inout,
  linear,
  nonNegative,
  type Param,
  type Params,
  type Suite,
  u32,
} from "../core/contract.ts";
import { normalPair, threefry2x32, uniformOf } from "../core/threefry.ts";
import source from "../wgsl/random.wgsl";

const even = [
  "an even integer in 0 … 2^32−2",
  (v: number) => v % 2 === 0 && v >= 0 && v < 2 ** 32,
] as const;
/**
 * What every draw needs: a seed, a stream of it, and a time that moves on from draw to draw; `first` is where in the
 * draw y begins, for one that is made in parts.
 */
const key = { seed: u32(), stream: u32(0), t: u32(0), first: { ...u32(0), must: even } };

const fill = (
  name: string,
  params: Record<string, Param>,
  flops: number,
  pair: (x0: number, x1: number, p: Params) => readonly [number, number],
) =>
  defineKernel({
    name,
    family: "random",
    cut: () => ["N"],
    part: (p, _along, start) => ({ ...p, first: p.first + start }),
    args: [inout("y", "*N")],
    params: { ...key, ...params },
    ref: ({ y }, { N }, p) => {
      for (let i = 0; i < N; i += 2) {
        const v = pair(...threefry2x32(p.seed, p.stream, (p.first + i) / 2, p.t), p);
        y[i] = v[0];
        if (i + 1 < N) y[i + 1] = v[1];
      }
    },
    cost: ({ N }) => ({ flops: flops * N, bytes: 4 * N }),
    webgpu: [{ source, grid: ({ N }) => linear(Math.ceil(N / 2)) }],
    wasm: { tiles: ({ N }) => Math.ceil(N / 1024) },
  });

/**
 * Overwrites y (N) with uniforms in [0, 1), multiples of 2^−24. The same (seed, stream, t) gives the
 * same bits on every backend. Generator: Threefry2x32-20, see core/threefry.ts.
 */
export const uniform = /* @__PURE__ */ fill("uniform", {}, 30, (a, b) => [
  uniformOf(a),
  uniformOf(b),
]);

/**
 * Overwrites y (N) with mean + sigma · z, z standard normal: fixed-point Box–Muller, the same bits on
 * every backend for mean 0 (a GPU may fuse the addition).
 */
export const normal = /* @__PURE__ */ fill(
  "normal",
  { mean: f32(0), sigma: f32(1, nonNegative) },
  60,
  (a, b, { mean, sigma }) => {
    const [x, y] = normalPair(a, b);
    return [mean + sigma * x, mean + sigma * y];
  },
);

/** Overwrites y (N) with 1 where a uniform is below p, else 0. */
export const bernoulli = /* @__PURE__ */ fill(
  "bernoulli",
  { p: f32(undefined, ["in [0, 1]", (v) => v >= 0 && v <= 1]) },
  30,
  (a, b, { p }) => [uniformOf(a) < Math.fround(p) ? 1 : 0, uniformOf(b) < Math.fround(p) ? 1 : 0],
);

const suite = (kernel: Suite["kernel"], more: Params = {}): Suite => {
  const at = (n: number, seed: number): Case => ({
    dims: { N: [n] },
    params: { seed, stream: 3, t: 0xfffffff0, ...more },
  });
  return {
    kernel,
    cases: () => [
      ...[...edges(8), ...edges(1024), 100_001].map((n) => at(n, 0xdeadbeef)),
      { dims: { N: [37] }, params: { ...at(37, 3).params, first: 0xfffffff0 } },
    ],
    bench: () => [{ ...at(1 << 20, 1), source: "random fill, 1 M" }],
    // Bit for bit.
    tol: { rel: 0, abs: 0 },
  };
};

export const randomSuites: Suite[] = [
  suite(uniform),
  suite(normal, { sigma: 0.5 }),
  suite(bernoulli, { p: 0.3 }),
];
