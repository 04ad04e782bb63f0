import {
  acc,
  type Case,
  type Dims,
  defineKernel,
  type Fill,
  f32,
  flag,
  grid,
  inp,
  linear,
  opt,
  type Suite,
  u32,
  type Vjp,
  type WebgpuVariant,
} from "../core/contract.ts";
import type { Tensor } from "../core/tensor.ts";
import source from "../wgsl/matmul.wgsl";
import subgroups from "../wgsl/matmul__subgroups.wgsl";
import vectors from "../wgsl/matmul__vec4.wgsl";
import { activation, activations, beforeActivation } from "./lib/activation.ts";
import { hasSlopeFromOutput, matmul_bwd_params } from "./matmul_bwd_params.ts";
import { sum_leading } from "./reduce.ts";

/**
 * Bytes that wasm/lib/gemm.ts wants: a tile, 64 columns of 512 of b, 32 × 64 of y; and, where the rows of a
 * or, transposed, its columns are a page or more, 480 rows of 512 of it.
 */
const SCRATCH = 256 + 64 * 2056 + 8192;
const PANELS_OF_A = 480 * 2064;
/** Multiplications below which a launch costs more than the arithmetic. */
const SMALL = 1048576;

/** A variant, and before it the one whose text has no activation but relu, right under `when`. */
const withoutTranscendental = (
  v: WebgpuVariant & { name: string },
  when: NonNullable<WebgpuVariant["when"]>,
): WebgpuVariant[] => [
  {
    ...v,
    name: `${v.name}_relu`,
    entry: `matmul_f32__${v.name}`,
    consts: { TRANSCENDENTAL: 0 },
    when,
  },
  v,
];

/**
 * y (B,M,N) = beta·y + act(alpha · a·b + bias), with a (B,M,K), or (B,K,M) under `ta`; b (B,K,N), or
 * (B,N,K) under `tb`; bias (N). B is any number of leading axes; an operand without them is shared
 * by all of the batch. act: none, relu, tanh, sigmoid, gelu, silu. f32 accumulation; K = 0 gives
 * act(bias).
 * @throws ShapeError when K or the batches of a and b differ
 */
