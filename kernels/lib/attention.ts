import {
  type Case,
  type Dims,
  f32,
  flag,
  nonNegative,
  type Params,
  type Runs,
  u32,
} from "../../core/contract.ts";

// What attention and its gradients share: which keys a query sees, the scores, the extents of the tests.

export const params = {
  scale: f32(0),
  causal: flag(),
  window: u32(0),
  softcap: f32(0, nonNegative),
};

export const heads = ({ H, G }: Dims): string | undefined =>
  (G === 0 ? H === 0 : H % G === 0)
    ? undefined
    : `q and k: ${H} heads of q are no multiple of the ${G} of k`;

/** Bias is shared by all heads, by the batch, or by none. */
export function biasRun(d: Dims, runs: Runs, fail: (why: string) => never): void {
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
export function keysOf(i: number, { S, T }: Dims, { causal, window }: Params): [number, number] {
  const at = i + T - S;
  const from = window ? Math.max(at - window + 1, 0) : 0;
  const past = causal ? at + 1 : window ? at + window : T;
  return [from, Math.max(from, Math.min(past, T))];
}

export const scaleOf = ({ scale }: Params, { D }: Dims): number =>
  scale || 1 / Math.sqrt(Math.max(D, 1));

/** Pairs of query and key that see each other, in all heads. */
export function pairs(d: Dims, p: Params): number {
  let n = 0;
  for (let i = 0; i < d.S; i++) {
    const [from, past] = keysOf(i, d, p);
    n += past - from;
  }
  return n * d.B * d.H;
}

/**
 * Calls visit for every pair that sees each other with the row of q, the row of k, the score, its place in
 * bias and its derivative by scale·q·k.
 */
export function scores(
  { q, k, bias, length }: Record<string, Float64Array>,
  d: Dims,
  p: Params,
  visit: (row: number, key: number, score: number, column: number, slope: number) => void,
): void {
  const { B, H, S, D, G, T, L } = d;
  const scale = scaleOf(p, d);
  const cap = p.softcap;
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
      const t = cap ? Math.tanh((scale * s) / cap) : 0;
      const score = cap ? cap * t : scale * s;
      visit(row, kv + j, score + (bias ? bias[column] : 0), column, 1 - t * t);
    }
  }
}

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
  [1, 2, 1, 33, 35, 80],
  [1, 1, 1, 3, 34, 256],
] as const;
export const point = (
  [B, H, G, S, T, D]: readonly number[],
  params: Params = {},
  L?: readonly number[],
): Case => ({
  dims: { B, H, G, S, T, D, ...(L ? { L } : {}) },
  params,
  ...(L ? { with: ["bias"] } : {}),
});

/** Every row sees a key. */
export const open = (): Case[] => [
  ...SHAPES.map((s) => point(s)),
  ...SHAPES.filter((s) => s[3] <= s[4]).map((s) => point(s, { causal: 1 })),
  point([1, 2, 1, 65, 70, 12], { causal: 1, window: 5, scale: 0.7 }),
  point([1, 1, 1, 70, 130, 4], { causal: 1, window: 67 }),
  point([1, 1, 1, 66, 130, 4], { window: 3 }),
  point([1, 2, 1, 130, 203, 5], { causal: 1, window: 70 }),
  point([2, 2, 2, 5, 6, 3], {}, []),
  point([2, 2, 1, 65, 67, 5], { causal: 1 }, [2]),
  point([2, 3, 1, 4, 6, 4], { window: 2 }, [2, 3]),
  point([1, 2, 1, 67, 70, 8], { softcap: 0.3, causal: 1 }),
  point([1, 2, 2, 5, 7, 3], { softcap: 0.5, scale: 1.5 }, []),
  point([2, 2, 1, 18, 35, 8], { softcap: 0.4, scale: 1, window: 20 }, [2, 2]),
];
/** Rows that see nothing, and extents of zero. */
export const blind = (): Case[] => [
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
export const bench = (): Case[] => [
  { ...point([1, 8, 8, 1024, 1024, 64]), source: "8 heads of 64, 1024 tokens" },
  { ...point([1, 8, 8, 1024, 1024, 64], { causal: 1 }), source: "8 heads of 64, 1024 tokens" },
  { ...point([1, 12, 12, 1024, 1024, 64], { causal: 1 }), source: "GPT-2 small, 1024 tokens" },
  { ...small, source: "transformer of width 128, 128 tokens, batch 8" },
];
export const tol = { rel: 1e-5, abs: 1e-5 };
