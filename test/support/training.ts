import { type Backend, capture, slab, type Tensor, valueAndGrad } from "../../core/index.ts";
import { adamw, matmul, mean, mul, sub, tanh } from "../../kernels/index.ts";

export const X = Float32Array.from({ length: 20 }, (_, i) => Math.sin(i));
export const Y = Float32Array.from({ length: 15 }, (_, i) => Math.cos(2 * i));

/** A two-layer regression step with AdamW: parameters, gradients and state in slabs. */
export function program(be: Backend) {
  const shapes = { w1: [4, 8], b1: [8], w2: [8, 3] };
  const init = Float32Array.from({ length: 32 }, (_, i) => Math.sin(3 * i + 1) / 2);
  const p = slab(be, shapes, { w1: init, w2: init.subarray(0, 24) });
  const m = p.like();
  const v = p.like();
  const step = (x: Tensor, y: Tensor, lr: unknown, t: unknown) => {
    const { value } = valueAndGrad(({ w1, b1, w2 }: Readonly<Record<string, Tensor>>) => {
      const h = tanh(matmul(x, w1, { bias: b1 }));
      const e = sub(matmul(h, w2), y);
      return mean(mul(e, e).reshape([15]));
    })(p);
    adamw(p.flat, m.flat, v.flat, p.grad.flat, { lr, t });
    return value;
  };
  return { p, step };
}

interface Trained {
  readonly losses: number[];
  readonly parameters: number[];
}

/** The same four steps call by call and as replays of a recording with inputs, scalars, a counter. */
export async function trainTwice(be: Backend) {
  const lrs = [0.1, 0.1, 0.03, 0.01];
  const eager = program(be);
  const one: Trained = { losses: [], parameters: [] };
  for (const [i, lr] of lrs.entries()) {
    const x = be.tensor(
      [5, 4],
      X.map((c) => c * (i + 1)),
    );
    const y = be.tensor([5, 3], Y);
    one.losses.push((await eager.step(x, y, lr, i + 1).read())[0]);
  }
  one.parameters.push(...(await eager.p.save()));

  const replayed = program(be);
  const step = await capture(
    be,
    ({ in: { x, y }, scalar: { lr, t } }) => replayed.step(x, y, lr, t),
    {
      inputs: { x: [5, 4], y: [5, 3] },
      scalars: { lr: 0.1, t: { start: 1 } },
    },
  );
  const before = be.dispatches;
  const two: Trained = { losses: [], parameters: [] };
  for (const [i, lr] of lrs.entries()) {
    step.run({ x: X.map((c) => c * (i + 1)), y: Y }, { lr });
    two.losses.push((await step.out.read())[0]);
  }
  const dispatches = be.dispatches - before;
  two.parameters.push(...(await replayed.p.save()));
  const expectedDispatches = lrs.length * step.dispatches;
  step.dispose();
  return { eager: one, replayed: two, dispatches, expectedDispatches };
}
