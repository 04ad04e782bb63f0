import {
  acc,
  type Case,
  type Dims,
  defineKernel,
  f32,
  flag,
  inp,
  linear,
  opt,
  out,
  type Params,
  type RefArrays,
  type Runs,
  type Spec,
  type Suite,
  u32,
} from "../core/contract.ts";
import source from "../wgsl/attention.wgsl";

/** Queries of a wasm tile. */
const BLOCK = 64;
/** Queries of a workgroup, or keys of one. */
const ROWS = 8;
const params = { scale: f32(0), causal: flag(), window: u32(0) };

const heads = ({ H, G }: Dims): string | undefined =>
  (G === 0 ? H === 0 : H % G === 0)
    ? undefined
    : `q and k: ${H} heads of q are no multiple of the ${G} of k`;

/** Bias is shared by all heads, by the batch, or by none. */
function biasRun(d: Dims, runs: Runs, fail: (why: string) => never): void {
  const lead = runs.L;
  if (!lead) return;
  const full = [d.B, d.H];
  if (lead.length > 2 || lead.some((n, i) => n !== full[2 - lead.length + i])) {
    fail(
      `bias: expected (S,T), (H,S,T) or (B,H,S,T) with (B,H,S,T)=(${full},${d.S},${d.T}), got (${[...lead, d.S, d.T]})`,
    );
  }
}

/** Keys [from, past) that query i sees. */
function keysOf(i: number, { S, T }: Dims, { causal, window }: Params): [number, number] {
  const at = i + T - S;
  const from = window ? Math.max(at - window + 1, 0) : 0;
  const past = causal ? at + 1 : window ? at + window : T;
  return [from, Math.max(from, Math.min(past, T))];
}

const scaleOf = ({ scale }: Params, { D }: Dims): number => scale || 1 / Math.sqrt(Math.max(D, 1));

/** Pairs of query and key that see each other, in all heads. */
function pairs(d: Dims, p: Params): number {
  let n = 0;
  for (let i = 0; i < d.S; i++) {
    const [from, past] = keysOf(i, d, p);
    n += past - from;
  }
  return n * d.B * d.H;
}

/** Calls visit for every pair with the row of q, the row of k and the score. */
function scores(
  { q, k, bias, length }: Record<string, Float64Array>,
  d: Dims,
  p: Params,
  visit: (row: number, key: number, score: number, column: number) => void,
): void {
  const { B, H, S, D, G, T, L } = d;
  const scale = scaleOf(p, d);
  for (let row = 0; row < B * H * S; row++) {
    const head = Math.floor(row / S);
    const i = row % S;
    const kv = (Math.floor(head / H) * G + Math.floor((head % H) / (H / G))) * T;
    const valid = length ? Math.min(Math.max(length[Math.floor(head / H)], 0), T) : T;
    const [from, past] = keysOf(i, { S, T: valid }, p);
    for (let j = from; j < past; j++) {
      const column = ((head % L) * S + i) * T + j;
      let s = 0;
      for (let c = 0; c < D; c++) s += q[row * D + c] * k[(kv + j) * D + c];
      visit(row, kv + j, scale * s + (bias ? bias[column] : 0), column);
    }
  }
}

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
 * `scale` 0 stands for 1/√D. Query i stands at key i + T − S: `causal` hides the keys after it, `window`
 * those `window` or more away on either side (0: none). A row that sees no key, or only ones at -Inf,
 * gives zeros and lse -Inf. Memory O(S·D). A NaN or Inf in a hidden row of v may reach the result.
 * Dao et al., arXiv:2205.14135.
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
    const { scale, causal, window } = g.p;
    const options = { scale, causal, window };
    g.toAll({ dq: "q", dk: "k", dv: "v" }, attention_bwd, [rows, q, k, v], { ...options, bias });
    if (bias) g.to("bias", attention_bwd_bias, [rows, q, k, v, bias], options);
  },
  cost: (d, p) => ({
    flops: 4 * d.D * pairs(d, p),
    bytes: 4 * (2 * d.B * d.H * d.S * d.D + 2 * d.B * d.G * d.T * d.D + d.B * d.H * d.S),
  }),
  webgpu: [{ source, grid: ({ B, H, S }) => linear(B * H * Math.ceil(S / ROWS), 1) }],
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
  params: { scale: params.scale, window: params.window },
  derive: (d, runs, _p, fail) => biasRun(d, runs, fail),
  check: heads,
  ref: (a, d, p) => attend(a, d, { ...p, causal: 1 }),
  // What lies in length is not known here: the cost of full caches.
  cost: (d, p) => ({
    flops: 4 * d.D * pairs(d, { ...p, causal: 1 }),
    bytes: 8 * (d.B * d.H * d.S * d.D + d.B * d.G * Math.min(d.T, p.window || d.T) * d.D),
  }),
  webgpu: [
    { source, grid: ({ B, H, G, S }) => linear(B * G * Math.ceil(((H / G) * S) / ROWS), 1) },
  ],
  wasm: {
    tiles: ({ B, G }) => B * G,
    scratch: ({ D }) => 4 * BLOCK * (4 + BLOCK + 2 * D),
  },
});

