import {
  type Case,
  choice,
  defineKernel,
  flag,
  inp,
  linear,
  opt,
  out,
  type Params,
  type Suite,
  type WebgpuPass,
} from "../core/contract.ts";
import source from "../wgsl/fft.wgsl";
import { rowGrid } from "./lib/rows.ts";
import { scale } from "./unary.ts";

const pass = (k: number): WebgpuPass => ({
  entry: k % 2 ? "fft_odd" : "fft_even",
  grid: ({ R, N }) => linear(R * N),
});
const turns = [pass(0), pass(1)];
const factor = (N: number, { inverse, norm }: Params) =>
  norm === "ortho" ? 1 / Math.sqrt(N) : (norm === "forward") === (inverse === 1) ? 1 : 1 / N;

/**
 * Discrete Fourier transform of rows (R,N) of complex numbers in two planes, of any length N:
 * yr + i·yi = f Σ_n (xr + i·xi) e^∓2πikn/N, − forward and + `inverse`; without xi the input is real.
 * `norm` says where the factor is, as in NumPy: `backward` f = 1 forward and 1/N inverse, `forward` the
 * other way round, `ortho` 1/√N both ways. Error about 1e-7 of the largest output.
 * Time N log N for powers of two, else N times the sum of the prime factors of N.
 * @throws ShapeError when N is 0
 */
export const fft = /* @__PURE__ */ defineKernel({
  name: "fft",
  family: "transform",
  cut: () => ["R"],
  args: [out("yr", "*R N"), out("yi", "*R N"), inp("xr", "*R N"), opt("xi", "*R N")],
  params: { inverse: flag(), norm: choice("backward", "forward", "ortho") },
  check: ({ N }) => (N > 0 ? undefined : "N: expected at least 1, got 0"),
  ref: ({ yr, yi, xr, xi }, { R, N }, p) => {
    const f = factor(N, p);
    const turn = ((p.inverse ? 2 : -2) * Math.PI) / N;
    for (let o = 0; o < R * N; o += N) {
      for (let k = 0; k < N; k++) {
        for (let n = 0; n < N; n++) {
          const [c, s] = [Math.cos(turn * ((k * n) % N)), Math.sin(turn * ((k * n) % N))];
          const [a, b] = [xr[o + n], xi ? xi[o + n] : 0];
          yr[o + k] += f * (a * c - b * s);
          yi[o + k] += f * (a * s + b * c);
        }
      }
    }
  },
  vjp: (g) => {
    // The adjoint is the conjugate transform: the other direction, with the factor of this one.
    const norm = { backward: "forward", forward: "backward", ortho: "ortho" }[g.p.norm as string];
    const dr = g.d.yr ?? scale(g.d.yi, { by: 0 });
    const dx = fft(dr, { xi: g.d.yi, inverse: 1 - g.p.inverse, norm });
    g.pass("xr", dx.yr, scale);
    g.pass("xi", dx.yi, scale);
  },
  cost: ({ R, N }) => ({ flops: 5 * R * N * Math.log2(N), bytes: 16 * R * N }),
  webgpu: [
    // One workgroup a row, in place in the output.
    {
      name: "workgroup",
      source,
      when: ({ N }) => N > 0 && 2 ** Math.round(Math.log2(N)) === N,
      grid: rowGrid,
    },
    // Passes of radix 4 and primes, at most 16 for N < 2^24, a thread a number of the result.
    {
      name: "passes",
      source,
      when: ({ R, N }) => R * N < 16777216,
      grid: () => linear(1),
      scratch: ({ R, N }) => 8 * R * N + 32,
      further: [...Array.from({ length: 16 }, (_, k) => turns[k % 2])],
    },
    { source, grid: ({ R, N }) => linear(R * N) },
  ],
  wasm: {
    tiles: ({ R }) => R,
    // Two planes of results between passes, two of roots of unity, and one of zeros.
    scratch: ({ N }) => 20 * N,
  },
});

const sizes = [1, 2, 3, 4, 5, 6, 7, 8, 12, 15, 16, 30, 32, 49, 60, 64, 97, 128, 210, 256, 360];
const cases = (): Case[] => [
  ...sizes.flatMap((N) =>
    [0, 1].map((inverse) => ({ dims: { R: [3], N }, params: { inverse }, with: ["xi"] })),
  ),
  ...["forward", "ortho"].map((norm) => ({
    dims: { R: [], N: 32 },
    params: { norm, inverse: 1 },
    with: ["xi"],
  })),
  { dims: { R: [2, 2], N: 16 } },
  { dims: { R: [2], N: 64 }, params: { inverse: 1, norm: "ortho" } },
  { dims: { R: [0], N: 4 }, with: ["xi"] },
  { dims: { R: [1], N: 1024 }, with: ["xi"] },
];

export const fftSuite: Suite = {
  kernel: fft,
  cases,
  bench: () => [
    { dims: { R: [1024], N: 1024 }, with: ["xi"], source: "rows of 1024" },
    { dims: { R: [64], N: 1000 }, with: ["xi"], source: "rows of 1000" },
    { dims: { R: [16], N: 1 << 16 }, with: ["xi"], source: "16 signals of 64 Ki" },
  ],
  tol: { rel: 1e-5, abs: 3e-5, why: "sums of N terms that cancel, in f32" },
};
