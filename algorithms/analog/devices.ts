import { ValueError } from "../../core/errors.ts";
import { normalPair, threefry2x32 } from "../../core/threefry.ts";
import { pulseSize } from "../../kernels/pulse.ts";

/** Nominal parameters of a resistive device, §2.7 of the paper page; names as in AIHWKit. */
export interface DeviceConfig {
  /** Response of `pulse_update`; `linear` covers constant, linear and soft-bounds steps. */
  readonly model: "linear" | "power" | "exp_step" | "exponential" | "piecewise";
  /** Nominal size of one pulse. */
  readonly dwMin: number;
  readonly wMax: number;
  readonly wMin: number;
  /** u > 0 weakens down pulses by 1 − u, u < 0 up pulses by 1 + u. */
  readonly upDown?: number;
  /** Slope of linear steps as a fraction of the step at the bound; 1 is soft bounds. */
  readonly gammaUp?: number;
  readonly gammaDown?: number;
  /** Exponents, prefactors and offsets of power and exponential steps. */
  readonly gUp?: number;
  readonly gDown?: number;
  readonly aUp?: number;
  readonly aDown?: number;
  readonly a?: number;
  readonly b?: number;
  /** Cycle-to-cycle noise of one pulse, relative to its size. */
  readonly sigma?: number;
  readonly additive?: boolean;
  /** Further terms of that noise: σ(|Δ| + σ_add + σ_slope·|w|)ξ, ExpStep's complex noise. */
  readonly sigmaAdd?: number;
  readonly sigmaSlope?: number;
  /** Response at equally spaced weights from wMin to wMax, in units of the step: PiecewiseStep. */
  readonly nodesUp?: readonly number[];
  readonly nodesDown?: readonly number[];
  /** What is read is w + writeNoise·dwMin·ξ, drawn anew after each write. */
  readonly writeNoise?: number;
  /** After each mini-batch w ← w(1 − 1/lifetime); none: nothing is forgotten. */
  readonly lifetime?: number;
  readonly lifetimeDtod?: number;
  /** Device-to-device spread of step, up/down balance, bounds and slopes. */
  readonly dwMinDtod?: number;
  readonly logNormal?: boolean;
  readonly upDownDtod?: number;
  readonly wMaxDtod?: number;
  readonly wMinDtod?: number;
  readonly gammaDtod?: number;
  /** Slopes refer to each device's own bounds, as soft bounds do. */
  readonly softBounds?: boolean;
  /** Spread of the reference; `subtractSp` adds the symmetric point to it. */
  readonly referenceStd?: number;
  readonly subtractSp?: boolean;
}

const softBounds = { model: "linear", softBounds: true, additive: true } as const;

/** AIHWKit's presets, §2.7 of the paper page. */
export const presets = {
  Idealized: {
    model: "linear",
    dwMin: 2e-4,
    wMin: -1,
    wMax: 1,
    dwMinDtod: 0.3,
    wMaxDtod: 0.3,
    wMinDtod: 0.3,
    sigma: 0.3,
  },
  GokmenVlasov: {
    model: "linear",
    dwMin: 0.0016,
    wMin: -1,
    wMax: 1,
    dwMinDtod: 0.3,
    upDownDtod: 0.01,
    wMaxDtod: 0.3,
    wMinDtod: 0.3,
    sigma: 0.3,
  },
  ReRamES: {
    model: "exp_step",
    dwMin: 0.00135,
    upDown: 0.259359,
    wMin: -1,
    wMax: 1,
    a: -0.5,
    b: -0.5,
    gUp: 5,
    gDown: 5,
    aUp: -1.18445,
    aDown: -0.081404,
    dwMinDtod: 0.2,
    upDownDtod: 0.05,
    wMaxDtod: 0.3,
    wMinDtod: 0.3,
    sigma: 5,
    writeNoise: 75,
  },
  ReRamSB: {
    ...softBounds,
    dwMin: 0.002,
    wMin: -0.75,
    wMax: 1.25,
    dwMinDtod: 0.3,
    upDownDtod: 0.01,
    wMaxDtod: 0.24,
    wMinDtod: 0.4,
    sigma: 3.75,
    writeNoise: 56,
  },
  Capacitor: {
    model: "linear",
    additive: true,
    dwMin: 0.005,
    wMin: -1,
    wMax: 1,
    gammaUp: 0.05,
    gammaDown: 0.05,
    gammaDtod: 0.01,
    dwMinDtod: 0.1,
    upDownDtod: 0.06,
    wMaxDtod: 0.07,
    wMinDtod: 0.07,
    sigma: 0.3,
    lifetime: 1e6,
    lifetimeDtod: 0.3,
  },
  EcRam: {
    model: "linear",
    dwMin: 0.002,
    wMin: -0.8276,
    wMax: 1.1724,
    gammaUp: 0.1153,
    gammaDown: 0.5085,
    gammaDtod: 0.05,
    dwMinDtod: 0.1,
    upDownDtod: 0.01,
    wMaxDtod: 0.05,
    wMinDtod: 0.05,
    sigma: 0.3,
  },
  EcRamMO: {
    model: "linear",
    dwMin: 2.8214e-4,
    wMin: -0.8286,
    wMax: 1.1714,
    gammaUp: 0.4152,
    gammaDown: 0.7342,
    gammaDtod: 0.05,
    dwMinDtod: 0.1,
    upDownDtod: 0.01,
    wMaxDtod: 0.05,
    wMinDtod: 0.05,
    sigma: 2,
  },
  PCM: {
    model: "exp_step",
    dwMin: 0.01,
    wMin: 0,
    wMax: 2,
    a: -1,
    b: 0,
    gUp: 2.5,
    gDown: 2.5,
    aUp: -27.235,
    aDown: -2.235,
    dwMinDtod: 0.2,
    upDownDtod: 0.05,
    wMaxDtod: 0.1,
    sigma: 0.6,
    sigmaAdd: 0.042,
    sigmaSlope: 0.108,
  },
  ReRamArrayOM: {
    ...softBounds,
    dwMin: 0.0949,
    wMin: -1,
    wMax: 1,
    logNormal: true,
    subtractSp: true,
    referenceStd: 0.05,
    dwMinDtod: 0.7829,
    upDownDtod: 0.01,
    wMaxDtod: 0.3499,
    wMinDtod: 0.5695,
    sigma: 0.4158,
    writeNoise: 1.4113,
  },
  ReRamArrayHfO2: {
    ...softBounds,
    dwMin: 0.4622,
    wMin: -1,
    wMax: 1,
    logNormal: true,
    subtractSp: true,
    referenceStd: 0.05,
    dwMinDtod: 0.7125,
    upDownDtod: 0.01,
    wMaxDtod: 0.4295,
    wMinDtod: 0.599,
    sigma: 0.2174,
    writeNoise: 0.5841,
  },
} as const satisfies Record<string, DeviceConfig>;