export const matmul = /* @__PURE__ */ defineKernel({
  name: "matmul",
  family: "matmul",
  cut: () => ["B A C", "M", "N"],
  args: [
    acc("y", "*B M N"),
    inp("a", (p) => (p.ta ? "*A K M" : "*A M K")),
    inp("b", (p) => (p.tb ? "*C N K" : "*C K N")),
    opt("bias", "N"),
  ],
  params: {
    alpha: f32(1),
    ta: flag(),
    tb: flag(),
    act: activation(),
  },
  derive: (d, runs, _p, fail) => {
    const { A, C } = runs;
    const same = A.length === C.length && A.every((n, i) => n === C[i]);
    if (!same && A.length > 0 && C.length > 0) {
      fail(
        `a and b: batches (${A.join(",")}) and (${C.join(",")}) differ; they agree, or one has none`,
      );
    }
    runs.B = A.length ? A : C;
    d.B = runs.B.reduce((n, v) => n * v, 1);
  },
  ref: ({ y, a, b, bias }, { B, M, N, A, K, C }, { alpha, ta, tb, act }) => {
    for (let i = 0; i < B * M * N; i++) {
      const n = i % N;
      const m = Math.floor(i / N) % M;
      const batch = Math.floor(i / (M * N));
      const oa = A === 1 ? 0 : batch * M * K;
      const ob = C === 1 ? 0 : batch * K * N;
      let s = 0;
      for (let k = 0; k < K; k++) {
        s += a[oa + (ta ? k * M + m : m * K + k)] * b[ob + (tb ? n * K + k : k * N + n)];
      }
      y[i] = activations[act](alpha * s + (bias ? bias[n] : 0));
    }
  },
  vjp: (g) => {
    const { alpha, ta, tb } = g.p;
    const { a, b, bias } = g.in;
    const params = paramsAtOnce(g);
    const dz = params ?? beforeActivation(g, g.p.act, () => matmul(a, b, { alpha, ta, tb, bias }));
    // y = a b: da = dz bᵀ, db = aᵀ dz; under a transpose the product comes out transposed.
    operand(
      g,
      "a",
      dz,
      ta ? [b, dz, { alpha, ta: tb, tb: 1 }] : [dz, b, { alpha, tb: tb ? 0 : 1 }],
    );
    if (params) return;
    operand(
      g,
      "b",
      dz,
      tb ? [dz, a, { alpha, ta: 1, tb: ta }] : [a, dz, { alpha, ta: ta ? 0 : 1 }],
    );
    if (bias && g.needs("bias")) g.to("bias", sum_leading, [dz.reshape([-1, g.dims.N])]);
  },
  cost: ({ B, M, N, K, A, C }) => ({
    flops: 2 * B * M * N * K,
    bytes: 4 * (B * M * N + A * M * K + C * K * N),
  }),
  webgpu: [
    ...withoutTranscendental(
      {
        name: "row",
        source,
        grid: ({ B, N }) => linear(B * Math.ceil(N / 512), 1),
        when: ({ M }) => M === 1,
        prefer: ({ N }, _p, c) => c.software && N >= 64,
      },
      ({ M }, { act }) => M === 1 && (act === "none" || act === "relu"),
    ),
    ...withoutTranscendental(
      {
        name: "quads",
        source: subgroups,
        requires: ["subgroups"],
        grid: ({ B, M, N }) => linear(4 * B * Math.ceil(M / 16) * Math.ceil(N / 16)),
        prefer: ({ M }, _p, c) => c.software && M >= 3,
      },
      (_d, { act }) => act === "none" || act === "relu",
    ),
    {
      name: "gemv",
      source,
      grid: ({ B, N }, { tb }) => linear(B * Math.ceil(N / (tb ? 4 : 64)), 1),
      when: ({ M }) => M <= 4,
      prefer: ({ K }, _p, c) => !c.software && K >= 64,
    },
    {
      name: "small",
      source,
      grid: ({ B, M, N }) => linear(B * M * N),
      prefer: ({ B, M, N, K }) => B * M * N * K <= SMALL,
    },
    {
      name: "split",
      source,
      grid: ({ B, M, N, K }) =>
        linear(B * Math.ceil(M / 64) * Math.ceil(N / 64) * Math.min(Math.ceil(K / 512), 32), 1),
      scratch: ({ B, M, N, K }) => 4 * B * M * N * Math.min(Math.ceil(K / 512), 32),
      further: [{ entry: "matmul_f32__split_sum", grid: ({ B, M, N }) => linear(B * M * N) }],
      when: ({ K }) => K > 0,
      prefer: ({ B, M, N, K }, _p, c) =>
        !c.software && K >= 2048 && B * Math.ceil(M / 64) * Math.ceil(N / 64) <= 32,
    },
    {
      name: "tiles4",
      source: vectors,
      grid: ({ B, M, N }) => linear(B * Math.ceil(M / 64) * Math.ceil(N / 64), 1),
      when: ({ M, N, K }, { ta, tb }) => K > 0 && (ta ? M : K) % 4 === 0 && (tb ? K : N) % 4 === 0,
      prefer: ({ M, N }, _p, c) => !c.software && M >= 32 && N >= 32,
    },
    {
      name: "tiles",
      source,
      grid: ({ B, M, N }) => linear(B * Math.ceil(M / 64) * Math.ceil(N / 64), 1),
      prefer: ({ M, N }, _p, c) => !c.software && M >= 32 && N >= 32,
    },
    { source, grid: ({ B, M, N }) => linear(B * Math.ceil(M / 4) * Math.ceil(N / 4)) },
  ],
  wasm: {
    // 8 columns or, where there are more of them, 8 rows; rows that share one b are rows of one product.
    tiles: ({ B, M, N, C }, { ta }) =>
      M * N === 0
        ? 0
        : C === 1 && !ta
          ? Math.ceil(Math.max(B * M, N) / 8)
          : B * Math.ceil(Math.max(M, N) / 8),
    scratch: ({ M, K }, { ta }) => SCRATCH + ((ta ? M : K) >= 1024 ? PANELS_OF_A : 0),
  },
});

/** Where one kernel does for the gradients of b and bias: runs it, and gives the cotangent of the sums. */
function paramsAtOnce(g: Vjp): Tensor | undefined {
  const { alpha, act, ta, tb } = g.p;
  const { B, M, K, N, C } = g.dims;
  const both = g.needs("b") && g.needs("bias");
  if (g.again || !both || ta || tb || C !== 1 || !hasSlopeFromOutput(act)) return undefined;
  const { dz } = g.toAll(
    { dw: "b", db: "bias" },
    matmul_bwd_params,
    [g.in.a.reshape([B * M, K]), g.d.y.reshape([B * M, N])],
    { alpha, act, ...(act === "none" ? {} : { y: g.out.y.reshape([B * M, N]) }) },
  );
  return dz.reshape(g.d.y.shape);
}

