import {
  type Case,
  choice,
  defineKernel,
  edges,
  f32,
  flag,
  inp,
  linear,
  nonNegative,
  out,
  type Params,
  positive,
  type Suite,
  u32,
} from "../core/contract.ts";
import { normalPair, threefry2x32 } from "../core/threefry.ts";
import source from "../wgsl/analog_mvm.wgsl";
import { scale } from "./unary.ts";

/** Rounds to multiples of `quantum`, ties to even as the hardware does; 0 leaves v alone. */
function quantise(v: number, quantum: number): number {
  if (!(quantum > 0)) return v;
  const n = v / quantum;
  const r = Math.round(n);
  return (Math.abs(n % 1) === 0.5 && r % 2 !== 0 ? r - 1 : r) * quantum;
}

/**
 * y (S,O) = w x as a crossbar computes it, x (S,I), w (O,I), or (I,O) under `tr` (the backward read):
 * the input is divided by its largest magnitude (noise management), rounded by the DAC, multiplied,
 * disturbed, rounded by the ADC and clipped; while something clips, the input is halved and read
 * again, up to `max_bm` (iterative bound management). `perfect` skips all of it. An all-zero row
 * gives zeros. Defaults are AIHWKit's: §2.8 of the paper page.
 *
 * Its gradient with respect to x is the transposed read with the same converters and no bound
 * management; w gets none, it learns by pulses from (x, d).
 * @throws ValueError for bounds that are not positive or noise that is negative
 */
export const analog_mvm = /* @__PURE__ */ defineKernel({
  name: "analog_mvm",
  family: "crossbar",
  args: [out("y", "S O"), inp("x", "S I"), inp("w", (p) => (p.tr ? "I O" : "O I"))],
  params: {
    tr: flag(),
    perfect: flag(),
    nm: { ...choice("none", "abs_max"), default: "abs_max" },
    bm: { ...choice("none", "iterative"), default: "iterative" },
    inp_bound: f32(1, positive),
    inp_res: f32(1 / 126, nonNegative),
    inp_noise: f32(0, nonNegative),
    out_bound: f32(12, positive),
    out_res: f32(1 / 510, nonNegative),
    out_noise: f32(0.06, nonNegative),
    w_noise: f32(0, nonNegative),
    max_bm: f32(16, positive),
    seed: u32(0),
    stream: u32(0),
    t: u32(0),
  },
  ref: ({ y, x, w }, { S, O, I }, p) => {
    const draw = (stream: number, c0: number, c1: number) =>
      normalPair(...threefry2x32(p.seed, p.stream + stream, c0, c1))[0];
    const weight = (o: number, i: number) => (p.tr ? w[i * O + o] : w[o * I + i]);
    for (let s = 0; s < S; s++) {
      const row = Array.from(x.subarray(s * I, (s + 1) * I));
      const product = (v: number[], o: number) =>
        v.reduce((sum, c, i) => sum + c * weight(o, i), 0);
      const a = p.perfect || p.nm === "none" ? 1 : Math.max(0, ...row.map(Math.abs));
      if (a === 0) continue;
      for (let b = 1, turn = 0; ; b *= 2, turn++) {
        const time = Math.imul(Math.imul(p.t, S) + s, 16) + turn;
        const v = row.map((c, i) => {
          if (p.perfect) return c;
          const q = quantise(c / (a * b), p.inp_res * 2 * p.inp_bound);
          const clip = Math.min(p.inp_bound, Math.max(-p.inp_bound, q));
          return p.inp_noise > 0 ? clip + p.inp_noise * draw(0, i, time) : clip;
        });
        const norm = Math.hypot(...v);
        let clipped = false;
        for (let o = 0; o < O; o++) {
          let z = product(v, o);
          if (!p.perfect) {
            if (p.w_noise > 0) z += p.w_noise * norm * draw(1, o, time);
            if (p.out_noise > 0) z += p.out_noise * draw(2, o, time);
            z = quantise(z, p.out_res * 2 * p.out_bound);
            if (Math.abs(z) > p.out_bound) {
              clipped = true;
              z = Math.sign(z) * p.out_bound;
            }
          }
          y[s * O + o] = z * a * b;
        }
        if (!clipped || p.bm === "none" || b * 2 > p.max_bm) break;
      }
    }
  },
  vjp: (g) => {
    if (!g.needs("x")) return;
    const { tr, ...rest } = g.p;
    const read = analog_mvm(g.d.y, g.in.w, {
      ...rest,
      tr: tr ? 0 : 1,
      bm: "none",
      stream: g.p.stream + 3,
    });
    g.pass("x", read, scale);
  },
  cost: ({ S, O, I }) => ({ flops: 2 * S * O * I, bytes: 4 * (O * I + S * (O + I)) }),
  webgpu: [{ source, grid: ({ S }) => linear(S, 1) }],
  wasm: { tiles: ({ S }) => S, scratch: ({ I }) => 4 * I + 64 },
});

const shapes = (): Case[] => edges(4).map((n) => ({ dims: { S: 3, O: n, I: n + 1 } }));
const quiet: Params = { out_noise: 0 };
/** Dyadic quanta over dyadic data: products are exact, so no backend rounds at another place. */
const dyadic: Params = { inp_res: 1 / 64, out_bound: 2, out_res: 1 / 128, out_noise: 0 };

export const analogMvmSuite: Suite = {
  kernel: analog_mvm,
  cases: () => [
    ...shapes().map((c) => ({ ...c, params: { perfect: 1 } })),
    ...shapes().map((c) => ({ ...c, params: { inp_res: 0, out_res: 0, ...quiet } })),
    ...shapes().map((c) => ({ ...c, params: { ...dyadic, tr: 1 } })),
    { dims: { S: 5, O: 70, I: 30 }, params: dyadic },
    { dims: { S: 5, O: 70, I: 30 }, params: { ...dyadic, bm: "none" } },
    {
      dims: { S: 5, O: 9, I: 30 },
      params: { inp_res: 0, out_res: 0, seed: 3, t: 2, inp_noise: 0.1, w_noise: 0.05 },
    },
    { dims: { S: 3, O: 5, I: 6 }, params: { inp_res: 0, out_res: 0, nm: "none", ...quiet } },
  ],
  bench: () => [{ dims: { S: 10, O: 256, I: 784 }, source: "first layer of the FCN, batch 10" }],
  tol: { rel: 1e-5, abs: 1e-5 },
  // Multiples of 1/32 with a 1 in each row, every fourth row silent.
  fill: {
    x: (u, i, { I }) =>
      Math.floor(i / I) % 4 === 3 ? 0 : i % I === 0 ? 1 : Math.floor(u * 65) / 32 - 1,
    w: (u) => Math.floor(u * 65) / 32 - 1,
  },
  skipFiniteDifferences: "converters are steps; test/gradients.test.ts checks the perfect read",
};
