import { type Backend, capture } from "../../../core/index.ts";
import type { StudyContext } from "../../../core/study.ts";
import { normalPair, threefry2x32 } from "../../../core/threefry.ts";
import { matmul, scale, sub, sum_squares } from "../../../kernels/index.ts";
import { atLeast, atMost, type Experiment, experiment, meanOf } from "../../experiments.ts";
import { pulseOuter, zeroShift } from "../crossbar.ts";
import { type DeviceConfig, sampleDevices } from "../devices.ts";

/**
 * Fig. 2 of the paper: least squares ‖Aw − b‖² on devices whose symmetric point is not 0, at the level
 * of pulses. Settings of the authors' script (§4 of the paper page).
 */
export interface ToyConfig {
  readonly method: "analog-sgd" | "residual";
  /** Skew of the devices: symmetric point τu/(2 − u). */
  readonly upDown: number;
  /** Calibrate the residual array first, so that its logical symmetric point is 0. */
  readonly zeroShifted?: boolean;
  readonly steps: number;
  readonly seed: number;
}

const [N, D, TAU, DW, LR, GAMMA] = [100, 50, 3.5, 1e-4, 0.8, 0.4];
const GRADIENT_BL = 8;
/** With 8 the transfer would saturate, and Residual Learning be slower than Analog SGD. */
const TRANSFER_BL = 31;

/** Soft bounds ±τ without variation or noise. */
const toyDevice = (upDown: number): DeviceConfig => ({
  model: "linear",
  softBounds: true,
  dwMin: DW,
  wMax: TAU,
  wMin: -TAU,
  upDown,
});

/** Steps between two looks at the loss, which is averaged over them. */
export const BLOCK = 25;

/** Loss per coordinate, Σ(Aw − b)²/(2N·D), mean of each block of steps. */
export async function toyLosses(be: Backend, c: ToyConfig): Promise<number[]> {
  const normals = (count: number, stream: number) =>
    Float32Array.from(
      { length: count },
      (_, e) => normalPair(...threefry2x32(c.seed, stream, e, 0))[0],
    );
  const target = normals(D, 2).map((v) => 0.5 * v);
  const rows = normals(N * D, 1);
  const A = be.tensor([N, D], rows);
  const b = be.tensor(
    [N, 1],
    Float32Array.from({ length: N }, (_, s) =>
      target.reduce((sum, w, i) => sum + rows[s * D + i] * w, 0),
    ),
  );
  const type = toyDevice(c.upDown);
  const devices = () => be.tensor([7, 1, D], sampleDevices(type, D, c.seed));
  const [W, P] = [be.tensor([1, D], new Float32Array(D).fill(1)), be.tensor([1, D])];
  const [devW, devP, Wbar] = [devices(), devices(), be.tensor([1, D])];
  // From 0 to the symmetric point the error of a pair of pulses shrinks by 1 − 2·dw/τ.
  if (c.zeroShifted) await zeroShift(devP, type, Math.ceil((TAU / (2 * DW)) * Math.log(1e4)));
  const columns = be.tensor(
    [D, D],
    Float32Array.from({ length: D * D }, (_, e) => (e % (D + 1) === 0 ? 1 : 0)),
  );
  const residual = c.method === "residual";
  const loss = be.tensor([1]);
  using step = await capture(
    be,
    ({ scalar: { t } }) => {
      scale.into({ y: Wbar }, { x: W });
      if (residual) scale.into({ y: Wbar }, { x: P }, { by: GAMMA, beta: 1 });
      const error = sub(matmul(A, Wbar, { tb: 1 }), b);
      const delta = scale(error, { by: 1 / N });
      const write = { type, seed: c.seed, t };
      pulseOuter(
        residual ? P : W,
        A,
        delta,
        { ...write, dev: residual ? devP : devW, bl: GRADIENT_BL, stream: 8 },
        { lr: LR, granularity: DW },
      );
      if (residual) {
        // W ← W + βP, column after column: x = e_j, δ = −P_j.
        const read = scale(P.reshape([D, 1]), { by: -1 });
        pulseOuter(
          W,
          columns,
          read,
          { ...write, dev: devW, bl: TRANSFER_BL, stream: 16 },
          { lr: LR, granularity: DW },
        );
      }
      const by = 1 / (2 * N * D * BLOCK);
      scale.into({ y: loss }, { x: sum_squares(error.reshape([1, N])) }, { by, beta: 1 });
    },
    { scalars: { t: { start: 0 } } },
  );
  const losses: number[] = [];
  for (let k = 0; k < c.steps; k += BLOCK) {
    loss.write([0]);
    for (let i = 0; i < BLOCK; i++) step.run();
    losses.push((await loss.read())[0]);
  }
  for (const t of [A, b, W, P, devW, devP, Wbar, columns, loss]) t.dispose();
  return losses;
}

