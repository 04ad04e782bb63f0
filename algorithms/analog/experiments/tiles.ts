import { type Backend, capture } from "../../../core/index.ts";
import type { StudyContext } from "../../../core/study.ts";
import { threefry2x32, uniformOf } from "../../../core/threefry.ts";
import { mean_field_update, scale, sub } from "../../../kernels/index.ts";
import { atMost, type Experiment, experiment } from "../../experiments.ts";
import { pulseEach } from "../crossbar.ts";
import { sampleDevices } from "../devices.ts";

/**
 * E5 of the paper page: a number in ±0.9 held by one device after another, each taking the residual of
 * the coarser ones over γⁿ (arXiv:2510.02516). Range ±1, one pulse Δw_min = 1/2.
 */
const DW = 0.5;
const TARGETS = 2048;

const targets = (seed: number): Float32Array =>
  Float32Array.from(
    { length: TARGETS },
    (_, e) => 0.9 * (2 * uniformOf(threefry2x32(seed, 0x21, e, 0)[0]) - 1),
  );

const rms = (v: ArrayLike<number>): number =>
  Math.sqrt(Array.from(v).reduce((s, x) => s + x * x, 0) / v.length);

/** Error after 1, 2, … tiles when each takes the nearest number of ideal pulses: (Δw/2)/√3 · γⁿ. */
export async function nearestPulses(
  be: Backend,
  { tiles, gamma, seed }: { tiles: number; gamma: number; seed: number },
): Promise<number[]> {
  const left = Array.from(targets(seed));
  const errors: number[] = [];
  for (let n = 0; n < tiles; n++) {
    const w = be.tensor([TARGETS]);
    const pulses = be.tensor(
      [TARGETS],
      left.map((r) => Math.round(r / gamma ** n / DW)),
    );
    mean_field_update(w, pulses, { model: "ideal", tau: 1, alpha: DW });
    (await w.read()).forEach((v, i) => {
      left[i] -= gamma ** n * v;
    });
    errors.push(rms(left));
    w.dispose();
    pulses.dispose();
  }
  return errors;
}

/** The same with soft bounds and stochastic pulses, W⁽ⁿ⁾ ← W⁽ⁿ⁾ + pulse(α_k (r/γⁿ − W⁽ⁿ⁾)), α_k = α/(1 + k/20). */
export async function stochasticPulses(
  be: Backend,
  { tiles, gamma, seed, steps }: { tiles: number; gamma: number; seed: number; steps: number },
): Promise<number[]> {
  const type = { model: "linear", softBounds: true, dwMin: DW, wMax: 1, wMin: -1 } as const;
  const N = TARGETS;
  const left = Array.from(targets(seed));
  const dev = be.tensor([7, 1, N], sampleDevices(type, N, seed));
  const errors: number[] = [];
  for (let n = 0; n < tiles; n++) {
    const w = be.tensor([1, N]);
    const aim = be.tensor(
      [1, N],
      left.map((r) => r / gamma ** n),
    );
    using step = await capture(
      be,
      ({ scalar: { t, alpha } }) => {
        const due = scale(sub(aim, w), { by: alpha });
        pulseEach(w, due, { type, dev, bl: 1, seed, stream: 0x30 + 4 * n, t });
      },
      { scalars: { t: { start: 0 }, alpha: 1 } },
    );
    for (let k = 0; k < steps; k++) step.run(undefined, { alpha: 1 / DW / (1 + k / 20) });
    (await w.read()).forEach((v, i) => {
      left[i] -= gamma ** n * v;
    });
    errors.push(rms(left));
    w.dispose();
    aim.dispose();
  }
  dev.dispose();
  return errors;
}

/** The scalar half of E5; the network half is in training.ts. */
export function tileExperiments({ backend: be, seed, size }: StudyContext): Experiment[] {
  const tiles = 5;
  const gamma = 0.25;
  const steps = size === "quick" ? 300 : 1000;
  const nearest = "nearest pulse, γ 0.25";
  const stochastic = "stochastic pulses, γ 0.5";
  return [
    experiment(
      "Tiles for one number",
      {
        [nearest]: () => nearestPulses(be, { tiles, gamma, seed }),
        [stochastic]: () => stochasticPulses(be, { tiles, gamma: 0.5, seed, steps }),
      },
      (r) => {
        const exact = r.get(nearest) as number[];
        const noisy = r.get(stochastic) as number[];
        const formula = (n: number) => (DW / 2 / Math.sqrt(3)) * gamma ** n;
        const later = Array.from({ length: tiles - 1 }, (_, k) => k + 1);
        return {
          checks: [
            atMost(
              "E5 nearest pulse",
              "each tile after the first leaves an error of (Δw/2)/√3 · γⁿ (worst ratio less 1)",
              Math.max(...later.map((n) => Math.abs(exact[n] / formula(n) - 1))),
              0.05,
            ),
            atMost(
              "E5 stochastic pulses",
              "on soft bounds each tile leaves at most 0.7 of the error before it (worst ratio)",
              Math.max(...later.map((n) => noisy[n] / noisy[n - 1])),
              0.7,
            ),
          ],
          tables: [
            {
              title: "A number in ±0.9 held by n tiles of 4 states, RMS error",
              columns: ["tiles", nearest, "formula", stochastic],
              rows: exact.map((v, n) => [n + 1, v, formula(n), noisy[n]]),
            },
          ],
        };
      },
    ),
  ];
}