/** Gradient of an operand; one that the batch shares is summed over it. */
function operand(g: Vjp, name: "a" | "b", dz: Tensor, [x, y, p]: [Tensor, Tensor, object]): void {
  if (!g.needs(name)) return;
  const own = g.in[name];
  const shared = dz.shape.length > own.shape.length;
  if (!shared) g.to(name, matmul, [x, y], p);
  else if (name === "b" && !g.p.ta && !g.p.tb) {
    // Batch and rows fold into one long contraction.
    const { K, N } = g.dims;
    g.to("b", matmul, [g.in.a.reshape([-1, K]), dz.reshape([-1, N])], { ...p, ta: 1 });
  } else {
    const each = matmul(x, y, p);
    g.to(name, sum_leading, [each.reshape([-1, own.size])]);
  }
}

/**
 * y (R,N) = beta·y + act(alpha · a·b + bias) with a (R,K) and b (K,N) as `pack_b` lays it out: packed
 * (P,K,8). R is any number of leading axes, bias (N). `n` is N, by default that of bias or 8·P. For a b
 * that many products share, weights above all: reading it is one stream, and nothing is packed again.
 * @throws ShapeError when K differs or P panels are not what N columns need
 */
export const matmul_packed = /* @__PURE__ */ defineKernel({
  name: "matmul_packed",
  family: "matmul",
  cut: () => ["R"],
  args: [acc("y", "*R N"), inp("a", "*R K"), inp("packed", "P K 8"), opt("bias", "N")],
  params: { alpha: f32(1), act: activation(), n: u32(0) },
  derive: (d, _runs, p, fail) => {
    if (d.N !== undefined && p.n && d.N !== p.n) fail(`bias: expected (N)=(${p.n}), got (${d.N})`);
    d.N ??= p.n || 8 * d.P;
    needsPanels(d, fail);
  },
  ref: ({ y, a, packed, bias }, { R, N, K }, { alpha, act }) => {
    for (let r = 0; r < R; r++) {
      for (let n = 0; n < N; n++) {
        let s = 0;
        for (let k = 0; k < K; k++) s += a[r * K + k] * packed[inPanels(k, n, K)];
        y[r * N + n] = activations[act](alpha * s + (bias ? bias[n] : 0));
      }
    }
  },
  vjp: (g) => {
    const { alpha } = g.p;
    const { a, packed, bias } = g.in;
    const { R, N: n, K } = g.dims;
    const linear = () => matmul_packed(a, packed, { alpha, n, bias });
    const dz = beforeActivation(g, g.p.act, linear).reshape([R, n]);
    if (g.needs("a")) g.to("a", matmul, [dz, unpack_b(packed, { n })], { alpha, tb: 1 });
    if (g.needs("packed")) {
      g.to("packed", pack_b, [matmul(a.reshape([R, K]), dz, { alpha, ta: 1 })]);
    }
    if (bias && g.needs("bias")) g.to("bias", sum_leading, [dz]);
  },
  cost: ({ R, N, K, P }) => ({ flops: 2 * R * N * K, bytes: 4 * (R * N + R * K + 8 * P * K) }),
  webgpu: [{ source, grid: ({ R, N }) => linear(R * N) }],
  wasm: {
    tiles: ({ R, N }) => (R * N === 0 ? 0 : Math.ceil(Math.max(R, N) / 8)),
    scratch: ({ K }) => SCRATCH + (K >= 1024 ? PANELS_OF_A : 0),
  },
});

/**
 * packed (P,K,8), P = ⌈N/8⌉, of b (K,N) or, under `tb`, (N,K): packed[p][k][j] = b[k][8p + j], zero past
 * column N. The operand of `matmul_packed`. (Panels of 8-bit and 4-bit numbers would be kernels of their
 * own, with the same panels and scales beside them.)
 */
export const pack_b = /* @__PURE__ */ defineKernel({
  name: "pack_b",
  family: "matmul",
  args: [acc("packed", "P K 8"), inp("b", (p) => (p.tb ? "N K" : "K N"))],
  params: { tb: flag() },
  derive: (d) => {
    d.P = Math.ceil(d.N / 8);
  },
  ref: ({ packed, b }, { K, N }, { tb }) => {
    for (let k = 0; k < K; k++) {
      for (let n = 0; n < N; n++) packed[inPanels(k, n, K)] = b[tb ? n * K + k : k * N + n];
    }
  },
  vjp: (g) => g.to("b", unpack_b, [g.d.packed], { tb: g.p.tb, n: g.dims.N }),
  cost: ({ P, K, N }) => ({ flops: 0, bytes: 4 * K * (8 * P + N) }),
  webgpu: [{ source, grid: ({ P, K }) => linear(8 * P * K) }],
  wasm: { tiles: ({ P, K }) => (K === 0 ? 0 : Math.ceil(P / 8)), scratch: () => 65536 },
});

