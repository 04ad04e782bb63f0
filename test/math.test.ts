import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Backend, Tensor } from "../core/index.ts";
import { cos, exp, gelu, log, sigmoid, sin, softplus, tanh } from "../kernels/index.ts";
import { openBackend } from "./support/backends.ts";

// The errors that wasm/lib/math.ts and wgsl/lib/math.wgsl state, against f64 over the stated range.

const POINTS = 100_000;
const between = (lo: number, hi: number) =>
  Float32Array.from({ length: POINTS }, (_, i) => lo + ((hi - lo) * i) / (POINTS - 1));
const exact = {
  gelu: (v: number) => 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3))),
  sigmoid: (v: number) => 1 / (1 + Math.exp(-v)),
  softplus: (v: number) => Math.max(v, 0) + Math.log1p(Math.exp(-Math.abs(v))),
};

describe.each(["wasm", "webgpu"] as const)("functions on %s", (name) => {
  let be: Backend;
  beforeAll(async () => {
    be = await openBackend(name);
  });
  afterAll(() => be.dispose());

  const apply = async (f: (x: Tensor) => Tensor, x: Float32Array) => {
    const t = be.tensor([x.length], x);
    const y = f(t);
    const v = (await y.read()) as Float32Array;
    t.dispose();
    y.dispose();
    return v;
  };
  type Row = [string, (x: Tensor) => Tensor, (x: number) => number, number, number, number, number];
  const wasm = name === "wasm";
  const table: Row[] = [
    ["exp", exp, Math.exp, -86, 88, wasm ? 2e-7 : 3e-7, 0],
    // The logarithm of WebGPU is the driver's: 3 units of the last place, 2^-21 near 1.
    ["log", log, Math.log, 1e-30, 10, 3e-7, 5e-7],
    ["log of the large", log, Math.log, 10, 3e38, wasm ? 2e-7 : 3e-7, 0],
    // A GPU may flush them to zero.
    ...(wasm ? [["log of the subnormal", log, Math.log, 1e-44, 1e-38, 2e-7, 0] as Row] : []),
    ["tanh", tanh, Math.tanh, -12, 12, 0, wasm ? 3e-7 : 2.5e-7],
    ["tanh of the small", tanh, Math.tanh, -0.6, 0.6, 3e-7, 1e-12],
    ["sigmoid", sigmoid, exact.sigmoid, -80, 80, wasm ? 4e-7 : 5e-7, 0],
    ["sin", sin, Math.sin, -1e4, 1e4, 0, 2e-6],
    ["cos", cos, Math.cos, -1e4, 1e4, 0, 2e-6],
    ["softplus", softplus, exact.softplus, -30, 30, 1e-6, 5e-7],
    // Towards -8 the cubic is 30 and its rounding counts in the exponent.
    ["gelu", gelu, exact.gelu, -8, 8, 2e-6, wasm ? 1e-9 : 1e-6],
  ];
  test.each(table)("%s keeps its error", async (_, f, want, lo, hi, rel, abs) => {
    const x = between(lo, hi);
    const y = await apply(f, x);
    let worst = { at: 0, excess: 0, got: 0, want: 0 };
    for (let i = 0; i < POINTS; i++) {
      const w = want(x[i]);
      const excess = Math.abs(y[i] - w) / (abs + rel * Math.abs(w));
      if (!(excess <= worst.excess)) worst = { at: x[i], excess, got: y[i], want: w };
    }
    expect(worst.excess, JSON.stringify(worst)).toBeLessThanOrEqual(1);
  });

  test.each(table)(
    "%s of an element does not depend on where it lies",
    async (_, f, _w, lo, hi) => {
      const x = between(lo, hi).subarray(0, 7);
      const all = await apply(f, x);
      for (let i = 0; i < x.length; i++)
        expect(await apply(f, x.slice(i, i + 1))).toEqual(all.slice(i, i + 1));
    },
  );

  const special = Float32Array.of(Number.NaN, Infinity, -Infinity, 0, 200, -200);
  test.each([
    ["exp", exp, [Number.NaN, Infinity, 0, 1, Infinity, 0]],
    ["tanh", tanh, [Number.NaN, 1, -1, 0, 1, -1]],
    ["sigmoid", sigmoid, [Number.NaN, 1, 0, 0.5, 1, 0]],
    ["softplus", softplus, [Number.NaN, Infinity, 0, Math.fround(Math.LN2), 200, 0]],
  ] as const)("%s of NaN, infinities, zero and the far ends", async (_, f, want) => {
    const got = await apply(f, special);
    want.forEach((w, i) => {
      if (Number.isNaN(w) || !Number.isFinite(w)) expect(got[i], `of ${special[i]}`).toBe(w);
      else expect(Math.abs(got[i] - w), `of ${special[i]}`).toBeLessThan(1e-6);
    });
  });
});