/** rows (B,H,S,D+2) hold do, lse and delta side by side: WebGPU grants eight buffers, not ten. */
function rowsExtent(d: Dims, fail: (why: string) => never): void {
  const E = d.D + 2;
  if (d.E !== undefined && d.E !== E) {
    fail(`rows: expected (B,H,S,D+2)=(${d.B},${d.H},${d.S},${E}), got ${d.E} in the last axis`);
  }
  d.E = E;
}

/** What the backward kernels want to know of a query: rows (B,H,S,D+2) = do | lse | Σ_d do·o − dlse. */
export const attention_bwd_rows = /* @__PURE__ */ defineKernel({
  name: "attention_bwd_rows",
  family: "attention",
  args: [
    out("rows", "B H S E"),
    inp("o", "B H S D"),
    inp("lse", "B H S"),
    opt("do", "B H S D"),
    opt("dlse", "B H S"),
  ],
  derive: (d, _runs, _p, fail) => rowsExtent(d, fail),
  ref: (a, { B, H, S, D, E }) => {
    for (let i = 0; i < B * H * S; i++) {
      let delta = a.dlse ? -a.dlse[i] : 0;
      for (let c = 0; c < D; c++) {
        const cotangent = a.do ? a.do[i * D + c] : 0;
        a.rows[i * E + c] = cotangent;
        if (a.do) delta += cotangent * a.o[i * D + c];
      }
      a.rows[i * E + D] = a.lse[i];
      a.rows[i * E + D + 1] = delta;
    }
  },
  cost: ({ B, H, S, D }) => ({ flops: 2 * B * H * S * D, bytes: 12 * B * H * S * (D + 1) }),
  webgpu: [{ source, grid: ({ B, H, S }) => linear(B * H * S) }],
  wasm: { tiles: ({ B, H, S }) => Math.ceil((B * H * S) / BLOCK) },
});

/** Calls visit for every pair with P = e^(score − lse) and dS = P (do·v − delta). */
function gradients(
  { rows, ...a }: Record<string, Float64Array>,
  d: Dims,
  p: Params,
  visit: (row: number, key: number, P: number, dS: number, column: number) => void,
): void {
  const { D, E } = d;
  scores(a, d, p, (row, key, s, column) => {
    const lse = rows[row * E + D];
    const P = lse === -Infinity ? 0 : Math.exp(s - lse);
    let dP = -rows[row * E + D + 1];
    for (let c = 0; c < D; c++) dP += rows[row * E + c] * a.v[key * D + c];
    visit(row, key, P, P * dP, column);
  });
}

const backwardExtents: Spec["derive"] = (d, runs, _p, fail) => {
  biasRun(d, runs, fail);
  rowsExtent(d, fail);
};

const backwardFlops = (products: number) => (d: Dims, p: Params) => ({
  flops: 2 * products * d.D * pairs(d, p),
  bytes: 4 * (3 * d.B * d.H * d.S * d.D + 4 * d.B * d.G * d.T * d.D),
});

