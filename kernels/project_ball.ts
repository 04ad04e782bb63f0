import {
  defineKernel,
  edges,
  f32,
  inout,
  inp,
  linear,
  nonNegative,
  out,
  type Suite,
} from "../core/contract.ts";
import source from "../wgsl/project_ball.wgsl";

/** y () = ‖p − c‖² of p, c (N): what `project_ball` asks for. Has no VJP. */
export const squared_distance = /* @__PURE__ */ defineKernel({
  name: "squared_distance",
  family: "optimiser",
  args: [out("y", ""), inp("p", "*N"), inp("c", "*N")],
  ref: ({ y, p, c }, { N }) => {
    for (let i = 0; i < N; i++) y[0] += (p[i] - c[i]) ** 2;
  },
  cost: ({ N }) => ({ flops: 3 * N, bytes: 8 * N }),
  webgpu: [{ source, grid: () => [1] }],
  wasm: {},
});

/**
 * Projects p (N) in place on the ball of `radius` around c (N), where sumsq () = ‖p − c‖², from `squared_distance`,
 * and forgets the first moment m (N) of the optimiser, which points outward: m ← 0. A p inside is left as it is, and
 * its m, bit for bit; radius 0 makes p = c, bit for bit. A NaN distance makes p NaN.
 * @throws ValueError unless radius is finite and >= 0
 */
export const project_ball = /* @__PURE__ */ defineKernel({
  name: "project_ball",
  family: "optimiser",
  cut: () => ["N"],
  args: [inout("p", "*N"), inout("m", "*N"), inp("c", "*N"), inp("sumsq", "")],
  params: { radius: f32(undefined, nonNegative) },
  ref: ({ p, m, c, sumsq }, { N }, { radius }) => {
    const norm = Math.sqrt(sumsq[0]);
    if (norm <= radius) return;
    const s = radius / norm;
    for (let i = 0; i < N; i++) {
      p[i] = s === 0 ? c[i] : c[i] + s * (p[i] - c[i]);
      m[i] = 0;
    }
  },
  cost: ({ N }) => ({ flops: 3 * N, bytes: 20 * N }),
  webgpu: [{ source, grid: ({ N }) => linear(N) }],
  wasm: { tiles: ({ N }) => Math.ceil(N / 1024) },
});

const bench = [{ dims: { N: [24_832] }, source: "256-64-128 as one slab" }];

export const projectBallSuites: Suite[] = [
  {
    kernel: squared_distance,
    cases: () => [...edges(1024), 9001].map((n) => ({ dims: { N: [n] } })),
    bench: () => bench,
    tol: { rel: 1e-5, abs: 1e-6 },
  },
  {
    kernel: project_ball,
    // sumsq lies in 4 … 9: outside of 0, 0.5 and 2, inside of 4
    cases: () => [
      ...edges(1024).map((n) => ({ dims: { N: [n] }, params: { radius: 0.5 } })),
      ...[0, 2, 4].map((radius) => ({ dims: { N: [2, 37] }, params: { radius } })),
    ],
    bench: () => bench.map((c) => ({ ...c, params: { radius: 0.5 } })),
    tol: { rel: 1e-6, abs: 1e-6 },
    fill: { sumsq: (u) => 4.5 + 4 * Math.abs(u) },
  },
];
