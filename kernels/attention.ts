import {
  type Dims,
  defineKernel,
  inp,
  linear,
  opt,
  out,
  type Params,
  type RefArrays,
  type Suite,
} from "../core/contract.ts";
import source from "../wgsl/attention.wgsl";
import { attention_bwd, attention_bwd_bias, attention_bwd_rows } from "./attention_bwd.ts";
import {
  bench,
  biasRun,
  blind,
  heads,
  open,
  pairs,
  params,
  point,
  scores,
  tol,
} from "./lib/attention.ts";

/** Queries of a wasm tile. */
const BLOCK = 64;
/** Keys of a thread that has a part of a cache. */
const SPLIT = 64;
/** Queries of a workgroup. */
const ROWS = 8;

/** A workgroup has 32 rows. */
const tiles = {
  name: "tiles",
  source,
  grid: ({ B, G, H, S }: Dims) => linear(B * G * Math.ceil((H * S) / G / 32), 1),
};

/** The definition of `attention`, and of `attention_decode` where `length` is given. */
function attend({ o, lse, v, ...rest }: RefArrays, d: Dims, p: Params): void {
  const { D } = d;
  const score = rest as Record<string, Float64Array>;
  const max = new Float64Array(lse.length).fill(-Infinity);
  const sum = new Float64Array(lse.length);
  scores(score, d, p, (row, _key, s) => {
    max[row] = Math.max(max[row], s);
  });
  scores(score, d, p, (row, key, s) => {
    if (max[row] === -Infinity) return;
    const e = Math.exp(s - max[row]);
    sum[row] += e;
    for (let c = 0; c < D; c++) o[row * D + c] += e * v[key * D + c];
  });
  for (let row = 0; row < lse.length; row++) {
    lse[row] = max[row] + Math.log(sum[row]);
    if (sum[row] !== 0) for (let c = 0; c < D; c++) o[row * D + c] /= sum[row];
  }
}

/**
 * o (B,H,S,D) = softmax(scale·q·kᵀ + bias)·v with q (B,H,S,D) and k, v (B,G,T,D); H/G heads in a row
 * share one of k and v (GQA). lse (B,H,S) = ln Σ e^score, in nats. bias is (S,T), (H,S,T) or (B,H,S,T).
 * `scale` 0 stands for 1/√D. `softcap` > 0 bounds what bias is added to, softcap·tanh(scale·q·k/softcap)
 * (Gemma 2, arXiv:2408.00118 §2). Query i stands at key i + T − S: `causal` hides the keys after it,
 * `window` those `window` or more away on either side (0: none). A row that sees no key, or only ones at
 * -Inf, gives zeros, lse -Inf and no gradient. Memory O(S·D). A NaN or Inf in a hidden row of v may reach
 * the result. Dao et al., arXiv:2205.14135.
 * @throws ShapeError when H is no multiple of G, or bias has other leading axes
 */
