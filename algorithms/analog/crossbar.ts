import { type Backend, type Scalar, scope, type Tensor } from "../../core/index.ts";
import { add, normal, pulse_scales, pulse_trains, pulse_update } from "../../kernels/index.ts";
import { type DeviceConfig, nodesOf, pulseOptions } from "./devices.ts";

/** What an array of devices is written with: their kind, their parameters (7,O,I), a counter. */
export interface Pulses {
  readonly type: DeviceConfig;
  readonly dev: Tensor;
  /** Longest train. */
  readonly bl: number;
  readonly seed: number;
  /** First of three streams. */
  readonly stream: number;
  /** Number of the step; no two writes share (seed, stream, t). */
  readonly t: number | Scalar;
}

/** The nodes that `pulse_update` takes for a piecewise response; a constant of a captured step. */
function nodesTensor(be: Backend, type: DeviceConfig): { nodes?: Tensor } {
  const nodes = nodesOf(type);
  return nodes.length ? { nodes: be.tensor([2, nodes.length / 2], nodes) } : {};
}

/** What a read sees of A: with write noise, what the last write left and noise on top. */
export function apparent(A: Tensor, { type, seed, stream, t }: Omit<Pulses, "dev" | "bl">): Tensor {
  const { writeNoise = 0, dwMin } = type;
  if (writeNoise === 0) return A;
  const xi = A.backend.empty(A.shape);
  normal.into({ y: xi }, {}, { seed, stream, t, sigma: writeNoise * dwMin });
  return add(A, xi);
}

/**
 * A (O,I) ← A − lr Σ_s d_s x_sᵀ by stochastic pulse trains (§2.6), sample by sample; x (S,I), d (S,O).
 * `granularity` is the step that the trains reckon with. Records 4 kernels; call it in a scope.
 */
export function pulseOuter(
  A: Tensor,
  x: Tensor,
  d: Tensor,
  { type, dev, bl, seed, stream, t }: Pulses,
  { lr, granularity }: { lr: number; granularity: number },
): void {
  const scales = pulse_scales(x, d, { lr, granularity, bl });
  const xw = pulse_trains(x, scales, { side: 0, seed, stream, t });
  const dw = pulse_trains(d, scales, { side: 1, seed, stream: stream + 1, t });
  pulse_update.into(
    { w: A },
    { xw, dw, x, d, dev, ...nodesTensor(A.backend, type) },
    { ...pulseOptions(type), seed, stream: stream + 2, t },
  );
}

/**
 * A (O,I) ← A + n·granularity by pulses, n (O,I) a number of pulses that need not be whole: each
 * device gets Binomial(bl, min(|n|/bl, 1)) of them. With bl = 1 and n in {−1, 0, 1} that is n itself.
 * A transfer writes so; reading column after column would share the bits of the column's line.
 */
export function pulseEach(
  A: Tensor,
  n: Tensor,
  { type, dev, bl, seed, stream, t }: Pulses,
  factor = 1,
): void {
  const be = A.backend;
  const N = A.size;
  // One row of N columns: the row's line is always on, and its sign makes +n a pulse up.
  const v = n.reshape([1, N]);
  const scales = be.tensor([1, 4], [factor / bl, 0, bl, 0]);
  const xw = pulse_trains(v, scales, { side: 0, seed, stream, t });
  pulse_update.into(
    { w: A.reshape([1, N]) },
    {
      xw,
      dw: be.tensor([1, 1], [0xffffffff], "u32"),
      x: v,
      d: be.tensor([1, 1], [-1]),
      dev: dev.reshape([7, 1, N]),
      ...nodesTensor(be, type),
    },
    { ...pulseOptions(type), seed, stream: stream + 2, t },
  );
}

/** Pairs of pulses that one launch of `zeroShift` makes. */
const PAIRS = 64;

/**
 * Zero-shifting (§2.4): up and down pulses in turn drive every device to its symmetric point, which
 * becomes its reference r; the logical weight w = v − r then has its symmetric point at 0. Changes dev
 * (7,O,I) in place. `pairs` is rounded up to whole launches; half a step of error remains (O3).
 */
export async function zeroShift(
  dev: Tensor,
  type: DeviceConfig,
  pairs: number,
  seed = 0,
): Promise<void> {
  const be = dev.backend;
  const [, O, I] = dev.shape;
  const S = 2 * PAIRS;
  const w = be.tensor([O, I]);
  const trains = [I, O].map((n) => be.tensor([S, n], new Array(S * n).fill(1), "u32"));
  const x = be.tensor([S, I], new Array(S * I).fill(1));
  const d = be.tensor(
    [S, O],
    Array.from({ length: S * O }, (_, k) => (Math.floor(k / O) % 2 === 0 ? -1 : 1)),
  );
  scope(() => {
    const lines = { xw: trains[0], dw: trains[1], x, d, dev, ...nodesTensor(be, type) };
    for (let t = 0; t < pairs / PAIRS; t++)
      pulse_update.into({ w }, lines, { ...pulseOptions(type), seed, stream: 0x70, t });
  });
  const planes = Float32Array.from(await dev.read());
  const at = 6 * O * I;
  (await w.read()).forEach((v, e) => {
    planes[at + e] += v;
  });
  dev.write(planes);
  for (const t of [w, x, d, ...trains]) t.dispose();
}
