import {
  acc,
  type Case,
  defineKernel,
  edges,
  type Fill,
  f32,
  inp,
  linear,
  type Suite,
  type Vjp,
} from "../core/contract.ts";
import source from "../wgsl/unary.wgsl";
import { div, mul } from "./binary.ts";

const webgpu = [{ source, grid: ({ N }: { N?: number }) => linear(N ?? 0) }];
const wasm = { tiles: ({ N }: Record<string, number>) => Math.ceil(N / 1024) };

/** y = by · x + shift, (N); NaN and Inf propagate. */
export const scale = /* @__PURE__ */ defineKernel({
  name: "scale",
  family: "elementwise",
  cut: () => ["N"],
  args: [acc("y", "*N"), inp("x", "*N")],
  params: { by: f32(1), shift: f32(0) },
  ref: ({ y, x }, { N }, { by, shift }) => {
    for (let i = 0; i < N; i++) y[i] = by * x[i] + shift;
  },
  vjp: (g) => g.to("x", scale, [g.d.y], { by: g.p.by }),
  cost: ({ N }) => ({ flops: 2 * N, bytes: 8 * N }),
  webgpu,
  wasm,
});

const unary = (name: string, f: (x: number) => number, flops: number, vjp?: (g: Vjp) => void) =>
  defineKernel({
    name,
    family: "elementwise",
    cut: () => ["N"],
    args: [acc("y", "*N"), inp("x", "*N")],
    ref: ({ y, x }, { N }) => {
      for (let i = 0; i < N; i++) y[i] = f(x[i]);
    },
    ...(vjp ? { vjp } : {}),
    cost: ({ N }) => ({ flops: flops * N, bytes: 8 * N }),
    webgpu,
    wasm,
  });

/** dx = dy · slope(v), where v is the forward kernel's output `y` or its input `x`. */
const slope = <V extends "x" | "y">(
  name: string,
  v: V,
  f: (v: number) => number,
  flops: number,
  vjp?: (g: Vjp) => void,
) =>
  defineKernel({
    name,
    family: "elementwise",
    cut: () => ["N"],
    args: [acc("dx", "*N"), inp("dy", "*N"), inp(v, "*N")],
    ref: (a, { N }) => {
      for (let i = 0; i < N; i++) a.dx[i] = a.dy[i] * f(a[v][i]);
    },
    ...(vjp ? { vjp } : {}),
    cost: ({ N }) => ({ flops: flops * N, bytes: 12 * N }),
    webgpu,
    wasm,
  });

/** y = e^x, (N); 0 and Inf beyond the range of f32. */
export const exp = /* @__PURE__ */ unary("exp", Math.exp, 12, (g) =>
  g.to("x", mul, [g.d.y, g.out.y]),
);

/** y = ln x, (N); −Inf at 0, NaN below. */
export const log = /* @__PURE__ */ unary("log", Math.log, 20, (g) =>
  g.to("x", div, [g.d.y, g.in.x]),
);

/** y = sin x, (N), x in radians; absolute error grows with |x| beyond 1e4. */
export const sin = /* @__PURE__ */ unary("sin", Math.sin, 16, (g) => {
  if (g.needs("x")) g.to("x", mul, [g.d.y, cos(g.in.x)]);
});

/** y = cos x, (N), x in radians; absolute error grows with |x| beyond 1e4. */
export const cos = /* @__PURE__ */ unary("cos", Math.cos, 16, (g) => {
  if (g.needs("x")) g.to("x", mul, [g.d.y, scale(sin(g.in.x), { by: -1 })]);
});

/** y = √x, (N); NaN below 0. */
export const sqrt = /* @__PURE__ */ unary("sqrt", Math.sqrt, 1, (g) => {
  if (g.needs("x")) g.to("x", div, [scale(g.d.y, { by: 0.5 }), g.out.y]);
});