/** Steps of the authors' script; the claims take the loss of the last 50. */
const STEPS = 1000;

/** E1 of the paper page, each claim for each seed. */
export function toyExperiments({ backend: be, seed, seeds, size }: StudyContext): Experiment[] {
  const skews = size === "quick" ? [0, 0.3] : [0, 0.1, 0.2, 0.3];
  const variants = {
    "Analog SGD": { method: "analog-sgd" },
    "Tiki-Taka": { method: "residual" },
    "Tiki-Taka, zero-shifted": { method: "residual", zeroShifted: true },
  } as const;
  const names = Object.keys(variants) as (keyof typeof variants)[];
  const all = Array.from({ length: seeds }, (_, k) => seed + k);
  const key = (s: number, u: number, name: string) => `seed ${s}, skew ${u}, ${name}`;
  const cells = all.flatMap((s) =>
    skews.flatMap((upDown) =>
      names.map((name): [string, () => Promise<number[]>] => [
        key(s, upDown, name),
        () => toyLosses(be, { ...variants[name], upDown, steps: STEPS, seed: s }),
      ]),
    ),
  );
  return [
    experiment("Toy of Fig. 2", Object.fromEntries(cells), (r) => {
      const curve = (s: number, u: number, name: string) => r.get(key(s, u, name)) as number[];
      const end = (s: number, u: number, name: string) => meanOf(curve(s, u, name).slice(-2));
      const worst = (f: (s: number) => number, pick: (...v: number[]) => number) =>
        pick(...all.map(f));
      const [sgd, tt, shifted] = names;
      return {
        checks: [
          atMost(
            "E1 no skew",
            "without skew Tiki-Taka ends at a tenth of Analog SGD's loss or less (Fig. 2, ratio)",
            worst((s) => end(s, 0, tt) / end(s, 0, sgd), Math.max),
            0.1,
          ),
          atLeast(
            "E1 skew 0.3",
            "with a skew of 0.3 it ends at ten times Analog SGD's loss or more (Fig. 2, ratio)",
            worst((s) => end(s, 0.3, tt) / end(s, 0.3, sgd), Math.min),
            10,
          ),
          atMost(
            "E1 zero-shifted",
            "a zero-shifted residual array ends at a thousandth of that or less (§4, ratio)",
            worst((s) => end(s, 0.3, shifted) / end(s, 0.3, tt), Math.max),
            1e-3,
          ),
        ],
        charts: [0, 0.3].map((u) => ({
          title: `Least squares on devices of skew ${u} (Fig. 2)`,
          x: "step",
          y: "log10 loss",
          series: names.map((name) => ({
            name,
            points: curve(seed, u, name).map((v, k): [number, number] => [
              BLOCK * (k + 0.5),
              Math.log10(v),
            ]),
          })),
        })),
        tables: [
          {
            title: "Least squares, loss of the last 50 of 1000 steps, mean over seeds",
            columns: ["skew", ...names],
            rows: skews.map((u) => [
              u,
              ...names.map((n) => meanOf(all.map((s) => end(s, u, n))).toExponential(2)),
            ]),
          },
        ],
      };
    }),
  ];
}
