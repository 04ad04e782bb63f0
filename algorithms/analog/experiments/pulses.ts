import { type Backend, init } from "../../../core/index.ts";
import type { Chart, Check, StudyContext } from "../../../core/study.ts";
import { normalPair, threefry2x32, uniformOf } from "../../../core/threefry.ts";
import {
  analog_mvm,
  matmul,
  mean_field_outer,
  mean_field_update,
  pulse_scales,
  pulse_trains,
  pulse_update,
} from "../../../kernels/index.ts";
import { q as responseAt } from "../../../kernels/mean_field.ts";
import { atMost, type Experiment, experiment, meanOf } from "../../experiments.ts";
import {
  type Device,
  type DeviceConfig,
  presets,
  pulse,
  pulseOptions,
  sampleDevice,
  states,
  symmetricPoint,
} from "../devices.ts";

// O1–O5 and E6 of the paper page: what single devices, trains and converters do.

const variance = (v: ArrayLike<number>): number => {
  const m = meanOf(v);
  return meanOf(Array.from(v, (x) => (x - m) ** 2));
};

const popcount = (w: number): number => {
  let n = 0;
  for (let v = w >>> 0; v !== 0; v &= v - 1) n++;
  return n;
};

/** Coincidences [o·I + i][trial] of the trains of x and d, `trials` times over. */
async function coincidences(
  be: Backend,
  {
    x,
    d,
    lr,
    trials,
    seed,
  }: { x: number[]; d: number[]; lr: number; trials: number; seed: number },
): Promise<Float64Array[]> {
  const [I, O] = [x.length, d.length];
  const tile = (v: number[]) =>
    Array.from({ length: trials * v.length }, (_, k) => v[k % v.length]);
  const X = be.tensor([trials, I], tile(x));
  const D = be.tensor([trials, O], tile(d));
  const scales = pulse_scales(X, D, { lr, granularity: 0.001, bl: 31 });
  const xw = pulse_trains(X, scales, { side: 0, seed, stream: 1 });
  const dw = pulse_trains(D, scales, { side: 1, seed, stream: 2 });
  const [xs, ds] = [await xw.read(), await dw.read()];
  for (const t of [X, D, scales, xw, dw]) t.dispose();
  return Array.from({ length: O * I }, (_, e) =>
    Float64Array.from({ length: trials }, (_, s) =>
      popcount(ds[s * O + Math.floor(e / I)] & xs[s * I + (e % I)]),
    ),
  );
}

const [X1, D1] = [
  [0.9, 0.3, -0.5],
  [0.02, -0.05],
];
const crossing = X1.length * D1.length;
const product = (e: number) => Math.abs(X1[e % X1.length] * D1[Math.floor(e / X1.length)]);

function trainsExperiment({ backend: be, seed, size }: StudyContext): Experiment {
  const trials = { quick: 40_000, default: 200_000, full: 400_000 }[size];
  const run = async (lr: number) => {
    const n = await coincidences(be, { x: X1, d: D1, lr, trials, seed });
    const [a, b] = [n[0], n[1]];
    const [ma, mb] = [meanOf(a), meanOf(b)];
    return {
      mean: n.map(meanOf),
      variance: n.map(variance),
      covariance: meanOf(Array.from(a, (v, k) => (v - ma) * (b[k] - mb))),
    };
  };
  return experiment("Pulse trains", { unclipped: () => run(0.05), clipped: () => run(2) }, (r) => {
    const free = r.get("unclipped") as Awaited<ReturnType<typeof run>>;
    const clipped = r.get("clipped") as Awaited<ReturnType<typeof run>>;
    // k = lr·max|x|·max|d|/g = 2.25, so BL = 3; p_x p_d is the mean over BL.
    const BL = 3;
    const p = Array.from({ length: crossing }, (_, e) => (0.05 * product(e)) / 0.001 / BL);
    const deviation = free.mean.map(
      (m, e) => Math.abs(m - BL * p[e]) / Math.sqrt((BL * p[e] * (1 - p[e])) / trials),
    );
    const spread = free.variance.map((v, e) => Math.abs(v / (BL * p[e] * (1 - p[e])) - 1));
    // Update management gives both sides the same largest probability, √(k/BL).
    const top = Math.sqrt(2.25 / BL);
    const pd = (top * D1[0]) / 0.05;
    const want = BL * pd * top * (top / 3) * (1 - pd);
    const saturated = [31, 31 / 3, (31 * 5) / 9];
    return {
      checks: [
        atMost(
          "O1 mean",
          "coincidences have mean lr|x d|/Δw (largest deviation in standard errors)",
          Math.max(...deviation),
          4.5,
        ),
        atMost("O1 variance", "and variance BL p(1 − p), p = p_x p_d", Math.max(...spread), 0.03),
        atMost(
          "O1 covariance",
          "a row shares its bits: covariance BL p_d p_x p_x'(1 − p_d)",
          Math.abs(free.covariance / want - 1),
          0.08,
        ),
        atMost(
          "O1 clipped",
          "k = 90 over BL = 31 saturates both rows to 31, 10.33, 17.22",
          Math.max(...clipped.mean.map((m, e) => Math.abs(m / saturated[e % 3] - 1))),
          0.01,
        ),
      ],
    };
  });
}

