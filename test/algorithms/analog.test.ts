import { afterAll, beforeAll, describe, expect, test } from "vitest";
import * as analog from "../../algorithms/analog/index.ts";
import { type Backend, init, scope, ValueError } from "../../core/index.ts";
import { others, ref } from "../support/all-backends.ts";
import { openBackend } from "../support/backends.ts";

const { defaults } = analog;
const small = { ...defaults, layers: [9, 5, 3], batch: 4, seed: 3 } as const;
const tinyCnn: analog.Config["layers"] = [
  64,
  { conv: 3, channels: 2 },
  { conv: 2, channels: 3 },
  3,
];

/** A batch with labels; the same for every backend. */
function batch(features: number, n: number): { x: Float32Array; y: Int32Array } {
  const x = Float32Array.from({ length: n * features }, (_, i) => Math.sin(1.7 * i) ** 2);
  return { x, y: Int32Array.from({ length: n }, (_, i) => i % 3) };
}

/** Loss of every sample at every step, and the weights of the first layer in the end. */
async function run(be: Backend, config: analog.Config, steps: number) {
  using state = analog.init(be, config);
  const { x, y } = batch(config.layers[0], config.batch);
  const losses: number[] = [];
  for (let t = 0; t < steps; t++) {
    const loss = scope(() =>
      analog.step(
        state,
        be.tensor([config.batch, config.layers[0]], x),
        be.tensor([config.batch], y, "i32"),
        t,
        analog.transfersDue(config, t),
      ),
    );
    losses.push(...(await loss.read()));
    loss.dispose();
  }
  return { losses, weights: Array.from(await state.layers[0].tiles[0].read()) };
}

describe("training step", () => {
  test.each([
    ["FCN", small.layers],
    ["CNN", tinyCnn],
  ] as const)("digital SGD moves the weights of a %s down the gradient", async (_, layers) => {
    const config: analog.Config = { ...small, layers, method: "digital", lr: 1 };
    const { x, y } = batch(layers[0], config.batch);
    const X = ref.tensor([config.batch, layers[0]], x);
    const Y = ref.tensor([config.batch], y, "i32");
    using state = analog.init(ref, config);
    using frozen = analog.init(ref, { ...config, lr: 0 });
    const loss = () => {
      const v = analog.step(frozen, X, Y, 0, []).view();
      return Array.from(v).reduce((s, l) => s + l, 0) / v.length;
    };
    const before = state.layers.map((l) => l.tiles[0].view().slice());
    analog.step(state, X, Y, 0, []);
    for (const [l, w0] of before.entries()) {
      for (const e of [0, Math.floor(w0.length / 2), w0.length - 1]) {
        const w = frozen.layers[l].tiles[0].view() as Float64Array;
        const h = 1e-5;
        const at = (v: number) => {
          w[e] = v;
          return loss();
        };
        const slope = (at(w0[e] + h) - at(w0[e] - h)) / (2 * h);
        w[e] = w0[e];
        const moved = state.layers[l].tiles[0].view()[e] - w0[e];
        expect(moved, `layer ${l}, weight ${e}`).toBeCloseTo(-slope, 7);
      }
    }
  });

  const variants = analog.methods.flatMap((method) =>
    (["mean-field", "pulse"] as const).map((mode) => [method, mode] as const),
  );
  test.each(variants)("%s, %s: wasm and WebGPU follow the definition", async (method, mode) => {
    const config: analog.Config = {
      ...small,
      method,
      mode,
      sigma: mode === "pulse" ? 0.3 : 0,
      tiles: 3,
      fastLr: 0.5,
      everyGrowth: 2,
    };
    const want = await run(ref, config, 8);
    // A count of pulses may flip where a sum lands on a threshold: one pulse is 1e-3 of a weight.
    const digits = mode === "pulse" ? 2 : 5;
    for (const be of others) {
      const got = await run(be, config, 8);
      got.losses.forEach((l, i) => {
        expect(l, `${be.name}, loss ${i}`).toBeCloseTo(want.losses[i], digits);
      });
      got.weights.forEach((w, i) => {
        expect(w, `${be.name}, weight ${i}`).toBeCloseTo(want.weights[i], digits);
      });
    }
    expect(want.losses.every(Number.isFinite)).toBe(true);
  });

  test.each(["Capacitor", "ReRamES", "ReRamArrayOM", "piecewise"] as const)(
    "devices of kind %s: wasm and WebGPU follow the definition",
    async (kind) => {
      const { piecewise } = devices;
      const device = kind === "piecewise" ? piecewise : analog.presets[kind];
      const config: analog.Config = { ...small, device, mode: "pulse", fastLr: 0.5 };
      const want = await run(ref, config, 4);
      for (const be of others) {
        const got = await run(be, config, 4);
        got.losses.forEach((l, i) => {
          expect(l, `${be.name}, loss ${i}`).toBeCloseTo(want.losses[i], 1);
        });
      }
      // Another device, another course.
      const ideal = await run(ref, { ...config, device: analog.presets.Idealized }, 4);
      expect(want.losses).not.toEqual(ideal.losses);
    },
  );

  test("a CNN with analog reads follows the definition on every backend", async () => {
    const config: analog.Config = { ...small, layers: tinyCnn, io: "analog", method: "residual" };
    const want = await run(ref, config, 2);
    for (const be of others) {
      const { losses } = await run(be, config, 2);
      // A converter may round the other way: one step of the ADC is 24/510.
      losses.forEach((l, i) => {
        expect(Math.abs(l - want.losses[i]), `${be.name}, loss ${i}`).toBeLessThan(0.1);
      });
    }
  });
});