/**
 * dq (B,H,S,D), dk and dv (B,G,T,D) of `attention` from the rows of `attention_bwd_rows`, q, k, v and
 * bias. P is computed again from lse; memory O((S+T)·D). Gradients of a shared k or v are summed over
 * their heads in order. A NaN or Inf may also reach gradients of rows that are hidden from it. Has no VJP.
 */
export const attention_bwd = /* @__PURE__ */ defineKernel({
  name: "attention_bwd",
  family: "attention",
  args: [
    acc("dq", "B H S D"),
    acc("dk", "B G T D"),
    acc("dv", "B G T D"),
    inp("rows", "B H S E"),
    inp("q", "B H S D"),
    inp("k", "B G T D"),
    inp("v", "B G T D"),
    opt("bias", "*L S T"),
  ],
  params,
  derive: backwardExtents,
  check: heads,
  ref: ({ dq, dk, dv, ...rest }, d, p) => {
    const { D, E } = d;
    const scale = scaleOf(p, d);
    const { q, k, rows } = rest;
    gradients(rest as Record<string, Float64Array>, d, p, (row, key, P, dS) => {
      for (let c = 0; c < D; c++) {
        dq[row * D + c] += scale * dS * k[key * D + c];
        dk[key * D + c] += scale * dS * q[row * D + c];
        dv[key * D + c] += P * rows[row * E + c];
      }
    });
  },
  cost: backwardFlops(5),
  // Workgroups for the rows of dq, then for those of dk and dv.
  webgpu: [
    {
      source,
      grid: ({ B, H, S, G, T }) =>
        linear(B * H * Math.ceil(S / ROWS) + B * G * Math.ceil(T / ROWS), 1),
    },
  ],
  wasm: {
    // One tile owns all that touches one of k: a block of queries adds to all of dk and dv.
    tiles: ({ B, G }) => B * G,
    scratch: ({ D, T }) =>
      4 * BLOCK * (4 + 2 * BLOCK + 3 * D) + 64 * (BLOCK + T) * Math.ceil(D / 8),
  },
});

/**
 * dbias (S,T), (H,S,T) or (B,H,S,T) of `attention`: dS, summed in order over the heads that share an
 * entry. Has no VJP.
 */
export const attention_bwd_bias = /* @__PURE__ */ defineKernel({
  name: "attention_bwd_bias",
  family: "attention",
  args: [
    acc("dbias", "*L S T"),
    inp("rows", "B H S E"),
    inp("q", "B H S D"),
    inp("k", "B G T D"),
    inp("v", "B G T D"),
    inp("bias", "*L S T"),
  ],
  params,
  derive: backwardExtents,
  check: heads,
  ref: ({ dbias, ...rest }, d, p) => {
    gradients(rest as Record<string, Float64Array>, d, p, (_row, _key, _P, dS, column) => {
      dbias[column] += dS;
    });
  },
  cost: backwardFlops(2),
  webgpu: [{ source, grid: ({ L, S, T }) => linear(L * S * T) }],
  wasm: {
    tiles: ({ L, S }) => L * Math.ceil(S / BLOCK),
    scratch: ({ D }) => 4 * BLOCK * (4 + 3 * BLOCK + 2 * D),
  },
});

/** Extents around the tiles; [B, H, G, S, T, D]. */
const SHAPES = [
  [1, 1, 1, 1, 1, 1],
  [2, 2, 1, 3, 5, 4],
  [1, 3, 3, 4, 4, 7],
  [1, 2, 2, 8, 9, 8],
  [1, 4, 2, 9, 7, 3],
  [1, 2, 1, 63, 64, 5],
  [1, 1, 1, 64, 63, 17],
  [1, 2, 2, 65, 65, 16],
  [1, 1, 1, 1, 130, 65],
  [1, 1, 1, 67, 3, 96],
  [2, 1, 1, 130, 70, 9],
] as const;
const point = (
  [B, H, G, S, T, D]: readonly number[],
  params: Params = {},
  L?: readonly number[],
): Case => ({
  dims: { B, H, G, S, T, D, ...(L ? { L } : {}) },
  params,
  ...(L ? { with: ["bias"] } : {}),
});

