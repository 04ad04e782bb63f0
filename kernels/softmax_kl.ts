import {
  acc,
  type Case,
  choice,
  defineKernel,
  edges,
  f32,
  grid,
  inp,
  out,
  type Params,
  positive,
  type Suite,
} from "../core/contract.ts";
import { DiffError } from "../core/errors.ts";
import source from "../wgsl/softmax_kl.wgsl";
import { fewLongRows, rowGrid, rowTiles, runGrid, sliceGrid } from "./lib/rows.ts";

const params = () => ({
  kind: choice("forward", "reverse"),
  alpha: f32(0, ["in [0, 1)", (v) => v >= 0 && v < 1]),
  mixture: choice("full", "detached"),
  temperature: f32(1, positive),
});

function lseOf(x: ArrayLike<number>, o: number, C: number, k: number): number {
  let m = -Infinity;
  let s = 0;
  for (let c = 0; c < C; c++) m = Math.max(m, k * x[o + c]);
  for (let c = 0; c < C; c++) s += Math.exp(k * x[o + c] - m);
  return m === -Infinity ? m : m + Math.log(s);
}

/**
 * One element: its share of the loss, of the centre, and its gradient before the centre is taken off. `lq`, `lp`
 * are the log-probabilities of student and teacher. What has no probability has no share (0 ln 0 = 0).
 */
function element(lq: number, lp: number, { kind, alpha, mixture }: Params) {
  const [q, p] = [Math.exp(lq), Math.exp(lp)];
  if (kind === "forward") {
    // ln(m/p), and q/m, with m = α p + (1−α) q.
    const u = alpha === 0 ? lq - lp : Math.log(alpha + (1 - alpha) * Math.exp(lq - lp));
    const ratio = alpha === 0 ? 1 : Math.exp(lq - lp - u);
    const share = p === 0 ? 0 : p * ratio;
    return { loss: p === 0 ? 0 : -p * u, centre: share, q, own: share };
  }
  // ln(m/q) with m = α q + (1−α) p.
  const v = alpha === 0 ? lp - lq : Math.log(alpha + (1 - alpha) * Math.exp(lp - lq));
  const h = -v - (mixture === "full" && alpha > 0 ? alpha * Math.exp(-v) : 0);
  const share = q === 0 ? 0 : q * h;
  return { loss: q === 0 ? 0 : -q * v, centre: share, q, own: share };
}

/**
 * Divergence of student from teacher, row by row, in nats: with q and p the softmax of z/temperature and
 * t/temperature, z and t the logits (R,C) of student and teacher,
 *
 *     forward   KL(p ‖ α p + (1−α) q)     reverse   KL(q ‖ α q + (1−α) p)
 *
 * α = 0 is the Kullback–Leibler divergence and its reverse, α > 0 their skewed forms, at most −ln α
 * (DistiLLM, arXiv:2402.03898 Eq. 4–5). `mixture: "detached"` holds the mixture constant in the gradient of
 * reverse, as the released code of DistiLLM-2 does. loss (R) comes with what its gradient starts from: the lse
 * (R) of both rows and a centre (R). Two passes over the logits, nothing of their size is stored. Only z has a
 * gradient. Rows of −Inf alone and NaN give NaN.
 * @throws ValueError unless 0 ≤ α < 1 and temperature > 0; DiffError for a gradient of t
 */
export const softmax_kl = /* @__PURE__ */ defineKernel({
  name: "softmax_kl",
  family: "softmax",
  cut: () => ["R"],
  args: [
    out("loss", "R"),
    out("lse_z", "R"),
    out("lse_t", "R"),
    out("centre", "R"),
    inp("z", "R C"),
    inp("t", "R C"),
  ],
  params: params(),
  ref: ({ loss, lse_z, lse_t, centre, z, t }, { R, C }, p) => {
    const k = 1 / p.temperature;
    for (let r = 0; r < R; r++) {
      const o = r * C;
      lse_z[r] = lseOf(z, o, C, k);
      lse_t[r] = lseOf(t, o, C, k);
      for (let c = 0; c < C; c++) {
        const e = element(k * z[o + c] - lse_z[r], k * t[o + c] - lse_t[r], p);
        loss[r] += e.loss;
        centre[r] += e.centre;
      }
    }
  },
  vjp: (g) => {
    if (g.needs("t"))
      throw new DiffError("no-vjp", "t has no gradient: the teacher is held fixed", "softmax_kl");
    // The lse and the centre are by-products: their own gradients are not carried.
    if (!g.d.loss) return;
    const { kind, alpha, mixture, temperature } = g.p;
    g.to("z", softmax_kl_bwd, [g.d.loss, g.in.z, g.in.t, g.out.lse_z, g.out.lse_t, g.out.centre], {
      kind,
      alpha,
      mixture,
      temperature,
    });
  },
  cost: ({ R, C }) => ({ flops: 80 * R * C, bytes: 16 * R * C }),
  webgpu: [
    {
      name: "split",
      source,
      when: ({ C }) => C > 0,
      prefer: fewLongRows,
      grid: sliceGrid,
      scratch: ({ R, C }) => 16 * 64 * R * Math.ceil(C / 4096),
      further: [
        { entry: "softmax_kl_split_lse", grid: rowGrid },
        { entry: "softmax_kl_split_terms", grid: sliceGrid },
        { entry: "softmax_kl_split_total", grid: rowGrid },
      ],
    },
    { source, grid: rowGrid },
  ],
  wasm: rowTiles,
});