/** n pulses in one direction from w on the f64 reference, a device of one element. */
async function fire(
  c: DeviceConfig,
  d: Device,
  w0: number,
  n: number,
  up: boolean,
): Promise<number> {
  using be = await init("ref");
  const w = be.tensor([1, 1], Float64Array.of(w0));
  const S = Math.ceil(n / 32);
  const word = (k: number) => (k + 1 < S || n % 32 === 0 ? 0xffffffff : 2 ** (n % 32) - 1);
  pulse_update(
    w,
    be.tensor(
      [S, 1],
      Array.from({ length: S }, (_, k) => word(k)),
      "u32",
    ),
    be.tensor([S, 1], new Array(S).fill(0xffffffff), "u32"),
    be.tensor([S, 1], new Array(S).fill(1)),
    be.tensor([S, 1], new Array(S).fill(up ? -1 : 1)),
    be.tensor([7, 1, 1], Float64Array.of(d.su, d.sd, d.ku, d.kd, d.M, d.m, d.r)),
    pulseOptions(c),
  );
  return w.view()[0];
}

const softBounds = (dwMin: number, wMax: number, wMin: number): DeviceConfig => ({
  model: "linear",
  softBounds: true,
  dwMin,
  wMax,
  wMin,
});

function devicesExperiment({ seed }: StudyContext): Experiment {
  const [a, b, M, m] = [0.002, 0.0015, 1.25, -0.75];
  // su = dw, sd = (1 − u) dw.
  const c: DeviceConfig = { ...softBounds(a, M, m), upDown: 1 - b / a };
  const d = sampleDevice(c);

  const soft = async () => {
    const up = await fire(c, d, -0.2, 321, true);
    const down = await fire(c, d, 0.4, 321, false);
    return Math.max(
      Math.abs(up - (M - (M + 0.2) * (1 - a / M) ** 321)),
      Math.abs(down - (m + (0.4 - m) * (1 + b / m) ** 321)),
    );
  };
  const points = async () => {
    let v = 0;
    for (let k = 0; k < 20_000; k++) for (const up of [true, false]) v += pulse(c, d, v, up);
    return {
      sp: Math.abs(symmetricPoint(c, d) - (a - b) / (a / M - b / m)),
      cycle: Math.abs(v - (a * (1 + b / m) - b) / (1 - (1 - a / M) * (1 + b / m))),
      below: (symmetricPoint(c, d) - v) / a,
    };
  };
  const [tau, w0] = [0.6, 0.1];
  /** Distance of n = Δw/dw composed pulses from their limit. */
  const composed = async (dw: number, change: number) => {
    const t = softBounds(dw, tau, -tau);
    const w = await fire(t, sampleDevice(t), w0, Math.round(change / dw), true);
    return Math.abs(w - (tau - (tau - w0) * Math.exp(-change / tau)));
  };
  /** Distance of the mean-field update from that limit, over Δw²(τ − w)/(2τ²). */
  const meanField = async (change: number) => {
    using be = await init("ref");
    const w = be.tensor([1], Float64Array.of(w0));
    mean_field_update(w, be.tensor([1], Float64Array.of(change)), { model: "linear", tau });
    const limit = tau - (tau - w0) * Math.exp(-change / tau);
    return Math.abs(w.view()[0] - limit) / ((change ** 2 * (tau - w0)) / (2 * tau ** 2));
  };
  const bounds = async () => {
    let worst = 0;
    let identity = 0;
    for (let k = 0; k < 20_000; k++) {
      const [r, s] = threefry2x32(seed, 0x31, k, 0);
      const w = tau * (2 * uniformOf(r) - 1);
      const dw = tau * (2 * uniformOf(s) - 1);
      const options = { model: ["linear", "power", "exponential"][k % 3], tau, g: 2, c: 0 };
      const [up, down] = [true, false].map((u) => responseAt(u, w, options));
      const linear = responseAt(dw >= 0, w, { ...options, model: "linear" });
      worst = Math.max(worst, Math.abs(w + dw * linear) / tau);
      const [F, G] = [(down + up) / 2, (down - up) / 2];
      identity = Math.max(
        identity,
        Math.abs(F - G - up),
        Math.abs(F + G - down),
        Math.abs(F * F - G * G - up * down),
      );
    }
    return { worst, identity };
  };
  return experiment<number | Record<string, number>>(
    "Devices",
    {
      "soft bounds": soft,
      "symmetric point": points,
      "composed, dw": async () => (await composed(1e-3, 0.2)) / (await composed(5e-4, 0.2)),
      "mean field, 0.02": () => meanField(0.02),
      "mean field, 0.01": () => meanField(0.01),
      boundedness: bounds,
    },
    (r) => {
      const number = (key: string) => r.get(key) as number;
      const record = (key: string) => r.get(key) as Record<string, number>;
      return {
        checks: [
          atMost(
            "O2 soft bounds",
            "n pulses are M − (M − w)(1 − a/M)ⁿ and m + (w − m)(1 + b/m)ⁿ, in f64",
            number("soft bounds"),
            1e-12,
          ),
          atMost(
            "O3 symmetric point",
            "w⋄ = (a − b)/(a/M − b/m)",
            record("symmetric point").sp,
            1e-9,
          ),
          atMost(
            "O3 cycle",
            "up then down converges to [a(1 + b/m) − b]/[1 − (1 − a/M)(1 + b/m)]",
            record("symmetric point").cycle,
            1e-12,
          ),
          atMost(
            "O3 half a step",
            "which lies half a step below w⋄ (distance from 1/2, in steps)",
            Math.abs(record("symmetric point").below - 0.5),
            0.06,
          ),
          atMost(
            "O4 in dw",
            "composed pulses tend to τ − (τ − w)e^{−Δw/τ} with an error linear in dw",
            Math.abs(number("composed, dw") / 2 - 1),
            0.02,
          ),
          atMost(
            "O4 in Δw",
            "the mean-field update differs from it by Δw²(τ − w)/(2τ²) + O(Δw³)",
            Math.max(
              Math.abs(number("mean field, 0.02") - 1) / 0.02,
              Math.abs(number("mean field, 0.01") - 1) / 0.01,
            ),
            1,
          ),
          atMost(
            "O5 boundedness",
            "linear devices stay inside ±τ without clipping (2406.12774 Thm 1)",
            record("boundedness").worst,
            1,
          ),
          atMost(
            "O5 F and G",
            "F − G = q₊, F + G = q₋, F² − G² = q₊q₋",
            record("boundedness").identity,
            1e-12,
          ),
        ],
      };
    },
  );
}