/** The parameters of one device: what a plane of the `dev` tensor of `pulse_update` holds. */
export interface Device {
  readonly su: number;
  readonly sd: number;
  readonly ku: number;
  readonly kd: number;
  readonly M: number;
  readonly m: number;
  readonly r: number;
}

/** @throws ValueError for a range without 0, a step that is not positive, and the like */
export function checkDevice(c: DeviceConfig): void {
  const must = (ok: boolean, what: string) => {
    if (!ok) throw new ValueError("device", `device: ${what}`);
  };
  must(Number.isFinite(c.dwMin) && c.dwMin > 0, `dwMin: expected finite and > 0, got ${c.dwMin}`);
  must(c.wMin <= 0 && c.wMax >= 0, `the range must contain 0, got ${c.wMin} … ${c.wMax}`);
  must(c.wMax > c.wMin, `wMax must lie above wMin, got ${c.wMin} … ${c.wMax}`);
  must(Math.abs(c.upDown ?? 0) < 1, `upDown: expected in (−1, 1), got ${c.upDown}`);
  for (const field of ["sigma", "sigmaAdd", "sigmaSlope", "writeNoise"] as const) {
    const v = c[field] ?? 0;
    must(Number.isFinite(v) && v >= 0, `${field}: expected finite and >= 0, got ${v}`);
  }
  must(c.lifetime === undefined || c.lifetime > 1, `lifetime: expected > 1, got ${c.lifetime}`);
  const [up, down] = [c.nodesUp?.length ?? 0, c.nodesDown?.length ?? 0];
  must(
    up === down && up > 0 === (c.model === "piecewise"),
    `nodesUp, nodesDown: model ${c.model} takes ${c.model === "piecewise" ? "as many up as down, one or more" : "none"}, got ${up} and ${down}`,
  );
}

/**
 * One device from four standard normals ξ, in the order of §2.7: bounds, gain, balance, then slopes
 * and reference. All zero gives the nominal device.
 */