/**
 * b (K,N) or, under `tb`, (N,K) of packed (P,K,8): what `pack_b` was given. `n` is N, by default 8·P.
 * @throws ShapeError when N columns need another number of panels
 */
export const unpack_b = /* @__PURE__ */ defineKernel({
  name: "unpack_b",
  family: "matmul",
  args: [acc("b", (p) => (p.tb ? "N K" : "K N")), inp("packed", "P K 8")],
  params: { tb: flag(), n: u32(0) },
  derive: (d, _runs, p, fail) => {
    d.N = p.n || 8 * d.P;
    needsPanels(d, fail);
  },
  ref: ({ b, packed }, { K, N }, { tb }) => {
    for (let k = 0; k < K; k++) {
      for (let n = 0; n < N; n++) b[tb ? n * K + k : k * N + n] = packed[inPanels(k, n, K)];
    }
  },
  vjp: (g) => g.to("packed", pack_b, [g.d.b], { tb: g.p.tb }),
  cost: ({ P, K, N }) => ({ flops: 0, bytes: 4 * K * (8 * P + N) }),
  webgpu: [{ source, grid: ({ K, N }) => linear(K * N) }],
  wasm: { tiles: ({ K, N }) => (N === 0 ? 0 : Math.ceil(K / 8)) },
});

const inPanels = (k: number, n: number, K: number): number => ((n >> 3) * K + k) * 8 + (n & 7);

function needsPanels({ N, P }: Dims, fail: (why: string) => never): void {
  const need = Math.ceil(N / 8);
  if (P !== need) fail(`packed: expected (P,K,8) with P = ${need} for N = ${N}, got P = ${P}`);
}

const sizes = (): Case[] => [
  // Paths of few rows and few columns, edges of the 5×8 and 6×8 tiles.
  ...grid({ A: [[]], C: [[]], M: [1, 4, 5, 6, 7, 13], N: [1, 7, 8, 12, 17], K: [1, 16, 37] }),
  ...grid({ A: [[]], C: [[]], M: [1, 37], N: [1, 65], K: [511, 513] }),
  // Rows that threads share, in several blocks of K.
  { dims: { A: [], C: [], M: 67, N: 17, K: 1025 } },
];
const transposes = [{}, { ta: 1 }, { tb: 1 }, { ta: 1, tb: 1, alpha: -0.5 }];
const acted = ["relu", "tanh", "sigmoid", "gelu", "silu"].map((act) => ({ act }));

const ones: Fill = (u, _i, { K }) => (K > 16384 ? 1 : 2 * u - 1);

