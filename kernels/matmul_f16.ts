import {
  acc,
  type Case,
  type Dims,
  defineKernel,
  f32,
  grid,
  inp,
  linear,
  opt,
  out,
  type Params,
  type Suite,
  u32,
} from "../core/contract.ts";
import source from "../wgsl/matmul_f16.wgsl";
import halves from "../wgsl/matmul_f16__f16.wgsl";
import { activation, activations, beforeActivation } from "./lib/activation.ts";
import { matmul } from "./matmul.ts";
import { sum_leading } from "./reduce.ts";

// Numbers of 16 bits (IEEE 754 binary16), two to a word: the one of the even column in the low half. A row starts
// at a word, and the half behind an odd number of columns is 0.

/** The bits of x rounded to the nearest half, ties to even. */
function halfOf(x: number): number {
  if (Number.isNaN(x)) return 0x7e00;
  const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0;
  const v = Math.abs(x);
  // Half a unit above the largest half, 65504.
  if (v >= 65520) return sign | 0x7c00;
  let e = -14;
  while (2 ** (e + 1) <= v) e++;
  const scaled = v / 2 ** (e - 10);
  const below = Math.floor(scaled);
  const rest = scaled - below;
  const up = rest > 0.5 || (rest === 0.5 && below % 2 === 1);
  return sign | (1024 * (e + 14) + below + (up ? 1 : 0));
}

function numberOf(half: number): number {
  const e = (half >> 10) & 31;
  const m = half & 1023;
  const v = e === 31 ? (m ? Number.NaN : Infinity) : e ? (1024 + m) * 2 ** (e - 25) : m * 2 ** -24;
  return half & 0x8000 ? -v : v;
}

const halfAt = (words: ArrayLike<number>, row: number, n: number, W: number): number =>
  (words[row * W + (n >> 1)] >>> (16 * (n & 1))) & 0xffff;

function columns(d: Dims, p: Params, fail: (why: string) => never): void {
  if (d.N !== undefined && p.n && d.N !== p.n) fail(`bias: expected (N)=(${p.n}), got (${d.N})`);
  d.N ??= p.n || 2 * d.W;
  const need = Math.ceil(d.N / 2);
  if (d.W !== need) fail(`words: expected ${need} words a row for N = ${d.N} halves, got ${d.W}`);
}

/**
 * words (R,W), W = ⌈N/2⌉, of x (R,N): two halves (IEEE 754 binary16) a word, the even column low, 0 past the last.
 * Rounded to nearest, ties to even; from 65520 on ±Inf; NaN becomes 0x7e00. Has no VJP, for what follows
 * passes no gradient to words.
 */
export const pack_f16 = /* @__PURE__ */ defineKernel({
  name: "pack_f16",
  family: "matmul",
  cut: () => ["R"],
  args: [out("words", "*R W", "u32"), inp("x", "*R N")],
  derive: (d) => {
    d.W = Math.ceil(d.N / 2);
  },
  ref: ({ words, x }, { R, W, N }) => {
    for (let i = 0; i < R * W; i++) {
      const [r, n] = [Math.floor(i / W), 2 * (i % W)];
      const high = n + 1 < N ? halfOf(x[r * N + n + 1]) : 0;
      words[i] = (halfOf(x[r * N + n]) | (high << 16)) >>> 0;
    }
  },
  cost: ({ R, W, N }) => ({ flops: 0, bytes: 4 * R * (W + N) }),
  webgpu: [{ source, grid: ({ R, W }) => linear(R * W) }],
  wasm: { tiles: ({ R }) => Math.ceil(R / 8) },
});

/**
 * x (R,N) of words (R,W), the inverse of `pack_f16`, exact. `n` is N, by default 2W. Has no VJP: words are integers.
 * @throws ShapeError when N halves need another number of words
 */
export const unpack_f16 = /* @__PURE__ */ defineKernel({
  name: "unpack_f16",
  family: "matmul",
  cut: () => ["R"],
  args: [acc("x", "*R N"), inp("words", "*R W", "u32")],
  params: { n: u32(0) },
  derive: (d, _runs, p, fail) => columns(d, p, fail),
  ref: ({ x, words }, { R, N, W }) => {
    for (let i = 0; i < R * N; i++) x[i] = numberOf(halfAt(words, Math.floor(i / N), i % N, W));
  },
  cost: ({ R, W, N }) => ({ flops: 0, bytes: 4 * R * (W + N) }),
  webgpu: [{ source, grid: ({ R, N }) => linear(R * N) }],
  wasm: { tiles: ({ R }) => Math.ceil(R / 8) },
});

/**
 * y (R,N) = beta·y + act(alpha · a·b + bias) with a (R,K) and b (K,N) as `pack_f16` stores it: words (K,W). R is any
 * number of leading axes, bias (N); `n` is N, by default that of bias or 2W. Half the memory of a
 * `matmul`, and f32 sums. The gradient goes to a and bias, none to words.
 * @throws ShapeError when K differs or N halves need another number of words
 */