export function sampleDevice(c: DeviceConfig, xi: ArrayLike<number> = new Float64Array(7)): Device {
  const u = c.upDown ?? 0;
  let M = c.wMax * (1 + (c.wMaxDtod ?? 0) * xi[0]);
  let m = c.wMin * (1 + (c.wMinDtod ?? 0) * xi[1]);
  const spread = (c.dwMinDtod ?? 0) * xi[2];
  const gain = c.logNormal ? Math.exp(spread) : 1 + spread;
  const balance = (c.upDownDtod ?? 0) * xi[3];
  // ub = min(u, 0), db = −max(u, 0): u > 0 leaves up steps at dw and shrinks down steps.
  let su = c.dwMin * (Math.min(u, 0) + gain + balance);
  let sd = c.dwMin * (-Math.max(u, 0) + gain - balance);
  // enforce_consistency: magnitudes are positive, bounds are in order.
  su = Math.abs(su);
  sd = Math.abs(sd);
  if (M < m) [M, m] = [m, M];
  const slope = (gamma: number | undefined, k: number) =>
    c.softBounds ? 1 : Math.abs((gamma ?? 0) + (c.gammaDtod ?? 0) * xi[k]);
  const ku =
    c.model === "linear" && M !== 0 ? (-slope(c.gammaUp, 4) * su) / (c.softBounds ? M : c.wMax) : 0;
  const kd =
    c.model === "linear" && m !== 0
      ? (slope(c.gammaDown, 5) * sd) / (c.softBounds ? m : c.wMin)
      : 0;
  // In closed form, which is finite for a device whose bounds are both on one side of 0 too.
  const sp = c.subtractSp && su !== sd ? (su - sd) / (su / M - sd / m) : 0;
  return { su, sd, ku, kd, M, m, r: (c.referenceStd ?? 0) * xi[6] + sp };
}

/** Device tensor (7, n) of `pulse_update`, each device drawn from (seed, stream). */
export function sampleDevices(c: DeviceConfig, n: number, seed: number, stream = 0): Float32Array {
  checkDevice(c);
  const planes = new Float32Array(7 * n);
  for (let e = 0; e < n; e++) {
    const xi = [0, 1, 2, 3].flatMap((k) => normalPair(...threefry2x32(seed, stream, e, k)));
    const d = sampleDevice(c, xi);
    [d.su, d.sd, d.ku, d.kd, d.M, d.m, d.r].forEach((v, k) => {
      planes[k * n + e] = v;
    });
  }
  return planes;
}

/** The options of `pulse_update` that belong to the device type. */
export const pulseOptions = (c: DeviceConfig) => ({
  model: c.model,
  additive: c.additive ? 1 : 0,
  sigma: c.sigma ?? 0,
  sigma_add: c.sigmaAdd ?? 0,
  sigma_slope: c.sigmaSlope ?? 0,
  g_up: c.gUp ?? 1,
  g_down: c.gDown ?? 1,
  a_up: c.aUp ?? 0,
  a_down: c.aDown ?? 0,
  a: c.a ?? 0,
  b: c.b ?? 0,
});

/** The `nodes` (2,K) of `pulse_update`; empty unless the model is piecewise. */
export const nodesOf = (c: DeviceConfig): number[] => [
  ...(c.nodesUp ?? []),
  ...(c.nodesDown ?? []),
];

/** Noiseless change by one pulse at device value v: the table of §2.7. */
export function pulse(c: DeviceConfig, d: Device, v: number, up: boolean): number {
  const planes = [d.su, d.sd, d.ku, d.kd, d.M, d.m, d.r];
  const size = pulseSize(up, v, (k) => planes[k], pulseOptions(c), nodesOf(c));
  return up ? size : -size;
}

/** Where an up and a down pulse are of equal size, by bisection; NaN when that is not inside the bounds. */
export function symmetricPoint(c: DeviceConfig, d: Device = sampleDevice(c)): number {
  const drift = (v: number) => pulse(c, d, v, true) + pulse(c, d, v, false);
  if (Math.abs(drift(0)) < 1e-15) return 0;
  let [lo, hi] = [d.m, d.M];
  if (!(drift(lo) > 0 && drift(hi) < 0)) return Number.NaN;
  for (let k = 0; k < 80; k++) {
    const mid = (lo + hi) / 2;
    if (drift(mid) > 0) lo = mid;
    else hi = mid;
  }
  return (lo + hi) / 2;
}

/** Share of its weight that each of n devices keeps over a mini-batch: 1 − 1/lifetime. */
export function sampleRetention(
  c: DeviceConfig,
  n: number,
  seed: number,
  stream: number,
): Float32Array {
  return Float32Array.from({ length: n }, (_, e) => {
    const xi = normalPair(...threefry2x32(seed, stream, e, 4))[0];
    const lifetime = (c.lifetime ?? Infinity) * (1 + (c.lifetimeDtod ?? 0) * xi);
    return 1 - 1 / Math.max(lifetime, 1);
  });
}

/**
 * Step that the pulse generator reckons with: dw; for ExpStep the down step at 0 (AIHWKit averages
 * down with down); for PowStep dw · 0.5^γ; for PiecewiseStep the up step in the middle of the range.
 */
export function granularity(c: DeviceConfig): number {
  if (c.model === "piecewise") return pulse(c, sampleDevice(c), (c.wMax + c.wMin) / 2, true);
  if (c.model === "exp_step") return -pulse(c, sampleDevice(c), 0, false);
  if (c.model === "power") return c.dwMin * 0.5 ** (c.gUp ?? 1);
  return c.dwMin;
}

export const states = (c: DeviceConfig): number => (c.wMax - c.wMin) / granularity(c);