/**
 * dz (R,C) of `softmax_kl` from dloss (R), the logits and what it left: dloss/temperature times, forward,
 * (1−α)(q·centre − p·q/m), reverse q (h − centre) with h = ln(q/m) − α q/m, or ln(q/m) when detached. Has no VJP.
 */
export const softmax_kl_bwd = /* @__PURE__ */ defineKernel({
  name: "softmax_kl_bwd",
  family: "softmax",
  cut: () => ["R"],
  args: [
    acc("dz", "R C"),
    inp("dloss", "R"),
    inp("z", "R C"),
    inp("t", "R C"),
    inp("lse_z", "R"),
    inp("lse_t", "R"),
    inp("centre", "R"),
  ],
  params: params(),
  ref: ({ dz, dloss, z, t, lse_z, lse_t, centre }, { R, C }, p) => {
    const k = 1 / p.temperature;
    for (let i = 0; i < R * C; i++) {
      const r = Math.floor(i / C);
      const e = element(k * z[i] - lse_z[r], k * t[i] - lse_t[r], p);
      const own =
        p.kind === "forward" ? (1 - p.alpha) * (e.q * centre[r] - e.own) : e.own - e.q * centre[r];
      dz[i] = k * dloss[r] * own;
    }
  },
  cost: ({ R, C }) => ({ flops: 60 * R * C, bytes: 12 * R * C }),
  webgpu: [{ source, grid: runGrid }],
  wasm: rowTiles,
});

const kinds = [
  { kind: "forward" },
  { kind: "reverse" },
  { kind: "forward", alpha: 0.1 },
  { kind: "reverse", alpha: 0.1, temperature: 2 },
  { kind: "reverse", alpha: 0.3, mixture: "detached" },
];
const cases = (): Case[] => [
  ...grid({ R: [1, 3, 9], C: [...edges(4), 65, 130] }).flatMap((c, i) => [
    { ...c, params: kinds[i % 5] },
    { ...c, params: kinds[(i + 2) % 5] },
  ]),
  ...kinds.map((k, i) => ({ dims: { R: 2, C: [1100, 4096, 4097, 8200, 1025][i] }, params: k })),
];
const large = (): Case[] => [
  ...cases(),
  { dims: { R: 2, C: 150001 }, params: kinds[2] },
  { dims: { R: 2, C: 150001 }, params: kinds[3] },
];
const bench = (): Case[] => [
  { dims: { R: 8, C: 150001 }, params: kinds[2], source: "DistiLLM-2: 150 k tokens, 8 positions" },
];
/** Some teachers leave a token out. */
const logits = (u: number, i: number) => (i % 37 === 36 ? -Infinity : 10 * u - 5);
/** Where there are nine rows, one of each side has a NaN, one +Inf, one is -Inf alone. */
const hard = (first: number, other: (u: number, i: number) => number) => {
  return (u: number, i: number, { R, C }: Record<string, number>) => {
    const r = R > 8 ? Math.floor(i / C) - first : -1;
    if (r === 2) return -Infinity;
    if ((r === 0 || r === 1) && i % C === C >> 1) return r ? Infinity : Number.NaN;
    return other(u, i);
  };
};
const tol = { rel: 2e-5, abs: 2e-6, why: "a sum of terms of both signs that nearly cancel" };
const lse = (u: number) => 2 + 4 * u;

export const softmaxKlSuites: Suite[] = [
  {
    kernel: softmax_kl,
    cases: large,
    bench,
    tol,
    fill: { z: hard(1, (u) => 10 * u - 5), t: hard(5, logits) },
    fixed: ["t"],
    skipFiniteDifferences: "by-products without gradients; test/losses.test.ts",
  },
  {
    kernel: softmax_kl_bwd,
    cases,
    bench,
    tol,
    fill: { z: (u) => 10 * u - 5, t: logits, lse_z: lse, lse_t: lse },
  },
];
