import { type Backend, type Counter, capture, scope, slab } from "../../core/index.ts";
import { type Config, checkConfig } from "./config.ts";
import { assertTokens, type Batch, batchOf, draw, type Examples } from "./examples.ts";
import { Stream } from "./random.ts";
import {
  distanceOf,
  type InitOptions,
  init,
  inputsOf,
  type Model,
  type Numbers,
  rowsOf,
  step,
  tensorsOf,
} from "./tradeoff.ts";

export interface TrainOptions extends InitOptions {
  readonly steps: number;
  /** Of the order of the data, which strategies of one seed share. */
  readonly seed: number;
  readonly signal?: AbortSignal | undefined;
  readonly warn?: (caution: string) => void;
}

/** θ after fine-tuning, and how far from θ_s it is. */
export interface Tuned {
  readonly theta: Float32Array;
  readonly distance: number;
}

/** Batches of D_f and, where `proxy` is given, of D_ŝ: two streams, so that a strategy changes the order of neither. */
export function batches(
  model: Model,
  { batch }: Config,
  task: Examples,
  proxy: Examples | undefined,
  seed: number,
): () => Batch {
  const [ofTask, ofProxy] = [new Stream(seed, 100), new Stream(seed, 101)];
  return () =>
    batchOf(model.format, [
      { from: task, rows: draw(ofTask, task, batch) },
      ...(proxy ? [{ from: proxy, rows: draw(ofProxy, proxy, batch) }] : []),
    ]);
}

/** Steps between two looks at the signal, on which the host waits for the device. */
const WAIT = 50;

/**
 * Fine-tunes θ_s on `task` under a strategy: one captured step, replayed. `proxy` is what `loss` asks for.
 * @throws EmptyLoss for data without tokens; ValueError for a config that makes no sense
 */
export async function train(
  be: Backend,
  model: Model,
  config: Config,
  aligned: Numbers | Float32Array,
  data: { readonly task: Examples; readonly proxy?: Examples },
  { steps, seed, signal, warn = console.warn, ...o }: TrainOptions,
): Promise<Tuned> {
  checkConfig(config);
  const proxy = config.strategy === "loss" ? data.proxy : undefined;
  assertTokens("task", data.task);
  if (config.strategy === "loss") assertTokens("proxy", proxy);
  using s = init(be, model, config, aligned, o);
  const scalars: Record<string, number | Counter> = { t: { start: 1 }, lr: config.lr };
  if (Number.isFinite(config.eps)) scalars.eps = config.eps;
  using captured = await capture(be, ({ in: batch, scalar }) => step(s, batch, scalar), {
    inputs: inputsOf(model, rowsOf(config)),
    scalars,
  });
  const next = batches(model, config, data.task, proxy, seed);
  for (let t = 0; t < steps; t++) {
    captured.run(next());
    if ((t + 1) % WAIT) continue;
    await captured.out.read();
    signal?.throwIfAborted();
  }
  const theta = await s.theta.save();
  const distance = await distanceOf(s);
  if (config.strategy === "ball" && Number.isFinite(config.eps) && distance < 0.99 * config.eps) {
    warn(
      `safety-capability: eps = ${config.eps}, and θ is ${distance.toPrecision(3)} from θ_s: the constraint is not ` +
        "active, or too few steps were taken to reach it",
    );
  }
  return { theta, distance };
}

/** The loss of each answer token of `data` in nats, (n · tokens), in batches of at most `chunk` examples. */
export async function lossesOf(
  be: Backend,
  model: Model,
  theta: Float32Array,
  data: Examples,
  chunk = 500,
): Promise<Float32Array> {
  assertTokens("held-out data", data);
  using p = slab(be, model.params);
  p.load(theta);
  const { tokens } = model.format;
  const all = new Float32Array(data.n * tokens);
  for (let at = 0; at < data.n; at += chunk) {
    const rows = Array.from({ length: Math.min(chunk, data.n - at) }, (_, i) => at + i);
    const batch = batchOf(model.format, [{ from: data, rows }]);
    const each = scope(() => model.losses(p.tensors, tensorsOf(be, model, rows.length, batch)));
    all.set(await each.read(), at * tokens);
    each.dispose();
  }
  return all;
}

/** The mean loss over the answer tokens of `data` that count, in nats. */
export async function evaluate(
  be: Backend,
  model: Model,
  theta: Float32Array,
  data: Examples,
  chunk?: number,
): Promise<number> {
  const losses = await lossesOf(be, model, theta, data, chunk);
  const [total, counted] = data.keep.reduce(
    ([sum, n], k, i) => [sum + k * losses[i], n + k],
    [0, 0],
  );
  return total / counted;
}