export const attention = /* @__PURE__ */ defineKernel({
  name: "attention",
  family: "attention",
  args: [
    out("o", "B H S D"),
    out("lse", "B H S"),
    inp("q", "B H S D"),
    inp("k", "B G T D"),
    inp("v", "B G T D"),
    opt("bias", "*L S T"),
  ],
  params,
  derive: (d, runs, _p, fail) => biasRun(d, runs, fail),
  check: heads,
  ref: attend,
  vjp: (g) => {
    const { q, k, v, bias } = g.in;
    const rows = attention_bwd_rows(g.out.o, g.out.lse, { do: g.d.o, dlse: g.d.lse });
    const { scale, causal, window, softcap } = g.p;
    const options = { scale, causal, window, softcap };
    g.toAll({ dq: "q", dk: "k", dv: "v" }, attention_bwd, [rows, q, k, v], { ...options, bias });
    if (bias) g.to("bias", attention_bwd_bias, [rows, q, k, v, bias], options);
  },
  cost: (d, p) => ({
    flops: 4 * d.D * pairs(d, p),
    bytes: 4 * (2 * d.B * d.H * d.S * d.D + 2 * d.B * d.G * d.T * d.D + d.B * d.H * d.S),
  }),
  webgpu: [
    {
      name: "rows",
      source,
      consts: { OPTIONS: 0 },
      when: ({ B, H, S, D, T, L }, p) =>
        B * H * S * D * T > 0 && D % 4 === 0 && !L && p.softcap === 0,
      prefer: (_d, _p, c) => c.software,
      grid: ({ B, H, S, G }) => linear(B * G * Math.ceil((H * S) / G / ROWS), 32),
    },
    {
      name: "rows",
      source,
      consts: { OPTIONS: 1 },
      when: ({ B, H, S, D, T }) => B * H * S * D * T > 0 && D % 4 === 0,
      prefer: (_d, _p, c) => c.software,
      grid: ({ B, H, S, G }) => linear(B * G * Math.ceil((H * S) / G / ROWS), 32),
    },
    {
      ...tiles,
      consts: { CHUNKS: 2, OPTIONS: 0 },
      when: ({ B, H, S, D, T, L }, p) =>
        B * H * S * T > 0 && D > 0 && D <= 64 && D % 4 === 0 && !L && p.softcap === 0,
    },
    {
      ...tiles,
      consts: { CHUNKS: 4, OPTIONS: 0 },
      when: ({ B, H, S, D, T, L }, p) =>
        B * H * S * T > 0 && D > 64 && D <= 128 && D % 4 === 0 && !L && p.softcap === 0,
    },
    {
      ...tiles,
      consts: { CHUNKS: 8, OPTIONS: 0 },
      when: ({ B, H, S, D, T, L }, p) =>
        B * H * S * T > 0 && D > 128 && D <= 256 && D % 4 === 0 && !L && p.softcap === 0,
    },
    {
      ...tiles,
      consts: { CHUNKS: 2, OPTIONS: 1 },
      when: ({ B, H, S, D, T }) => B * H * S * T > 0 && D > 0 && D <= 64 && D % 4 === 0,
    },
    {
      ...tiles,
      consts: { CHUNKS: 4, OPTIONS: 1 },
      when: ({ B, H, S, D, T }) => B * H * S * T > 0 && D > 64 && D <= 128 && D % 4 === 0,
    },
    {
      ...tiles,
      consts: { CHUNKS: 8, OPTIONS: 1 },
      when: ({ B, H, S, D, T }) => B * H * S * T > 0 && D > 128 && D <= 256 && D % 4 === 0,
    },
    { source, grid: ({ B, H, S }) => linear(B * H * Math.ceil(S / ROWS), 1) },
  ],
  wasm: {
    tiles: ({ B, H, S }) => B * H * Math.ceil(S / BLOCK),
    scratch: ({ D }) => 4 * BLOCK * (4 + BLOCK + 2 * D),
  },
});

/**
 * `attention` of q (B,H,S,D) over caches k, v (B,G,T,D) of which the first length[b] entries are valid
 * (length (B), i32; taken as 0 below 0 and T above T). Query i stands at entry length − S + i and sees no
 * later one; entries from length on are not read. For a few queries: one pass over k and v serves all heads
 * that share them. Has no VJP.
 * @throws ShapeError when H is no multiple of G, or bias has other leading axes
 */