export const matmul_f16 = /* @__PURE__ */ defineKernel({
  name: "matmul_f16",
  family: "matmul",
  cut: () => ["R"],
  args: [acc("y", "*R N"), inp("a", "*R K"), inp("words", "K W", "u32"), opt("bias", "N")],
  params: { alpha: f32(1), act: activation(), n: u32(0) },
  derive: (d, _runs, p, fail) => columns(d, p, fail),
  ref: ({ y, a, words, bias }, { R, N, K, W }, { alpha, act }) => {
    for (let i = 0; i < R * N; i++) {
      const [r, n] = [Math.floor(i / N), i % N];
      let s = 0;
      for (let k = 0; k < K; k++) s += a[r * K + k] * numberOf(halfAt(words, k, n, W));
      y[i] = activations[act](alpha * s + (bias ? bias[n] : 0));
    }
  },
  vjp: (g) => {
    const { alpha } = g.p;
    const { a, words, bias } = g.in;
    const { R, N: n } = g.dims;
    const sums = () => matmul_f16(a, words, { alpha, n, bias });
    const dz = beforeActivation(g, g.p.act, sums).reshape([R, n]);
    if (g.needs("a")) g.to("a", matmul, [dz, unpack_f16(words, { n })], { alpha, tb: 1 });
    if (bias && g.needs("bias")) g.to("bias", sum_leading, [dz]);
  },
  cost: ({ R, N, K, W }) => ({ flops: 2 * R * N * K, bytes: 4 * (R * N + R * K + K * W) }),
  webgpu: [
    {
      name: "row",
      source,
      grid: ({ N }) => linear(Math.ceil(N / 512), 1),
      when: ({ R }) => R === 1,
      prefer: (_d, _p, c) => c.software,
    },
    {
      name: "gemv",
      source,
      grid: ({ N }) => linear(Math.ceil(N / 128), 1),
      when: ({ R }) => R === 1,
    },
    {
      name: "f16",
      source: halves,
      requires: ["shader-f16"],
      grid: ({ R, N }) => linear(Math.ceil(R / 4) * Math.ceil(N / 4)),
      when: ({ N, K }) => N % 4 === 0 && K > 0,
    },
    { source, grid: ({ R, N }) => linear(Math.ceil(R / 4) * Math.ceil(N / 4)) },
  ],
  wasm: {
    // 64 columns, which are unpacked beside the scratch of wasm/lib/gemm.ts.
    tiles: ({ R, N }) => (R === 0 ? 0 : Math.ceil(N / 64)),
    scratch: ({ K }) => 140032 + (K >= 1024 ? 990720 : 0) + 256 * K,
  },
});

const withWords = (c: Case): Case => {
  const n = c.dims.N as number;
  return { ...c, dims: { ...c.dims, W: Math.ceil(n / 2) }, params: { ...c.params, n } };
};

// Normal and subnormal halves, ties, what overflows, zeros of both signs, Inf and NaN.
const special = [0, -0, 1, -2.5, 65504, 65519.9, 65520, -1e9, Infinity, -Infinity, Number.NaN];
const tricky = (u: number, i: number): number =>
  i % 3 === 0
    ? special[(i / 3) % special.length]
    : i % 3 === 1
      ? (2 * u - 1) * 2 ** ((i % 60) - 40)
      : (2048 + 2 * (i % 512) + 1) * 2 ** ((i % 45) - 36);
/** Two halves, neither Inf nor NaN, and subnormal ones among them. */
const finiteHalves = (u: number, i: number): number => {
  const half = (v: number) => ((v & 1) << 15) | ((v >> 1) % 0x4000);
  const bits = Math.floor(u * 2 ** 32);
  return (half(bits >>> 16) | (half((bits + 31 * i) & 0xffff) << 16)) >>> 0;
};
const anyHalves = (u: number): number => Math.floor(u * 2 ** 32);
const acted = ["relu", "tanh", "sigmoid", "gelu", "silu"].map((act) => ({ act }));

export const matmulF16Suites: Suite[] = [
  {
    kernel: pack_f16,
    cases: () => grid({ R: [[], [3], [2, 5], [9]], N: [1, 2, 7, 8, 9, 33, 135] }),
    bench: () => [{ dims: { R: [1024], N: 1024 }, source: "square 1024" }],
    tol: { rel: 0, abs: 0 },
    fill: { x: tricky },
  },
  {
    kernel: unpack_f16,
    cases: () =>
      grid({ R: [[], [3], [2, 5], [9]], N: [1, 2, 7, 8, 9, 33, 135] }).map((c) => withWords(c)),
    bench: () => [withWords({ dims: { R: [1024], N: 1024 }, source: "square 1024" })],
    tol: { rel: 0, abs: 0 },
    fill: { words: anyHalves },
  },
  {
    kernel: matmul_f16,
    cases: () => [
      ...grid({ R: [[], [2, 3], [13]], N: [1, 4, 7, 8, 66, 81], K: [1, 37, 513] }).map(withWords),
      ...[{}, { alpha: -0.5 }, ...acted].flatMap((params) =>
        [[], [9]].map((R) => withWords({ dims: { R, N: 12, K: 5 }, params, with: ["bias"] })),
      ),
      withWords({ dims: { R: [37], N: 67, K: 1025 }, params: { act: "sigmoid" }, with: ["bias"] }),
      withWords({ dims: { R: [3], N: 4, K: 0 }, with: ["bias"] }),
      withWords({ dims: { R: [0], N: 4, K: 2 } }),
    ],
    bench: () => [
      withWords({ dims: { R: [1], N: 4096, K: 4096 }, source: "matrix times vector" }),
      withWords({ dims: { R: [64], N: 4096, K: 4096 }, source: "64 tokens, one weight" }),
    ],
    tol: { rel: 1e-5, abs: 3e-5, why: "sums of 1025 terms in f32, of halves up to 2" },
    fill: { words: finiteHalves },
  },
];
