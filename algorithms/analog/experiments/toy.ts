import { type Backend, capture, type Tensor } from "../../../core/index.ts";
import { normalPair, threefry2x32 } from "../../../core/threefry.ts";
import { matmul, scale, sub, sum_squares } from "../../../kernels/index.ts";
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

/** Loss per coordinate, Σ(Aw − b)²/(2N·D), before each step. */
export async function toyLosses(be: Backend, c: ToyConfig): Promise<Float32Array> {
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
  using step = await capture(
    be,
    ({ scalar: { t } }): Tensor => {
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
      return scale(sum_squares(error.reshape([N])), { by: 1 / (2 * N * D) });
    },
    { scalars: { t: { start: 0 } } },
  );
  const losses = new Float32Array(c.steps);
  for (let k = 0; k < c.steps; k++) {
    step.run();
    losses[k] = (await step.out.read())[0];
  }
  for (const t of [A, b, W, P, devW, devP, Wbar, columns]) t.dispose();
  return losses;
}
