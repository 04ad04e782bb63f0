import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { type Backend, CaptureError, capture, init } from "../core/index.ts";
import { add, mul, scale } from "../kernels/index.ts";
import { openBackend } from "./support/backends.ts";
import { program, trainTwice, X, Y } from "./support/training.ts";

describe.each(["ref", "wasm", "webgpu"] as const)("capture on %s", (name) => {
  let be: Backend;
  beforeAll(async () => {
    be = await openBackend(name);
  });
  afterAll(() => be.dispose());

  test("replay equals eager bit for bit, with declared inputs, scalars and a counter", async () => {
    const { eager, replayed, dispatches, expectedDispatches } = await trainTwice(be);
    expect(replayed).toEqual(eager);
    expect(dispatches).toBe(expectedDispatches);
  });

  test("capturing runs nothing and leaves no memory behind", async () => {
    const a = be.tensor([64], new Float32Array(64).fill(2));
    const acc = be.tensor([64]);
    const before = be.bytesInUse;
    const step = await capture(be, () => {
      scale.into({ y: acc }, { x: mul(a, a) }, { beta: 1 });
    });
    expect((await acc.read())[0]).toBe(0);
    step.run();
    step.run();
    expect((await acc.read())[0]).toBe(8);
    step.dispose();
    expect(be.bytesInUse).toBe(before);
  });

  test("memory freed while recording is not handed to others", async () => {
    const a = be.tensor([256], new Float32Array(256).fill(1));
    const step = await capture(be, () => {
      const t = add(a, a);
      const u = mul(t, t);
      t.dispose();
      return add(u, u);
    });
    const bystanders = Array.from({ length: 4 }, () =>
      be.tensor([256], new Float32Array(256).fill(7)),
    );
    step.run();
    expect((await step.out.read())[0]).toBe(8);
    for (const b of bystanders) expect([...(await b.read())].every((c) => c === 7)).toBe(true);
    step.dispose();
  });

  test("what a recording does not cover is refused", async () => {
    const a = be.tensor([4], [1, 2, 3, 4]);
    const other = await init("ref");
    const step = await capture(be, ({ in: { x }, scalar: { k } }) => scale(add(x, a), { by: k }), {
      inputs: { x: [4] },
      scalars: { k: 2 },
    });
    const fails = (run: () => void, message: string) => {
      expect(run).toThrow(CaptureError);
      expect(run).toThrow(message);
    };
    fails(() => step.run({ x: [1, 2, 3] }), "run: x: was recorded as (4), 4 elements, got 3");
    fails(() => step.run({ z: [1] }), "run: no input 'z' was declared; there are x");
    fails(() => step.run({}, { lr: 1 }), "run: no scalar 'lr' was declared; there are k");
    fails(() => step.run({ x: be.tensor([2, 2]) }), "run: x: was recorded as f32(4), got f32(2,2)");
    fails(() => step.run({ x: other.tensor([4]) }), "run: x: belongs to another backend (ref)");
    a.dispose();
    fails(() => step.run(), "run: a tensor (4) that the recording uses was disposed since");
    step.dispose();
    fails(() => step.run(), "run: this step was disposed");
  });

  test("host state that would be frozen is found while capturing", async () => {
    const a = be.tensor([4], [1, 2, 3, 4]);
    let lr = 1;
    await expect(capture(be, () => scale(a, { by: lr++ }))).rejects.toThrow(
      "[scale] by was 1 in one recording and 2 in the next; declare it as a scalar",
    );
    let n = 1;
    await expect(
      capture(be, () => {
        for (let i = 0; i < n; i++) scale(a);
        n++;
      }),
    ).rejects.toThrow("two recordings of the same step have 1 and 2 kernels");
    await expect(capture(be, () => a.write([0, 0, 0, 0]))).rejects.toThrow(
      "write: the host cannot touch tensors while a step is captured",
    );
    await expect(capture(be, async () => scale(a))).rejects.toThrow(CaptureError);
    // The backend is none the worse for it.
    expect((await scale(a, { by: 3 }).read())[1]).toBe(6);
  });
});

test("on wasm a replayed step allocates nothing", async () => {
  const be = await openBackend("wasm");
  const { step } = program(be);
  const x = be.tensor([5, 4], X);
  const y = be.tensor([5, 3], Y);
  const s = await capture(be, ({ scalar: { lr, t } }) => step(x, y, lr, t), {
    scalars: { lr: 0.01, t: { start: 1 } },
  });
  for (let i = 0; i < 20_000; i++) s.run();
  const memory = be.bytesInUse;
  const runs = 20_000;
  // The quietest of some windows: compilers and the test runner allocate in a few of them, a step
  // that allocates would in all.
  let perRun = Number.POSITIVE_INFINITY;
  for (let window = 0; window < 5; window++) {
    const heap = process.memoryUsage().heapUsed;
    for (let i = 0; i < runs; i++) s.run();
    const grown = process.memoryUsage().heapUsed - heap;
    if (grown >= 0) perRun = Math.min(perRun, grown / runs);
  }
  expect(be.bytesInUse).toBe(memory);
  // One boxed number would already be 12 bytes a run.
  expect(perRun).toBeLessThan(8);
  s.dispose();
  be.dispose();
});

test("a step captured before anything ran on a pool of threads runs on them", async () => {
  using be = await openBackend("wasm", { wasm: { threads: 2 } });
  const a = be.tensor([512, 512], new Float32Array(512 * 512).fill(1));
  const step = await capture(be, () => add(a, a));
  const woken = vi.spyOn(Atomics, "notify");
  step.run();
  expect(woken).toHaveBeenCalledTimes(1);
  woken.mockRestore();
});
