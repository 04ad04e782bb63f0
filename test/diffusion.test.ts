import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Backend, Tensor } from "../core/index.ts";
import {
  alphaBars,
  betas,
  ddim,
  ddpm,
  diffusion_step,
  dpm_solver,
  normal,
  type StepCoefficients,
} from "../kernels/index.ts";
import { openBackend } from "./support/backends.ts";

// Samplers on Gaussian data, whose score is known: x_0 ~ N(μ, s²), so ε*(x) = √(1−ᾱ)(x − √ᾱ μ)/(ᾱ s² + 1 − ᾱ).
// Reference values of arXiv:2502.17951's setting (the latent-diffusion schedule, T = 1000).

const [MU, S] = [0.5, 0.3];
const bars = alphaBars(betas("scaled_linear"));

test("schedules: ᾱ at t = 0, 250, 500, 750, 999", () => {
  const at = (b: Float64Array) => [0, 250, 500, 750, 999].map((t) => b[t]);
  const close = (got: number[], want: number[]) => {
    for (const [i, w] of want.entries()) expect(Math.abs(got[i] - w)).toBeLessThan(6e-9);
  };
  close(at(bars), [0.99915, 0.67379263, 0.27633268, 0.05616985, 0.0046601]);
  close(at(alphaBars(betas("linear"))), [0.9999, 0.52142303, 0.07779666, 0.00330016, 0.00004036]);
  const cosine = betas("cosine");
  expect(Math.max(...cosine)).toBe(0.999);
  expect(alphaBars(cosine)[999]).toBeLessThan(1e-8);
});

/** t = 1 + i⌊T/S⌋ from the last to the first, then ᾱ_0. */
const grid = (steps: number): number[] => [
  ...Array.from({ length: steps }, (_, i) => bars[(steps - 1 - i) * Math.floor(1000 / steps) + 1]),
  bars[0],
];
/** ᾱ at equal distances in λ from t = 999 to t = 0. */
function lambdaGrid(steps: number): number[] {
  const lambda = (a: number) => 0.5 * Math.log(a / (1 - a));
  const [from, to] = [lambda(bars[999]), lambda(bars[0])];
  return Array.from(
    { length: steps + 1 },
    (_, i) => 1 / (1 + Math.exp(-2 * (from + (i * (to - from)) / steps))),
  );
}
/** What the probability flow makes of x between two levels, in closed form. */
const flow = (x: number, from: number, to: number) => {
  const sd = (a: number) => Math.sqrt(a * S * S + 1 - a);
  return Math.sqrt(to) * MU + (sd(to) / sd(from)) * (x - Math.sqrt(from) * MU);
};

async function sample(
  be: Backend,
  start: ArrayLike<number>,
  levels: readonly number[],
  step: (from: number, to: number, before: number | undefined) => StepCoefficients,
  noise: object = {},
): Promise<Tensor> {
  let z = be.tensor([start.length], start);
  let x0: Tensor | undefined;
  for (let i = 0; i + 1 < levels.length; i++) {
    const a = levels[i];
    const x = z.backend.name === "ref" ? z.view() : await z.read();
    const scale = Math.sqrt(1 - a) / (a * S * S + 1 - a);
    const eps = be.tensor(
      [start.length],
      Float64Array.from(x, (v) => scale * (v - Math.sqrt(a) * MU)),
    );
    const out = diffusion_step(z, eps, {
      ...(x0 ? { x0_prev: x0 } : {}),
      ...step(a, levels[i + 1], levels[i - 1]),
      ...noise,
      t: i,
    });
    z = out.next;
    x0 = out.x0;
  }
  return z;
}