/** y = x², (N). */
export const square = /* @__PURE__ */ unary(
  "square",
  (x) => x * x,
  1,
  (g) => {
    if (g.needs("x")) g.to("x", mul, [g.d.y, scale(g.in.x, { by: 2 })]);
  },
);

/** y = 1/x, (N); ±Inf at ±0. */
export const reciprocal = /* @__PURE__ */ unary(
  "reciprocal",
  (x) => 1 / x,
  1,
  (g) => {
    if (g.needs("x")) g.to("x", mul, [g.d.y, scale(square(g.out.y), { by: -1 })]);
  },
);

/** y = |x|, (N); the slope at 0 is 0. */
export const abs = /* @__PURE__ */ unary("abs", Math.abs, 1, (g) => {
  if (g.needs("x")) g.to("x", mul, [g.d.y, sign(g.in.x)]);
});

/** y = −1, 0 or 1, (N); slope 0 everywhere. */
export const sign = /* @__PURE__ */ unary("sign", Math.sign, 1, (g) =>
  g.to("x", scale, [g.d.y], { by: 0 }),
);

/** y = tanh x, (N). */
export const tanh = /* @__PURE__ */ unary("tanh", Math.tanh, 22, (g) =>
  g.to("x", tanh_bwd, [g.d.y, g.out.y]),
);

/** y = 1/(1+e^−x), (N). */
export const sigmoid = /* @__PURE__ */ unary(
  "sigmoid",
  (x) => 1 / (1 + Math.exp(-x)),
  14,
  (g) => g.to("x", sigmoid_bwd, [g.d.y, g.out.y]),
);

/** y = max(x, 0), (N); NaN stays NaN, the slope at 0 is 0. */
export const relu = /* @__PURE__ */ unary(
  "relu",
  (x) => Math.max(x, 0),
  1,
  (g) => g.to("x", relu_bwd, [g.d.y, g.out.y]),
);

/** y = ln(1 + e^x), (N). */
export const softplus = /* @__PURE__ */ unary(
  "softplus",
  (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))),
  36,
  (g) => {
    if (g.needs("x")) g.to("x", mul, [g.d.y, sigmoid(g.in.x)]);
  },
);

const SQRT_2_PI = 0.7978845608028654;
const geluTanh = (x: number) => Math.tanh(SQRT_2_PI * (x + 0.044715 * x ** 3));

/** GELU in its tanh form, (N): ½x(1 + tanh(√(2/π)(x + 0.044715 x³))). */
export const gelu = /* @__PURE__ */ unary(
  "gelu",
  (x) => 0.5 * x * (1 + geluTanh(x)),
  30,
  (g) => g.to("x", gelu_bwd, [g.d.y, g.in.x]),
);

/** SiLU, (N): x · sigmoid(x). */
export const silu = /* @__PURE__ */ unary(
  "silu",
  (x) => x / (1 + Math.exp(-x)),
  15,
  (g) => g.to("x", silu_bwd, [g.d.y, g.in.x]),
);

/** dx = dy (1 − y²), (N), y = tanh x. */
export const tanh_bwd = /* @__PURE__ */ slope(
  "tanh_bwd",
  "y",
  (y) => 1 - y * y,
  3,
  (g) => {
    g.to("dy", tanh_bwd, [g.d.dx, g.in.y]);
    // d/dy of dy (1 − y²) is −2 y dy.
    if (g.needs("y")) g.to("y", mul, [g.d.dx, scale(mul(g.in.dy, g.in.y), { by: -2 })]);
  },
);

/** dx = dy · y (1 − y), (N), y = sigmoid x. */
export const sigmoid_bwd = /* @__PURE__ */ slope(
  "sigmoid_bwd",
  "y",
  (y) => y * (1 - y),
  3,
  (g) => {
    g.to("dy", sigmoid_bwd, [g.d.dx, g.in.y]);
    if (g.needs("y")) g.to("y", mul, [g.d.dx, mul(g.in.dy, scale(g.in.y, { by: -2, shift: 1 }))]);
  },
);