export const attention_decode = /* @__PURE__ */ defineKernel({
  name: "attention_decode",
  family: "attention",
  args: [
    out("o", "B H S D"),
    out("lse", "B H S"),
    inp("q", "B H S D"),
    inp("k", "B G T D"),
    inp("v", "B G T D"),
    opt("bias", "*L S T"),
    inp("length", "B", "i32"),
  ],
  params: { scale: params.scale, window: params.window, softcap: params.softcap },
  derive: (d, runs, _p, fail) => biasRun(d, runs, fail),
  check: heads,
  ref: (a, d, p) => attend(a, d, { ...p, causal: 1 }),
  // What lies in length is not known here: the cost of full caches.
  cost: (d, p) => ({
    flops: 4 * d.D * pairs(d, { ...p, causal: 1 }),
    bytes: 8 * (d.B * d.H * d.S * d.D + d.B * d.G * Math.min(d.T, p.window || d.T) * d.D),
  }),
  webgpu: [
    {
      name: "split",
      source,
      consts: { SPLIT },
      when: ({ B, H, G, S, D, T }) => B * H * S * D * T > 0 && D % 4 === 0 && (H / G) * S <= 16,
      prefer: ({ T }) => T >= 2 * SPLIT,
      scratch: ({ B, H, S, D, T }) => 16 * Math.ceil(T / SPLIT) * B * H * S * (D / 4 + 1),
      grid: ({ B, G, H, S, T }) =>
        linear(Math.ceil(T / SPLIT) * B * G * Math.ceil((H * S) / G / 4)),
      further: [
        {
          entry: "attention_decode_merge_f32__split",
          grid: ({ B, H, S, D }) => linear(B * H * S * (D / 4)),
        },
      ],
    },
    {
      name: "rows",
      source,
      when: ({ B, H, S, D, T }) => B * H * S * D * T > 0 && D % 4 === 0,
      prefer: (_d, _p, c) => c.software,
      grid: ({ B, H, S, G }) => linear(B * G * Math.ceil((H * S) / G / ROWS), 32),
    },
    { source, grid: ({ B, H, G, S }) => linear(B * G * Math.ceil(((H / G) * S) / ROWS), 1) },
  ],
  wasm: {
    tiles: ({ B, G }) => B * G,
    scratch: ({ D }) => 4 * BLOCK * (4 + BLOCK + 2 * D),
  },
});

export const attentionSuites: Suite[] = [
  {
    kernel: attention,
    cases: open,
    bench,
    tol,
  },
  {
    kernel: attention,
    cases: () => [
      ...blind(),
      point([1, 2, 2, 9, 65, 4], {}, []),
      point([1, 1, 1, 65, 3, 4], {}, []),
    ],
    bench: () => [],
    tol,
    // Every third row of bias hides all of its keys, elsewhere every fifth; the last query is NaN.
    fill: {
      q: (u, i, { B, H, S, D }) => (i === B * H * S * D - 1 ? Number.NaN : 2 * u - 1),
      bias: (u, i, { T }) => (Math.floor(i / T) % 3 === 2 || i % 5 === 4 ? -Infinity : 2 * u - 1),
    },
    skipFiniteDifferences: "lse is -Inf where a row sees nothing; test/gradients.test.ts",
  },
  {
    kernel: attention_decode,
    cases: () => [
      point([1, 1, 1, 1, 1, 1]),
      point([2, 2, 1, 1, 65, 8]),
      point([3, 4, 2, 1, 130, 19]),
      point([4, 4, 1, 3, 67, 64], { scale: 0.3 }),
      point([2, 3, 3, 2, 64, 33], { window: 5 }),
      point([2, 2, 2, 1, 200, 16], { window: 70 }),
      point([2, 4, 2, 2, 9, 5], {}, [4]),
      point([2, 8, 2, 2, 70, 5], { window: 9 }, [2, 8]),
      point([1, 24, 1, 3, 130, 4]),
      point([2, 2, 1, 1, 67, 12], { softcap: 0.4, scale: 1 }),
      point([1, 8, 1, 1, 67, 5], { softcap: 0.4, scale: 1 }, []),
      point([1, 6, 1, 1, 65, 12], {}, []),
      point([3, 2, 1, 5, 4, 4]),
      point([2, 2, 1, 2, 0, 4]),
      point([2, 2, 1, 0, 3, 4]),
      point([0, 2, 1, 2, 3, 4]),
      point([2, 2, 1, 2, 3, 0]),
    ],
    bench: () => [
      { ...point([1, 12, 12, 1, 4096, 64]), source: "GPT-2 small heads, 4096 entries" },
      { ...point([1, 32, 8, 1, 4096, 128]), source: "Llama 3 8B heads, 4096 entries" },
    ],
    tol,
    // Full caches, and around them: the last few valid, more than there are, fewer than none.
    fill: { length: (_u, i, { T }) => [T, T - 3, T + 2, -1][i % 4] },
  },
];
