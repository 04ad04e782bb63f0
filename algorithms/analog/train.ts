import { type Backend, capture, type Step, scope, type Tensor } from "../../core/index.ts";
import { type Dataset, gatherRows, permutation, type Split } from "../digits.ts";
import type { Config } from "./config.ts";
import { forward, init, type State, step, transfersDue } from "./network.ts";

export interface Curve {
  /** Test accuracy after each epoch. */
  readonly accuracy: number[];
  /** Mean training loss of each epoch, in nats. */
  readonly loss: number[];
}

export interface TrainOptions {
  readonly epochs: number;
  readonly signal?: AbortSignal;
  readonly onEpoch?: (epoch: number, accuracy: number) => void;
}

/** Batches between two looks at the loss: reading each would wait for the device each time. */
const LOOK = 20;

/** Trains `config` on the split by replayed steps; the same seed gives the same numbers. */
export async function train(
  be: Backend,
  config: Config,
  { train, test }: Split,
  o: TrainOptions,
): Promise<Curve> {
  using state = init(be, config);
  const { batch, seed } = config;
  // One recording for each set of transfers that can be due.
  const steps = new Map<string, Step<Tensor>>();
  const stepFor = async (due: number[]): Promise<Step<Tensor>> => {
    const key = due.join();
    const known = steps.get(key);
    if (known) return known;
    const recorded = await capture(
      be,
      ({ in: { x, y }, scalar: { t } }) => step(state, x, y, t, due),
      {
        inputs: { x: [batch, train.features], y: { shape: [batch], dtype: "i32" } },
        scalars: { t: 0 },
      },
    );
    steps.set(key, recorded);
    return recorded;
  };
  const n = train.y.length;
  const curve: Curve = { accuracy: [], loss: [] };
  let t = 0;
  try {
    for (let epoch = 0; epoch < o.epochs; epoch++) {
      const order = permutation(n, seed, epoch + 1);
      let [sum, looks] = [0, 0];
      for (let at = 0; at + batch <= n; at += batch, t++) {
        const s = await stepFor(transfersDue(config, t));
        s.run(gatherRows(train, order, at, at + batch), { t });
        if (t % LOOK !== 0) continue;
        for (const l of await s.out.read()) sum += l / batch;
        looks++;
        o.signal?.throwIfAborted();
      }
      curve.loss.push(sum / looks);
      curve.accuracy.push(await accuracy(be, state, test));
      o.onEpoch?.(epoch, curve.accuracy[epoch]);
    }
  } finally {
    for (const s of steps.values()) s.dispose();
  }
  return curve;
}

/** Fraction of `data` that the largest logit gets right, batch by batch. */
export async function accuracy(be: Backend, state: State, data: Dataset): Promise<number> {
  const { batch, layers } = state.config;
  const classes = layers.at(-1) as number;
  const n = data.y.length;
  const order = Int32Array.from({ length: n }, (_, i) => i);
  let right = 0;
  for (let at = 0; at < n; at += batch) {
    const end = Math.min(at + batch, n);
    const x = new Float32Array(batch * data.features);
    x.set(gatherRows(data, order, at, end).x);
    const logits = scope(() => forward(state, be.tensor([batch, data.features], x)).logits);
    const z = await logits.read();
    logits.dispose();
    for (let i = 0; at + i < end; i++) {
      const row = Array.from(z.subarray(i * classes, (i + 1) * classes));
      if (row.indexOf(Math.max(...row)) === data.y[at + i]) right++;
    }
  }
  return right / n;
}