/** dx = dy where y > 0, else 0, (N), y = relu x. */
export const relu_bwd = /* @__PURE__ */ slope(
  "relu_bwd",
  "y",
  (y) => (y > 0 ? 1 : 0),
  1,
  (g) => {
    g.to("dy", relu_bwd, [g.d.dx, g.in.y]);
  },
);

/** dx = dy · gelu'(x), (N). Has no VJP: second derivatives stop here with a DiffError. */
export const gelu_bwd = /* @__PURE__ */ slope(
  "gelu_bwd",
  "x",
  (x) => {
    const t = geluTanh(x);
    return 0.5 * (1 + t + x * (1 - t * t) * SQRT_2_PI * (1 + 3 * 0.044715 * x * x));
  },
  40,
);

/** dx = dy · silu'(x), (N). Has no VJP: second derivatives stop here with a DiffError. */
export const silu_bwd = /* @__PURE__ */ slope(
  "silu_bwd",
  "x",
  (x) => {
    const s = 1 / (1 + Math.exp(-x));
    return s * (1 + x * (1 - s));
  },
  20,
);

const cases = (): Case[] => [...edges(1024), 2, 3, 5, 0].map((n) => ({ dims: { N: [n] } }));
const bench = (): Case[] => [
  { dims: { N: [1 << 20] }, source: "elementwise, 1 M" },
  { dims: { N: [128, 256] }, source: "hidden layer of 784-256-128-10, batch 128" },
];
const suite = (
  kernel: Suite["kernel"],
  tol: Suite["tol"],
  fill?: Fill,
  more?: Partial<Suite>,
): Suite => ({
  kernel,
  cases,
  bench,
  tol,
  ...(fill ? { fill: { x: fill } } : {}),
  ...more,
});
const exact = { rel: 1e-6, abs: 1e-7 };
const approx = { rel: 2e-6, abs: 1e-6 };
const wide: Fill = (u) => 12 * u - 6;
/** Every hundredth or so a value that is not finite. */
const awkward =
  (f: Fill): Fill =>
  (u, i, d) =>
    i % 97 === 13 ? [Number.NaN, Infinity, -Infinity, -0][((i / 97) & 3) | 0] : f(u, i, d);

export const unarySuites: Suite[] = [
  {
    ...suite(scale, exact, awkward(wide)),
    cases: () => cases().map((c) => ({ ...c, params: { by: -1.5, shift: 0.25 } })),
  },
  suite(
    exp,
    approx,
    awkward((u) => 170 * u - 85),
  ),
  suite(log, approx, (u, i) => (i % 50 === 7 ? 1e-30 : 4 * u + 1e-3)),
  suite(sin, { rel: 1e-5, abs: 4e-6 }, (u) => 200 * u - 100),
  suite(cos, { rel: 1e-5, abs: 4e-6 }, (u) => 200 * u - 100),
  suite(sqrt, exact, (u) => 0.1 + 4 * u),
  suite(square, exact, awkward(wide)),
  suite(reciprocal, exact, (u) => 0.2 + 3 * u),
  suite(abs, exact, awkward(wide), { skipFiniteDifferences: "kink at 0" }),
  suite(sign, exact, wide, { skipFiniteDifferences: "steps at 0" }),
  suite(tanh, approx, awkward(wide)),
  suite(sigmoid, approx, awkward(wide)),
  suite(relu, exact, awkward(wide), { skipFiniteDifferences: "kink at 0" }),
  suite(softplus, approx, wide),
  suite(gelu, approx, wide),
  suite(silu, approx, wide),
  ...[tanh_bwd, sigmoid_bwd].map((k) => ({ ...suite(k, approx), fill: { y: (u: number) => u } })),
  { ...suite(relu_bwd, exact), skipFiniteDifferences: "steps at 0" },
  suite(gelu_bwd, { rel: 2e-6, abs: 5e-6, why: "1 + t cancels for negative x" }, wide),
  suite(silu_bwd, approx, wide),
];