describe.each(["ref", "wasm", "webgpu"] as const)("on %s", (name) => {
  let be: Backend;
  beforeAll(async () => {
    be = await openBackend(name);
  });
  afterAll(() => be.dispose());
  const tolerance = name === "ref" ? 1e-6 : 2e-4;

  test.each([
    [20, [0.23678516, 0.48842527, 0.74006537]],
    [50, [0.21053752, 0.48919878, 0.76786005]],
    [200, [0.19412677, 0.48952095, 0.78491514]],
  ])("DDIM, η = 0, %i steps from −1, 0, 1", async (steps, want) => {
    const z = await sample(be, [-1, 0, 1], grid(steps), (a, b) => ddim(a, b));
    const got = name === "ref" ? z.view() : await z.read();
    for (const [i, w] of want.entries()) expect(Math.abs(got[i] - w)).toBeLessThan(tolerance);
  });

  test("the noise of a step is that of `normal`", async () => {
    const n = 1000;
    const zeros = be.tensor([n]);
    const drawn = { sigma: 1, seed: 5, stream: 6, t: 7 };
    const { next } = diffusion_step(zeros, zeros, { x0_z: 0, x0_e: 0, a: 0, b: 0, ...drawn });
    const y = be.tensor([n]);
    normal(y, { seed: 5, stream: 6, t: 7 });
    expect([...(await next.read())]).toEqual([...(await y.read())]);
  });

  test("guidance: equal variances make it the score of a Gaussian between", async () => {
    // ε_u + s(ε_c − ε_u) is linear in μ: the sample is that of N(μ_u + s(μ_c − μ_u), v).
    const [a, b] = [0.3, 0.5];
    const eps = (x: number, mu: number) =>
      (Math.sqrt(1 - a) * (x - Math.sqrt(a) * mu)) / (a * S * S + 1 - a);
    const x = [-0.4, 0.2, 1.1];
    const at = (mu: number) =>
      be.tensor(
        [3],
        Float64Array.from(x, (v) => eps(v, mu)),
      );
    const z = be.tensor([3], Float64Array.from(x));
    const guided = await diffusion_step(z, at(0.4), {
      uncond: at(0),
      guidance: 7.5,
      ...ddim(a, b),
    }).next.read();
    const direct = await diffusion_step(z, at(7.5 * 0.4), ddim(a, b)).next.read();
    for (let i = 0; i < 3; i++) expect(guided[i]).toBeCloseTo(direct[i], 5);
  });
});

describe("in f64", () => {
  let be: Backend;
  beforeAll(async () => {
    be = await openBackend("ref");
  });

  test("order: DDIM 1, DPM-Solver++(2M) 2, with the errors of the page", async () => {
    const worst = async (steps: number, step: Parameters<typeof sample>[3]) => {
      const starts = [-1, 0, 1];
      const levels = lambdaGrid(steps);
      const z = (await sample(be, starts, levels, step)).view();
      return Math.max(...starts.map((x, i) => Math.abs(z[i] - flow(x, bars[999], bars[0]))));
    };
    const first = [2.313e-2, 1.179e-2, 5.95e-3, 2.99e-3];
    const second = [1.64e-3, 4.34e-4, 1.101e-4, 2.77e-5];
    for (const [i, steps] of [20, 40, 80, 160].entries()) {
      const one = await worst(steps, (a, b) => ddim(a, b));
      const two = await worst(steps, (a, b, before) => dpm_solver(a, b, before));
      expect(Math.abs(one / first[i] - 1), `DDIM ${steps}: ${one}`).toBeLessThan(0.01);
      expect(Math.abs(two / second[i] - 1), `2M ${steps}: ${two}`).toBeLessThan(0.01);
    }
  });

  test("DDPM is DDIM with η = 1, and its last step draws nothing", () => {
    for (const [a, b] of [
      [0.2, 0.21],
      [0.9, 0.95],
    ]) {
      const [one, two] = [ddpm(a, b), ddim(a, b, 1)];
      for (const k of ["a", "b", "sigma", "x0_z", "x0_e"] as const)
        expect(one[k]).toBeCloseTo(two[k], 12);
    }
    expect(ddpm(bars[0], 1).sigma).toBe(0);
  });

  test("predictions of z_0 and of v lead where those of ε do", () => {
    const [a, b, z, e] = [0.3, 0.6, 0.7, -0.4];
    const x0 = (z - Math.sqrt(1 - a) * e) / Math.sqrt(a);
    const v = Math.sqrt(a) * e - Math.sqrt(1 - a) * x0;
    const from = (kind: "eps" | "x0" | "v", value: number) => {
      const c = ddim(a, b, 0, kind);
      return c.x0_z * z + c.x0_e * value;
    };
    expect(from("eps", e)).toBeCloseTo(x0, 12);
    expect(from("x0", x0)).toBeCloseTo(x0, 12);
    expect(from("v", v)).toBeCloseTo(x0, 12);
  });

  test("noise: moments of η = 1 and DDPM samples", async () => {
    const n = 20_000;
    const start = be.tensor([n]);
    normal(start, { seed: 1, stream: 99 });
    const moments = async (levels: number[], step: Parameters<typeof sample>[3]) => {
      const z = Float64Array.from(
        (await sample(be, start.view(), levels, step, { seed: 1 })).view(),
      );
      const mean = z.reduce((s, v) => s + v, 0) / n;
      return [mean, Math.sqrt(z.reduce((s, v) => s + (v - mean) ** 2, 0) / n)];
    };
    const [mean, sd] = await moments(grid(50), (a, b) => ddim(a, b, 1));
    // Standard errors of 20,000 samples are 0.0018 and 0.0013; four of them.
    expect(Math.abs(mean - 0.49952383)).toBeLessThan(0.0073);
    expect(Math.abs(sd - 0.25663483)).toBeLessThan(0.0052);
  });
});
