import { type Backend, capture, scope } from "../../core/index.ts";
import { type Dataset, gatherRows, permutation, type Split } from "./digits.ts";
import { type Config, forward, init, type State, step } from "./index.ts";

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

/** Trains `config` on the split through one captured step; the same seed gives the same numbers. */
export async function train(
  be: Backend,
  config: Config,
  { train, test }: Split,
  o: TrainOptions,
): Promise<Curve> {
  using state = init(be, config);
  const { batch, seed } = config;
  using s = await capture(be, ({ in: { x, y }, scalar: { t } }) => step(state, x, y, t), {
    inputs: { x: [batch, train.features], y: { shape: [batch], dtype: "i32" } },
    scalars: { t: { start: 0 } },
  });
  const n = train.y.length;
  const curve: Curve = { accuracy: [], loss: [] };
  for (let epoch = 0; epoch < o.epochs; epoch++) {
    const order = permutation(n, seed, epoch + 1);
    let loss = 0;
    let steps = 0;
    for (let at = 0; at + batch <= n; at += batch) {
      s.run(gatherRows(train, order, at, at + batch));
      // Reading every step would wait for the device every step; a sample of the losses is enough.
      if (steps++ % 20 === 0) {
        const l = (await s.out.read()) as Float32Array;
        loss += l.reduce((a, b) => a + b, 0) / l.length;
        o.signal?.throwIfAborted();
      }
    }
    curve.loss.push(loss / Math.ceil(steps / 20));
    curve.accuracy.push(await accuracy(be, state, test));
    o.onEpoch?.(epoch, curve.accuracy[epoch]);
  }
  return curve;
}

/** Fraction of `data` that the largest logit gets right. */
export async function accuracy(be: Backend, state: State, data: Dataset): Promise<number> {
  const n = data.y.length;
  const classes = state.config.layers.at(-1) as number;
  const logits = scope(() => forward(state, be.tensor([n, data.features], data.x)).logits);
  const z = await logits.read();
  logits.dispose();
  let right = 0;
  for (let i = 0; i < n; i++) {
    let best = 0;
    for (let c = 1; c < classes; c++) if (z[i * classes + c] > z[i * classes + best]) best = c;
    if (best === data.y[i]) right++;
  }
  return right / n;
}
