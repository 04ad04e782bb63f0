import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, test } from "vitest";
import { type Backend, capture, scope, slab, type Tensor, valueAndGrad } from "../core/index.ts";
import type { WasmBackend } from "../core/wasm.ts";
import { adamw, matmul, mean, mul, sub, tanh } from "../kernels/index.ts";
import { openBackend } from "./support/backends.ts";

// Training goes on for days: neither tensors nor the heap may grow with the number of steps.

setFlagsFromString("--expose_gc");
const collect = runInNewContext("gc") as () => void;
const heap = () => {
  collect();
  return process.memoryUsage().heapUsed;
};

function training(be: Backend) {
  const p = slab(be, { w1: [4, 8], b1: [8], w2: [8, 3] });
  const [m, v] = [p.like(), p.like()];
  return (x: Tensor, y: Tensor, lr: unknown, t: unknown) => {
    const { value } = valueAndGrad(({ w1, b1, w2 }: Readonly<Record<string, Tensor>>) => {
      const e = sub(matmul(tanh(matmul(x, w1, { bias: b1 })), w2), y);
      return mean(mul(e, e).reshape([15]));
    })(p);
    adamw(p.flat, m.flat, v.flat, p.grad.flat, { lr, t });
    return value;
  };
}

test.each([
  ["wasm", 10_000],
  ["webgpu", 1_000],
] as const)(
  "%s: %i eager steps end where the tenth stood",
  async (name, steps) => {
    using be = await openBackend(name);
    const step = training(be);
    const [x, y] = [be.tensor([5, 4]), be.tensor([5, 3])];
    const run = async (from: number, to: number) => {
      for (let t = from; t < to; t++) {
        scope(() => {
          step(x, y, 0.01, t + 1);
        });
        // Let the queue of a GPU drain, as a loop that looks at its loss does.
        if (t % 100 === 99) await x.read();
      }
    };
    await run(0, 500);
    const [bytes, before] = [be.bytesInUse, heap()];
    const pages = name === "wasm" ? (be as WasmBackend).memory.buffer.byteLength : 0;
    await run(500, 500 + steps);
    expect(be.bytesInUse).toBe(bytes);
    if (name === "wasm") expect((be as WasmBackend).memory.buffer.byteLength).toBe(pages);
    expect(heap() - before).toBeLessThan(2 << 20);
  },
  120_000,
);

test.each([
  ["wasm", 10_000],
  ["webgpu", 1_000],
] as const)(
  "%s: %i replayed steps end where the first stood",
  async (name, steps) => {
    using be = await openBackend(name);
    const train = training(be);
    using step = await capture(be, ({ in: { x, y }, scalar: { lr, t } }) => train(x, y, lr, t), {
      inputs: { x: [5, 4], y: [5, 3] },
      scalars: { lr: 0.01, t: { start: 1 } },
    });
    step.run();
    await step.out.read();
    const [bytes, before] = [be.bytesInUse, heap()];
    for (let t = 0; t < steps; t++) {
      step.run();
      if (t % 100 === 99) await step.out.read();
    }
    expect(be.bytesInUse).toBe(bytes);
    expect(heap() - before).toBeLessThan(2 << 20);
  },
  120_000,
);