/** Every row sees a key. */
const open = (): Case[] => [
  ...SHAPES.map((s) => point(s)),
  ...SHAPES.filter((s) => s[3] <= s[4]).map((s) => point(s, { causal: 1 })),
  point([1, 2, 1, 65, 70, 12], { causal: 1, window: 5, scale: 0.7 }),
  point([1, 1, 1, 70, 130, 4], { causal: 1, window: 67 }),
  point([1, 1, 1, 66, 130, 4], { window: 3 }),
  point([1, 2, 1, 130, 203, 5], { causal: 1, window: 70 }),
  point([2, 2, 2, 5, 6, 3], {}, []),
  point([2, 2, 1, 65, 67, 5], { causal: 1 }, [2]),
  point([2, 3, 1, 4, 6, 4], { window: 2 }, [2, 3]),
];
/** Rows that see nothing, and extents of zero. */
const blind = (): Case[] => [
  point([1, 2, 1, 65, 1, 4], { causal: 1 }),
  point([1, 1, 1, 130, 65, 8], { causal: 1 }),
  point([1, 1, 1, 70, 5, 8], { window: 2 }),
  point([1, 2, 2, 3, 0, 4]),
  point([1, 2, 2, 0, 3, 4]),
  point([0, 2, 2, 3, 3, 4]),
  point([1, 0, 0, 3, 3, 4]),
  point([1, 1, 1, 3, 4, 0]),
];
const small = { dims: { B: 8, H: 4, G: 4, S: 128, T: 128, D: 32 }, params: { causal: 1 } };
const bench = (): Case[] => [
  { ...point([1, 8, 8, 1024, 1024, 64]), source: "8 heads of 64, 1024 tokens" },
  { ...point([1, 8, 8, 1024, 1024, 64], { causal: 1 }), source: "8 heads of 64, 1024 tokens" },
  { ...point([1, 12, 12, 1024, 1024, 64], { causal: 1 }), source: "GPT-2 small, 1024 tokens" },
  { ...small, source: "transformer of width 128, 128 tokens, batch 8" },
];
const tol = { rel: 1e-5, abs: 1e-5 };
const rows = (u: number, i: number, { D, E }: Dims) => {
  const at = i % E;
  if (at === D) return Math.floor(i / E) % 5 === 4 ? -Infinity : 1 + 3 * u;
  return 2 * u - 1;
};

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
  {
    kernel: attention_bwd_rows,
    cases: () =>
      [[], ["do"], ["dlse"], ["do", "dlse"]].flatMap((given) =>
        [
          [1, 1, 1, 1],
          [2, 3, 11, 5],
          [1, 2, 32, 8],
          [1, 1, 3, 0],
          [1, 1, 0, 3],
        ].map(([B, H, S, D]) => ({ dims: { B, H, S, D }, with: given })),
      ),
    bench: () => [
      { dims: { B: 1, H: 8, S: 1024, D: 64 }, with: ["do"], source: "8 heads of 64, 1024 tokens" },
    ],
    tol,
    fill: { lse: (u, i) => (i % 5 === 4 ? -Infinity : 3 * u) },
  },
  {
    kernel: attention_bwd,
    cases: () => [...open(), ...blind()],
    bench,
    tol: { rel: 1e-5, abs: 3e-5, why: "sums over up to 130 rows that cancel" },
    fill: { rows },
  },
  {
    kernel: attention_bwd_bias,
    cases: () => [
      point([2, 2, 2, 5, 6, 3], {}, []),
      point([2, 2, 1, 65, 67, 5], { causal: 1 }, [2]),
      point([2, 3, 1, 4, 6, 4], { window: 2 }, [2, 3]),
      point([1, 2, 2, 130, 64, 8], { causal: 1 }, []),
      point([1, 2, 2, 3, 4, 0], {}, [2]),
      point([1, 2, 2, 3, 0, 4], {}, [2]),
      point([0, 2, 2, 3, 2, 4], {}, []),
    ],
    bench: () => [{ ...point([1, 8, 8, 1024, 1024, 64], {}, [8]), source: "a bias a head" }],
    tol,
    fill: { rows },
  },
];