function readsExperiment({ backend: be, seed }: StudyContext): Experiment {
  const normals = (n: number, stream: number) =>
    Array.from({ length: n }, (_, k) => normalPair(...threefry2x32(seed, stream, k, 0))[0]);
  const I = 33;
  const identity = Array.from({ length: I * I }, (_, e) => (e % (I + 1) === 0 ? 1 : 0));
  /** A read of x by the identity matrix, scaled so that the largest input is 1. */
  const read = async (x: number[], options: object) => {
    const largest = Math.max(...x.map(Math.abs));
    const [X, W] = [
      be.tensor(
        [1, I],
        x.map((v) => v / largest),
      ),
      be.tensor([I, I], identity),
    ];
    const y = analog_mvm(X, W, { out_noise: 0, ...options });
    const values = Array.from(await y.read());
    for (const t of [X, W, y]) t.dispose();
    return values;
  };
  const off = (v: number[], quantum: number) =>
    Math.max(...v.map((y) => Math.abs(y / quantum - Math.round(y / quantum))));
  const quanta = async () => {
    const x = normals(I, 0x32);
    const dac = await read(x, { out_res: 0 });
    const again = await read(dac, { out_res: 0 });
    const adc = await read(x, { inp_res: 0 });
    return {
      dac: off(dac, 2 / 126),
      adc: off(adc, 24 / 510),
      idempotent: Math.max(...dac.map((v, i) => Math.abs(v - again[i]))),
    };
  };
  /** Numbers with few bits: every product is exact, so that any order of operations rounds alike. */
  const bits = async () => {
    const [O, J, lr] = [7, 13, 1 / 16];
    const dyadic = (n: number, stream: number) =>
      normals(n, stream).map((v) => Math.round(v * 64) / 64);
    const x = be.tensor([1, J], dyadic(J, 0x33));
    const d = be.tensor([1, O], dyadic(O, 0x34));
    const start = normals(O * J, 0x35).map((v) => Math.fround(0.1 * v));
    const [analog, float] = [be.tensor([O, J], start), be.tensor([O, J], start)];
    mean_field_outer(analog, x, d, { model: "ideal", tau: 100, alpha: -lr });
    matmul.into({ y: float }, { a: d, b: x }, { ta: 1, alpha: -lr, beta: 1 });
    const [p, q] = [await analog.read(), await float.read()];
    for (const t of [x, d, analog, float]) t.dispose();
    return Array.from(p).filter((v, i) => v !== q[i]).length;
  };
  return experiment<number | Record<string, number>>(
    "Reads",
    { quanta, "ideal device": bits },
    (r) => {
      const { dac, adc, idempotent } = r.get("quanta") as Record<string, number>;
      return {
        checks: [
          atMost("O5 DAC", "inputs are multiples of 2/126 (distance in quanta)", dac, 1e-3),
          atMost("O5 ADC", "outputs are multiples of 24/510", adc, 1e-3),
          atMost("O5 idempotence", "the DAC leaves what it made alone", idempotent, 1e-6),
          atMost(
            "O5 ideal device",
            "with perfect reads it is float SGD, bit for bit (weights that differ)",
            r.get("ideal device") as number,
            0,
          ),
        ],
      };
    },
  );
}

