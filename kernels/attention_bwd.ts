import {
  acc,
  type Dims,
  defineKernel,
  inp,
  linear,
  opt,
  out,
  type Params,
  type Spec,
  type Suite,
} from "../core/contract.ts";
import source from "../wgsl/attention_bwd.wgsl";
import {
  bench,
  biasRun,
  blind,
  heads,
  open,
  pairs,
  params,
  point,
  scaleOf,
  scores,
  tol,
} from "./lib/attention.ts";

/** Queries of a wasm tile. */
const BLOCK = 64;
/** Queries of a workgroup, or keys of one. */
const ROWS = 8;

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
  visit: (row: number, key: number, P: number, dS: number, column: number, slope: number) => void,
): void {
  const { D, E } = d;
  scores(a, d, p, (row, key, s, column, slope) => {
    const lse = rows[row * E + D];
    const P = lse === -Infinity ? 0 : Math.exp(s - lse);
    let dP = -rows[row * E + D + 1];
    for (let c = 0; c < D; c++) dP += rows[row * E + c] * a.v[key * D + c];
    visit(row, key, P, P * dP, column, slope);
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

/** A workgroup has 32 rows of dq, then of dk and dv. */
const tiles = {
  name: "tiles",
  source,
  grid: ({ B, G, H, S }: Dims) => linear(B * G * Math.ceil((H * S) / G / 32), 1),
};
const keysTileGrid = ({ B, G, T }: Dims) => linear(B * G * Math.ceil(T / 32), 1);

/** A thread has eight rows of dk and dv. */
const keysGrid = ({ B, G, T }: Dims) => linear(B * G * Math.ceil(T / ROWS), 32);

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
    gradients(rest as Record<string, Float64Array>, d, p, (row, key, P, dS, _column, slope) => {
      const dQK = scale * slope * dS;
      for (let c = 0; c < D; c++) {
        dq[row * D + c] += dQK * k[key * D + c];
        dk[key * D + c] += dQK * q[row * D + c];
        dv[key * D + c] += P * rows[row * E + c];
      }
    });
  },
  cost: backwardFlops(5),
  webgpu: [
    {
      name: "rows",
      source,
      consts: { OPTIONS: 0 },
      when: ({ B, H, S, D, T, L }, p) =>
        B * H * S * D * T > 0 && D % 4 === 0 && !L && p.softcap === 0,
      prefer: (_d, _p, c) => c.software,
      grid: ({ B, H, S, G }) => linear(B * G * Math.ceil((H * S) / G / ROWS), 32),
      further: [{ entry: "attention_bwd_kv_f32__rows", grid: keysGrid }],
    },
    {
      name: "rows",
      source,
      consts: { OPTIONS: 1 },
      when: ({ B, H, S, D, T }) => B * H * S * D * T > 0 && D % 4 === 0,
      prefer: (_d, _p, c) => c.software,
      grid: ({ B, H, S, G }) => linear(B * G * Math.ceil((H * S) / G / ROWS), 32),
      further: [{ entry: "attention_bwd_kv_f32__rows", grid: keysGrid }],
    },
    {
      ...tiles,
      consts: { CHUNKS: 2, OPTIONS: 0 },
      when: ({ B, H, S, D, T, L }, p) =>
        B * H * S * T > 0 && D > 0 && D <= 64 && D % 4 === 0 && !L && p.softcap === 0,
      further: [{ entry: "attention_bwd_kv_f32__tiles", grid: keysTileGrid }],
    },
    {
      ...tiles,
      consts: { CHUNKS: 4, OPTIONS: 0 },
      when: ({ B, H, S, D, T, L }, p) =>
        B * H * S * T > 0 && D > 64 && D <= 128 && D % 4 === 0 && !L && p.softcap === 0,
      further: [{ entry: "attention_bwd_kv_f32__tiles", grid: keysTileGrid }],
    },
    {
      ...tiles,
      consts: { CHUNKS: 8, OPTIONS: 0 },
      when: ({ B, H, S, D, T, L }, p) =>
        B * H * S * T > 0 && D > 128 && D <= 256 && D % 4 === 0 && !L && p.softcap === 0,
      further: [{ entry: "attention_bwd_kv_f32__tiles", grid: keysTileGrid }],
    },
    {
      ...tiles,
      consts: { CHUNKS: 2, OPTIONS: 1 },
      when: ({ B, H, S, D, T }) => B * H * S * T > 0 && D > 0 && D <= 64 && D % 4 === 0,
      further: [{ entry: "attention_bwd_kv_f32__tiles", grid: keysTileGrid }],
    },
    {
      ...tiles,
      consts: { CHUNKS: 4, OPTIONS: 1 },
      when: ({ B, H, S, D, T }) => B * H * S * T > 0 && D > 64 && D <= 128 && D % 4 === 0,
      further: [{ entry: "attention_bwd_kv_f32__tiles", grid: keysTileGrid }],
    },
    {
      ...tiles,
      consts: { CHUNKS: 8, OPTIONS: 1 },
      when: ({ B, H, S, D, T }) => B * H * S * T > 0 && D > 128 && D <= 256 && D % 4 === 0,
      further: [{ entry: "attention_bwd_kv_f32__tiles", grid: keysTileGrid }],
    },
    // Workgroups for the rows of dq, then for those of dk and dv.
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
      4 * BLOCK * (4 + 3 * BLOCK + 3 * D) + 64 * (BLOCK + T) * Math.ceil(D / 8),
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
  webgpu: [
    {
      name: "tiles",
      source,
      when: ({ B, H, L, S, D, T }) => B * H * L * S * D * T > 0 && D % 4 === 0,
      grid: ({ L, S, T }) => linear(L * Math.ceil(S / 4) * Math.ceil(T / 4), 32),
    },
    { source, grid: ({ L, S, T }) => linear(L * S * T) },
  ],
  wasm: {
    tiles: ({ L, S }) => L * Math.ceil(S / BLOCK),
    scratch: ({ D }) => 4 * BLOCK * (4 + 4 * BLOCK + 2 * D),
  },
});

const rows = (u: number, i: number, { D, E }: Dims) => {
  const at = i % E;
  if (at === D) return Math.floor(i / E) % 5 === 4 ? -Infinity : 1 + 3 * u;
  return 2 * u - 1;
};

export const attentionBwdSuites: Suite[] = [
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
      point([2, 4, 2, 17, 19, 8], { softcap: 0.4, scale: 1 }, [4]),
      point([1, 2, 2, 3, 4, 0], {}, [2]),
      point([1, 2, 2, 3, 0, 4], {}, [2]),
      point([0, 2, 2, 3, 2, 4], {}, []),
    ],
    bench: () => [{ ...point([1, 8, 8, 1024, 1024, 64], {}, [8]), source: "a bias a head" }],
    tol,
    fill: { rows },
  },
];