/** Soft bounds ±1, once by its slope and once by the two ends of its response. */
const devices = {
  softBounds: { model: "linear", softBounds: true, dwMin: 0.01, wMin: -1, wMax: 1 },
  piecewise: {
    model: "piecewise",
    dwMin: 0.01,
    wMin: -1,
    wMax: 1,
    nodesUp: [2, 0],
    nodesDown: [0, 2],
  },
} as const satisfies Record<string, analog.DeviceConfig>;

describe("devices", () => {
  test("a line through two nodes is soft bounds", () => {
    const { softBounds, piecewise } = devices;
    const [a, b] = [analog.sampleDevice(softBounds), analog.sampleDevice(piecewise)];
    for (const v of [-1, -0.4, 0, 0.7, 1]) {
      for (const up of [true, false]) {
        const want = analog.pulse(softBounds, a, v, up);
        expect(analog.pulse(piecewise, b, v, up)).toBeCloseTo(want, 12);
      }
    }
    expect(analog.symmetricPoint(piecewise)).toBeCloseTo(0, 9);
    expect(analog.granularity({ ...piecewise, nodesUp: [2, 1, 0], nodesDown: [0, 1, 2] })).toBe(
      0.01,
    );
  });

  test("with a lifetime, weights that nobody writes decay", async () => {
    const be = await openBackend("wasm");
    const device = { ...devices.softBounds, lifetime: 10 };
    const config: analog.Config = { ...small, device, mode: "pulse", method: "analog-sgd", lr: 0 };
    const { weights } = await run(be, config, 5);
    using state = analog.init(be, config);
    const before = await state.layers[0].tiles[0].read();
    weights.forEach((w, i) => {
      expect(w).toBeCloseTo(before[i] * 0.9 ** 5, 6);
    });
    be.dispose();
  });

  test("write noise is in what is read, not in what is stored", async () => {
    const be = await openBackend("wasm");
    const type = { ...devices.softBounds, writeNoise: 3 };
    const W = be.tensor([100, 100]);
    const seen = await analog.apparent(W, { type, seed: 1, stream: 1, t: 0 }).read();
    const deviation = Math.hypot(...seen) / Math.sqrt(seen.length);
    expect(Math.abs(deviation / (3 * type.dwMin) - 1)).toBeLessThan(0.03);
    expect((await W.read()).every((v) => v === 0)).toBe(true);
    expect(analog.apparent(W, { type: devices.softBounds, seed: 1, stream: 1, t: 0 })).toBe(W);
    be.dispose();
  });
});