export const matmulSuites: Suite[] = [
  {
    kernel: matmul,
    tol: { rel: 1e-5, abs: 3e-5, why: "sums of 1025 terms in f32" },
    // Very long sums are sums of ones, which are exact.
    fill: { a: ones, b: ones },
    cases: () => [
      ...sizes(),
      ...[...transposes, ...acted].flatMap((params) =>
        [1, 9].map((M) => ({ dims: { A: [], C: [], M, N: 11, K: 5 }, params, with: ["bias"] })),
      ),
      ...transposes.map((params) => ({
        dims: { A: [], C: [], M: 9, N: 1, K: 19 },
        params,
        with: ["bias"],
      })),
      { dims: { A: [2, 3], C: [2, 3], M: 5, N: 6, K: 7 } },
      { dims: { A: [3], C: [], M: 5, N: 9, K: 4 }, with: ["bias"] },
      { dims: { A: [], C: [4], M: 5, N: 9, K: 4 }, params: { ta: 1 } },
      { dims: { A: [3], C: [], M: 5, N: 9, K: 4 }, params: { tb: 1 } },
      { dims: { A: [3], C: [], M: 5, N: 9, K: 4 }, params: { ta: 1 } },
      { dims: { A: [], C: [], M: 3, N: 4, K: 0 }, with: ["bias"] },
      { dims: { A: [], C: [], M: 30, N: 9, K: 0 }, with: ["bias"] },
      // Past what is small, off the edges of tiles, more batches than threads.
      ...transposes.map((params) => ({
        dims: { A: [3], C: [3], M: 65, N: 81, K: 101 },
        params: { ...params, act: "tanh" },
        with: ["bias"],
      })),
      // Several blocks of K, of columns, and of rows of a transposed a.
      ...[...transposes, { act: "sigmoid" }].map((params) => ({
        dims: { A: [], C: [], M: 37, N: 67, K: 1025 },
        params,
        with: ["bias"],
      })),
      ...[16, 17].map((N) => ({ dims: { A: [], C: [], M: 1027, N, K: 9 }, params: { ta: 1 } })),
      { dims: { A: [], C: [], M: 9, N: 1027, K: 9 }, params: { act: "relu" } },
      // whole panels, and half of one, of several blocks of K
      ...[4, 16].map((N) => ({
        dims: { A: [], C: [], M: 37, N, K: 1025 },
        params: { alpha: 2, act: "relu" },
      })),
      { dims: { A: [], C: [], M: 38, N: 259, K: 1024 } },
      { dims: { A: [], C: [], M: 9, N: 9, K: 20003 } },
      { dims: { A: [], C: [], M: 0, N: 4, K: 2 } },
    ],
    bench: () => [
      ...[256, 512, 1024].map((n) => ({
        dims: { A: [], C: [], M: n, N: n, K: n },
        source: `square ${n}`,
      })),
      { dims: { A: [], C: [], M: 1, N: 4096, K: 4096 }, source: "matrix times vector" },
      {
        dims: { A: [], C: [], M: 1, N: 4096, K: 4096 },
        params: { tb: 1 },
        source: "matrix times vector, transposed",
      },
      { dims: { A: [], C: [], M: 64, N: 4096, K: 4096 }, source: "64 tokens, one weight" },
      { dims: { A: [], C: [], M: 1000, N: 7, K: 1000 }, source: "few columns" },
      {
        dims: { A: [8], C: [8], M: 128, N: 128, K: 64 },
        params: { tb: 1 },
        source: "scores of 8 heads",
      },
      {
        dims: { A: [], C: [], M: 128, N: 256, K: 784 },
        source: "first layer of 784-256-128-10, batch 128",
      },
      {
        dims: { A: [], C: [], M: 784, N: 256, K: 128 },
        params: { ta: 1 },
        source: "gradient of its weight",
      },
      { dims: { A: [], C: [], M: 32, N: 10, K: 256 }, source: "last layer of an MLP, batch 32" },
      {
        dims: { A: [], C: [], M: 10, N: 256, K: 784 },
        params: { tb: 1 },
        source: "analog FCN, batch 10",
      },
    ],
  },
  {
    kernel: matmul_packed,
    tol: { rel: 1e-5, abs: 3e-5, why: "sums of 1025 terms in f32" },
    cases: () => [
      ...grid({ R: [[], [2, 3], [13]], N: [1, 7, 8, 17, 81], K: [1, 37, 513] }).map(withPanels),
      ...[{}, { alpha: -0.5 }, ...acted].flatMap((params) =>
        [[], [9]].map((R) => withPanels({ dims: { R, N: 11, K: 5 }, params, with: ["bias"] })),
      ),
      withPanels({
        dims: { R: [37], N: 67, K: 1025 },
        params: { act: "sigmoid" },
        with: ["bias"],
      }),
      withPanels({ dims: { R: [3], N: 4, K: 0 }, with: ["bias"] }),
      withPanels({ dims: { R: [0], N: 4, K: 2 } }),
    ],
    bench: () => [
      withPanels({ dims: { R: [1], N: 4096, K: 4096 }, source: "matrix times vector" }),
      withPanels({ dims: { R: [64], N: 4096, K: 4096 }, source: "64 tokens, one weight" }),
      withPanels({ dims: { R: [32], N: 256, K: 784 }, source: "first layer of an MLP, batch 32" }),
    ],
  },
  ...[pack_b, unpack_b].map((kernel) => ({
    kernel,
    tol: { rel: 0, abs: 0 },
    cases: () =>
      [{}, { tb: 1 }].flatMap((params) =>
        [...grid({ N: [1, 7, 8, 67], K: [1, 9, 257] }), { dims: { N: 7, K: 0 } }].map((c) => {
          const packed = withPanels({ ...c, params });
          return kernel === unpack_b ? packed : { ...packed, params };
        }),
      ),
    bench: () => [
      {
        dims: { N: 1024, P: 128, K: 1024 },
        source: "square 1024",
      },
    ],
  })),
];

/** P and n for N columns. */
function withPanels(c: Case): Case {
  const n = c.dims.N as number;
  return { ...c, dims: { ...c.dims, P: Math.ceil(n / 8) }, params: { ...c.params, n } };
}
