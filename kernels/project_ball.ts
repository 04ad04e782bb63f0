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

/**
 * sums (2) = ‖p − c‖² and ⟨m, p − c⟩ over p, c, m (N): what `project_ball` asks for, with c the centre of the
 * ball and m the first moment of an optimiser.
 */
export const ball_sums = /* @__PURE__ */ defineKernel({
  name: "ball_sums",
  family: "optimiser",
  args: [out("sums", "2"), inp("p", "*N"), inp("c", "*N"), inp("m", "*N")],
  ref: ({ sums, p, c, m }, { N }) => {
    for (let i = 0; i < N; i++) {
      const d = p[i] - c[i];
      sums[0] += d * d;
      sums[1] += m[i] * d;
    }
  },
  cost: ({ N }) => ({ flops: 5 * N, bytes: 12 * N }),
  webgpu: [{ source, grid: () => [1] }],
  wasm: {},
});

/**
 * Projects p (N) in place on the ball of `radius` around c (N); sums (2) from `ball_sums`. A p inside is left as it
 * is, bit for bit; radius 0 makes p = c, bit for bit. Where p was outside and a step along −m would leave the ball
 * again (⟨m, p − c⟩ < 0), m (N) loses its part along p − c. A NaN distance makes p NaN.
 * @throws ValueError unless radius is finite and >= 0
 */
export const project_ball = /* @__PURE__ */ defineKernel({
  name: "project_ball",
  family: "optimiser",
  cut: () => ["N"],
  args: [inout("p", "*N"), inout("m", "*N"), inp("c", "*N"), inp("sums", "2")],
  params: { radius: f32(undefined, nonNegative) },
  ref: ({ p, m, c, sums }, { N }, { radius }) => {
    const norm = Math.sqrt(sums[0]);
    if (norm <= radius) return;
    const s = radius / norm;
    const along = sums[1] < 0 ? sums[1] / sums[0] : 0;
    for (let i = 0; i < N; i++) {
      const d = p[i] - c[i];
      m[i] -= along * d;
      p[i] = s === 0 ? c[i] : c[i] + s * d;
    }
  },
  cost: ({ N }) => ({ flops: 5 * N, bytes: 20 * N }),
  webgpu: [{ source, grid: ({ N }) => linear(N) }],
  wasm: { tiles: ({ N }) => Math.ceil(N / 1024) },
});

const bench = [{ dims: { N: [24_832] }, source: "256-64-128 as one slab" }];

export const projectBallSuites: Suite[] = [
  {
    kernel: ball_sums,
    cases: () => [...edges(1024), 9001].map((n) => ({ dims: { N: [n] } })),
    bench: () => bench,
    tol: { rel: 1e-5, abs: 2e-5 },
  },
  {
    kernel: project_ball,
    // sums lie in 4 … 9: outside of 0, 0.5 and 2, inside of 4; the second is negative where u < 0
    cases: () => [
      ...edges(1024).map((n) => ({ dims: { N: [n] }, params: { radius: 0.5 } })),
      ...[0, 2, 4].map((radius) => ({ dims: { N: [2, 37] }, params: { radius } })),
    ],
    bench: () => bench.map((c) => ({ ...c, params: { radius: 0.5 } })),
    tol: { rel: 1e-6, abs: 1e-6 },
    fill: { sums: (u, i) => (i === 0 ? 5 + 4 * Math.abs(u) : u - 0.5) },
  },
];