/** What the paper page says of the nominal presets. */
const nominal: Partial<Record<keyof typeof presets, { sp?: number; states: number }>> = {
  ReRamES: { sp: -0.21723, states: 1004.3 },
  ReRamSB: { sp: 0, states: 1000 },
  EcRam: { sp: 0, states: 1000 },
  EcRamMO: { states: 7088.7 },
  Idealized: { states: 10000 },
  GokmenVlasov: { states: 1250 },
};

function presetsExperiment({ seed }: StudyContext): Experiment {
  const names = Object.keys(presets) as (keyof typeof presets)[];
  const samples = 10_000;
  const cell = (name: keyof typeof presets) => async () => {
    const c: DeviceConfig = presets[name];
    const d = sampleDevice(c);
    let v = d.m;
    const curve: [number, number][] = [[0, v]];
    let signs = 0;
    for (let k = 1; k <= 1000; k++) {
      const up = k <= 500;
      const change = pulse(c, d, v, up);
      // A device at its bound stands still; nowhere may it move the wrong way.
      if (up ? change < 0 : change > 0) signs++;
      v = Math.min(d.M, Math.max(d.m, v + change));
      if (k % 10 === 0) curve.push([k, v]);
    }
    const drawn = Array.from({ length: samples }, (_, e) =>
      sampleDevice(
        c,
        [0, 1, 2, 3].flatMap((k) => normalPair(...threefry2x32(seed, 0x36, e, k))),
      ),
    );
    const deviation = (v: number[]) => Math.sqrt(variance(v));
    const wantStep = c.dwMin * Math.hypot(c.dwMinDtod ?? 0, c.upDownDtod ?? 0);
    return {
      curve,
      signs,
      sp: symmetricPoint(c),
      states: states(c),
      // Log-normal gains have another spread.
      step: c.logNormal ? 0 : Math.abs(deviation(drawn.map((x) => x.su)) / wantStep - 1),
      bound: c.wMaxDtod
        ? Math.abs(deviation(drawn.map((x) => x.M)) / (c.wMax * c.wMaxDtod) - 1)
        : 0,
    };
  };
  type Gallery = Awaited<ReturnType<ReturnType<typeof cell>>>;
  return experiment("Presets", Object.fromEntries(names.map((n) => [n, cell(n)])), (r) => {
    const of = (name: string) => r.get(name) as Gallery;
    const all = (f: (g: Gallery) => number) => Math.max(...names.map((n) => f(of(n))));
    const known = Object.entries(nominal);
    const checks: Check[] = [
      atMost(
        "E6 states",
        "nominal number of states of six presets",
        Math.max(...known.map(([n, want]) => Math.abs(of(n).states / want.states - 1))),
        1e-4,
      ),
      atMost(
        "E6 symmetric point",
        "nominal symmetric points of three presets",
        Math.max(
          ...known.map(([n, want]) => (want.sp === undefined ? 0 : Math.abs(of(n).sp - want.sp))),
        ),
        1e-4,
      ),
      atMost(
        "E6 sign",
        "no pulse moves a device the wrong way",
        all((g) => g.signs),
        0,
      ),
      atMost(
        "E6 spread of steps",
        "over 10,000 devices: Δw_min √(dtod² + ud²)",
        all((g) => g.step),
        0.03,
      ),
      atMost(
        "E6 spread of bounds",
        "and w_max · dtod",
        all((g) => g.bound),
        0.03,
      ),
    ];
    const chart: Chart = {
      title: "Presets: 500 pulses up, then 500 down, nominal devices",
      x: "pulse",
      y: "weight",
      series: names.map((name) => ({ name, points: of(name).curve })),
    };
    return {
      checks,
      charts: [chart],
      tables: [
        {
          title: "Nominal presets",
          columns: ["preset", "symmetric point", "states"],
          rows: names.map((n) => [n, Number.isNaN(of(n).sp) ? "–" : of(n).sp, of(n).states]),
        },
      ],
    };
  });
}

export function pulseExperiments(ctx: StudyContext): Experiment[] {
  return [
    trainsExperiment(ctx),
    devicesExperiment(ctx),
    readsExperiment(ctx),
    presetsExperiment(ctx),
  ];
}