describe("zero-shifting", () => {
  test("drives every device to its symmetric point and makes that the reference", async () => {
    const be = await init("wasm");
    const type: analog.DeviceConfig = {
      model: "linear",
      softBounds: true,
      dwMin: 0.002,
      wMin: -0.75,
      wMax: 1.25,
      upDown: 0.25,
      dwMinDtod: 0.2,
      wMaxDtod: 0.1,
    };
    const planes = analog.sampleDevices(type, 6, 5);
    const dev = be.tensor([7, 2, 3], planes);
    await analog.zeroShift(dev, type, 8000);
    const after = await dev.read();
    for (let e = 0; e < 6; e++) {
      const plane = (k: number) => planes[6 * k + e];
      const [su, sd, M, m] = [plane(0), plane(1), plane(4), plane(5)];
      const sp = (su - sd) / (su / M - sd / m);
      expect(Math.abs(after[36 + e] - sp), `device ${e}`).toBeLessThan(0.6 * su);
    }
    be.dispose();
  });
});

describe("digits", () => {
  test("MNIST splits are disjoint, seeded, and hold every digit", () => {
    const a = analog.mnistDigits(1, 200, 100);
    const again = analog.mnistDigits(1, 200, 100);
    expect(a.train.x).toEqual(again.train.x);
    expect(analog.mnistDigits(2, 200, 100).train.y).not.toEqual(a.train.y);
    const row = (d: analog.Dataset, i: number) => d.x.subarray(i * 784, (i + 1) * 784).join();
    const train = new Set(Array.from({ length: 200 }, (_, i) => row(a.train, i)));
    expect(Array.from({ length: 100 }, (_, i) => row(a.test, i)).some((r) => train.has(r))).toBe(
      false,
    );
    expect(new Set(a.train.y).size).toBe(10);
    expect(a.train.x.every((v) => v >= 0 && v <= 1)).toBe(true);
  });
});

describe("bad input", () => {
  let be: Backend;
  beforeAll(async () => {
    be = await init("ref");
  });
  afterAll(() => be.dispose());

  test.each<[Partial<analog.Config>, RegExp]>([
    [{ lr: Number.NaN }, /lr: expected finite and >= 0, got NaN/],
    [{ states: 0 }, /states: expected an integer >= 1, got 0/],
    [{ response: { ...defaults.response, tau: 0 } }, /tau: expected finite and > 0, got 0/],
    [{ response: { ...defaults.response, c: 1.2 } }, /symmetric point leaves the bounds, got 1.2/],
    [{ bl: 33 }, /bl: expected an integer in 1 … 32, got 33/],
    [{ gamma: -1 }, /gamma: expected finite and >= 0, got -1/],
    [{ method: "multi-tile", gamma: 1 }, /gamma: expected in \(0, 1\) with several tiles, got 1/],
    [{ device: analog.presets.EcRam }, /device: expected mode pulse: .*, got mean-field/],
    [{ method: "multi-tile", tiles: 13 }, /tiles: expected an integer in 2 … 12, got 13/],
    [{ method: "sgd" as analog.Method }, /method: expected one of digital, .*, got sgd/],
    [{ layers: [10, { conv: 3, channels: 2 }, 3] }, /square image/],
    [{ layers: [25, { conv: 3, channels: 2 }, 3] }, /got a side of 5/],
  ])("%o", (bad, message) => {
    expect(() => analog.init(be, { ...defaults, ...bad })).toThrow(ValueError);
    expect(() => analog.init(be, { ...defaults, ...bad })).toThrow(message);
  });

  test.each<[Partial<analog.DeviceConfig>, RegExp]>([
    [{ wMin: 0.1 }, /range must contain 0, got 0.1 … 1/],
    [{ dwMin: 0 }, /dwMin: expected finite and > 0, got 0/],
    [{ wMax: Number.NaN }, /range must contain 0/],
    [{ upDown: 1 }, /upDown: expected in \(−1, 1\), got 1/],
    [{ writeNoise: -1 }, /writeNoise: expected finite and >= 0, got -1/],
    [{ lifetime: 0 }, /lifetime: expected > 1, got 0/],
    [{ model: "piecewise" }, /model piecewise takes as many up as down, one or more, got 0 and 0/],
    [{ model: "piecewise", nodesUp: [1, 2], nodesDown: [1] }, /got 2 and 1/],
    [{ nodesUp: [1], nodesDown: [1] }, /model linear takes none, got 1 and 1/],
  ])("device %o", (bad, message) => {
    const good: analog.DeviceConfig = { model: "linear", dwMin: 0.01, wMin: -1, wMax: 1 };
    expect(() => analog.sampleDevices({ ...good, ...bad }, 1, 0)).toThrow(message);
  });
});
