import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { defineKernel, f32, inp, linear, out, type Params } from "../core/contract.ts";
import {
  BackendError,
  capture,
  MemoryError,
  ReadbackRing,
  ShapeError,
  slab,
  type Tensor,
  ValueError,
  valueAndGrad,
  type WebgpuBackend,
} from "../core/index.ts";
import {
  adamw,
  add,
  gather,
  matmul,
  mean,
  mul,
  scale,
  softmax,
  softmax_xent,
  sub,
  sum,
  tanh,
} from "../kernels/index.ts";
import { openBackend, openWebgpu } from "./support/backends.ts";

// What the WebGPU backend promises beyond running kernels: errors that reach their caller, life after
// a lost device, small limits, shared devices and buffers.

/** A kernel whose text is at fault in its second line. */
const faulty = defineKernel({
  name: "faulty",
  family: "test",
  args: [out("y", "*N"), inp("x", "*N")],
  ref: () => {},
  cost: () => ({ flops: 0, bytes: 0 }),
  webgpu: [
    {
      source:
        "//# wgsl/faulty.wgsl:1\n// a line\n@compute @workgroup_size(1) fn faulty_f32() { let a: u32 = 1.5; }\n",
      grid: ({ N }) => linear(N),
    },
  ],
});

/** The device goes, as it does when a driver resets. */
async function lose(be: WebgpuBackend): Promise<void> {
  be.device.destroy();
  await be.device.lost;
}

describe("errors", () => {
  let be: WebgpuBackend;
  beforeAll(async () => {
    be = await openWebgpu();
  });
  afterAll(() => be.dispose());

  test("a text that does not compile: kernel, file and line, at the read of its result", async () => {
    const x = be.tensor([4], [1, 2, 3, 4]);
    const before = add(x, x);
    const bad = faulty(x);
    const after = add(x, x);
    await expect(bad.read()).rejects.toThrow(/^\[faulty\] wgsl\/faulty\.wgsl:2: .*u32/);
    // What was called around it is none the worse, and nothing is said twice.
    expect([...(await before.read())]).toEqual([2, 4, 6, 8]);
    expect([...(await after.read())]).toEqual([2, 4, 6, 8]);
    // Its result stays no result, also for those who go on with it.
    await expect(bad.read()).rejects.toThrow(BackendError);
    expect(() => add(x, bad)).toThrow(/^\[add\] b: holds no result: wgsl\/faulty/);
    bad.write([5, 6, 7, 8]);
    expect([...(await add(x, bad).read())]).toEqual([6, 8, 10, 12]);
  });

  test("prepare raises it before any call", async () => {
    await expect(be.prepare([{ kernel: faulty, shapes: { x: [4] } }])).rejects.toThrow(
      /^\[faulty\] wgsl\/faulty\.wgsl:2: /,
    );
    const x = be.tensor([4]);
    await expect(capture(be, () => faulty(x))).rejects.toThrow(/wgsl\/faulty\.wgsl:2/);
  });

  test("no room: a MemoryError for those who use the tensor, and nothing else is lost", async () => {
    const kept = be.tensor([4], [1, 2, 3, 4]);
    const most = be.device.limits.maxBufferSize;
    expect(() => be.tensor([most / 4 + 64])).toThrow(MemoryError);
    const huge: Tensor[] = [];
    let failure: unknown;
    for (let i = 0; i < 64 && !failure; i++) {
      const t = be.empty([Math.min(most, 2 ** 31) / 4]);
      huge.push(t);
      failure = await t.read().then(
        () => undefined,
        (e: unknown) => e,
      );
    }
    expect(failure).toBeInstanceOf(MemoryError);
    expect((failure as MemoryError).message).toMatch(/^webgpu: a (tensor|buffer) of \d+ bytes: /);
    const none = huge.at(-1) as Tensor;
    expect(() => sum(none)).toThrow(MemoryError);
    for (const t of huge) t.dispose();
    expect([...(await add(kept, kept).read())]).toEqual([2, 4, 6, 8]);
  }, 120_000);

  test("a validation error names the kernels of its submission and spoils only their results", async () => {
    const buffer = be.device.createBuffer({ size: 256, usage: 0x80 | 0x4 | 0x8 });
    const x = be.wrap(buffer, [4]);
    await scale(x).read();
    buffer.destroy();
    const y = mul(x, x);
    await expect(y.read()).rejects.toThrow(/^\[mul\] mul_f32: /);
    await expect(y.read()).rejects.toThrow(BackendError);
    const z = be.tensor([1], [3]);
    expect((await add(z, z).read())[0]).toBe(6);
  });

  test("flush raises what no read has asked for, once", async () => {
    faulty(be.tensor([4]));
    await expect(be.flush()).rejects.toThrow(/faulty/);
    await be.flush();
  });
});

describe("a lost device", () => {
  test("calls and reads say so, no zeros come back, pending reads reject", async () => {
    using be = await openWebgpu();
    const x = be.tensor([2], [1, 2]);
    const pending = add(x, x).read();
    be.device.destroy();
    await expect(pending.then((v) => [...v])).rejects.toThrow(BackendError);
    await expect(x.read()).rejects.toThrow(/lost/);
    expect(() => add(x, x)).toThrow(/lost .*recover\(\)/);
  });

  /** A training step with parameters, AdamW's state and a batch that stays on the device. */
  function program(be: WebgpuBackend) {
    const w = Float32Array.from({ length: 32 }, (_, i) => Math.sin(3 * i + 1) / 2);
    const p = slab(be, { w1: [4, 8], b1: [8], w2: [8, 3] }, { w1: w, w2: w.subarray(0, 24) });
    const [m, v] = [p.like(), p.like()];
    const x = be.tensor(
      [5, 4],
      Float32Array.from({ length: 20 }, (_, i) => Math.sin(i)),
    );
    const step = (y: Tensor, t: unknown) => {
      const { value } = valueAndGrad(({ w1, b1, w2 }: Readonly<Record<string, Tensor>>) => {
        const e = sub(matmul(tanh(matmul(x, w1, { bias: b1 })), w2), y);
        return mean(mul(e, e).reshape([15]));
      })(p);
      adamw(p.flat, m.flat, v.flat, p.grad.flat, { lr: 0.05, t });
      return value;
    };
    return { p, m, v, x, step };
  }
  const target = (i: number) => Float32Array.from({ length: 15 }, (_, k) => Math.cos(k + i));

  test("a captured training run goes on to the same result", async () => {
    using whole = await openWebgpu();
    const a = program(whole);
    const stepA = await capture(whole, ({ in: { y }, scalar: { t } }) => a.step(y, t), {
      inputs: { y: [5, 3] },
      scalars: { t: 1 },
    });
    const losses: number[] = [];
    for (let i = 0; i < 12; i++) {
      stepA.run({ y: target(i) }, { t: i + 1 });
      losses.push((await stepA.out.read())[0]);
    }

    using be = await openWebgpu({ hostCopies: true });
    const b = program(be);
    const stepB = await capture(be, ({ in: { y }, scalar: { t } }) => b.step(y, t), {
      inputs: { y: [5, 3] },
      scalars: { t: 1 },
    });
    const again: number[] = [];
    const run = async (from: number, to: number) => {
      for (let i = from; i < to; i++) {
        stepB.run({ y: target(i) }, { t: i + 1 });
        again[i] = (await stepB.out.read())[0];
      }
    };
    await run(0, 5);
    await be.checkpoint([b.p.flat, b.m.flat, b.v.flat]);
    await run(5, 8);
    await lose(be);
    expect(() => stepB.run({ y: target(8) }, { t: 9 })).toThrow(BackendError);
    const { restored } = await be.recover();
    expect(restored).toBeGreaterThanOrEqual(4);
    await run(5, 12);
    expect(again).toEqual(losses);
    expect([...(await b.p.save())]).toEqual([...(await a.p.save())]);
  });

  test("an eager run too; what had no copy says so until it is written", async () => {
    using be = await openWebgpu();
    const x = be.tensor([4], [1, 2, 3, 4]);
    const zeros = be.tensor([4]);
    const y = scale(x, { by: 2 });
    await be.checkpoint([y]);
    await lose(be);
    expect(await be.recover()).toMatchObject({ lost: 1 });
    expect([...(await y.read())]).toEqual([2, 4, 6, 8]);
    expect([...(await add(y, zeros).read())]).toEqual([2, 4, 6, 8]);
    await expect(x.read()).rejects.toThrow(/its content went with the device/);
    expect(() => add(x, y)).toThrow(/^\[add\] a: holds no result: .*checkpoint\(\)/);
    x.write([1, 1, 1, 1]);
    expect([...(await add(x, y).read())]).toEqual([3, 5, 7, 9]);
    expect(await be.recover()).toEqual({ restored: 0, lost: 0 });
  });

  test("twice in a row, and memory does not grow", async () => {
    using be = await openWebgpu({ hostCopies: true });
    const x = be.tensor([4], [1, 2, 3, 4]);
    const bytes = be.bytesInUse;
    for (let i = 0; i < 2; i++) {
      const gone = scale(x);
      await lose(be);
      gone.dispose();
      expect(await be.recover()).toEqual({ restored: 1, lost: 0 });
      const y = add(x, x);
      expect([...(await y.read())]).toEqual([2, 4, 6, 8]);
      y.dispose();
    }
    expect(be.bytesInUse).toBeLessThanOrEqual(bytes + 2 * 256);
  });

  test("a foreign device is replaced by its owner", async () => {
    using other = await openWebgpu();
    const be = await openWebgpu({ device: other.device, hostCopies: true });
    const x = be.tensor([2], [3, 4]);
    await lose(other);
    await expect(be.recover()).rejects.toThrow(/was not ours/);
    await other.recover();
    expect(await be.recover(other.device)).toEqual({ restored: 1, lost: 0 });
    expect([...(await add(x, x).read())]).toEqual([6, 8]);
    be.dispose();
    // Theirs still works.
    expect((await sum(other.tensor([2], [1, 2])).read())[0]).toBe(3);
  });
});

describe("sharing", () => {
  let be: WebgpuBackend;
  beforeAll(async () => {
    be = await openWebgpu();
  });
  afterAll(() => be.dispose());
  const STORAGE = 0x80;
  const COPY = 0x4 | 0x8;

  test("a foreign buffer as a tensor, read and written in place, and left alive", async () => {
    const { device } = be;
    const buffer = device.createBuffer({ size: 512, usage: STORAGE | COPY });
    device.queue.writeBuffer(buffer, 256, new Float32Array([1, 2, 3, 4]));
    const bytes = be.bytesInUse;
    const x = be.wrap(buffer, [2, 2], "f32", 256);
    expect(be.bytesInUse).toBe(bytes);
    const y = be.wrap(buffer, [4]);
    expect([...(await scale(x, { by: 10 }).read())]).toEqual([10, 20, 30, 40]);
    x.dispose();
    be.copy(y, be.tensor([4], [9, 8, 7, 6]));
    y.dispose();
    const again = be.wrap(buffer, [4]);
    expect([...(await again.read())]).toEqual([9, 8, 7, 6]);
    buffer.destroy();
  });

  test("what does not fit is refused with the reason", () => {
    const { device } = be;
    const uniform = device.createBuffer({ size: 256, usage: 0x40 });
    expect(() => be.wrap(uniform, [4])).toThrow("wrap: the buffer was made without usage STORAGE");
    const small = device.createBuffer({ size: 256, usage: STORAGE });
    expect(() => be.wrap(small, [65])).toThrow(ShapeError);
    expect(() => be.wrap(small, [65])).toThrow(
      "wrap: f32(65) at 0 ends at byte 260, the buffer has 256",
    );
    expect(() => be.wrap(small, [1], "f32", 4)).toThrow(/byteOffset: expected a multiple of 256/);
  });

  test("ours in the commands of others", async () => {
    const x = be.tensor([4], [1, 2, 3, 4]);
    const y = scale(x, { by: 3 });
    const { buffer, offset, size } = be.bufferOf(y);
    expect(size).toBe(16);
    const mine = be.device.createBuffer({ size, usage: 0x1 | 0x8 });
    const encoder = be.device.createCommandEncoder();
    encoder.copyBufferToBuffer(buffer, offset, mine, 0, size);
    be.device.queue.submit([encoder.finish()]);
    await mine.mapAsync(1);
    expect([...new Float32Array(mine.getMappedRange())]).toEqual([3, 6, 9, 12]);
    mine.destroy();
  });

  test("two backends on one device", async () => {
    const other = await openWebgpu({ device: be.device });
    const x = be.tensor([2], [1, 2]);
    const { buffer, offset } = be.bufferOf(x);
    const same = other.wrap(buffer, [2], "f32", offset);
    expect([...(await scale(same, { by: 5 }).read())]).toEqual([5, 10]);
    other.dispose();
    expect([...(await scale(x, { by: 5 }).read())]).toEqual([5, 10]);
  });
});

describe("first calls", () => {
  test("prepare compiles what a call then needs; capture does so by itself", async () => {
    using be = await openWebgpu();
    const counted = { sync: 0, async: 0 };
    const { device } = be;
    const [sync, later] = [device.createComputePipeline, device.createComputePipelineAsync];
    device.createComputePipeline = (d) => {
      counted.sync++;
      return sync.call(device, d);
    };
    device.createComputePipelineAsync = (d) => {
      counted.async++;
      return later.call(device, d);
    };
    await be.prepare([
      { kernel: softmax, shapes: { x: [8, 16] } },
      { kernel: add, shapes: { a: [8, 16], b: [16] } },
    ]);
    await expect(be.prepare([{ kernel: add, shapes: { a: [3], b: [2] } }])).rejects.toThrow(
      "[add] a and b: (3) and (2) do not agree in their trailing axes",
    );
    const x = be.tensor([8, 16]);
    const y = be.tensor([16]);
    await add(softmax(x), y).read();
    expect(counted.sync).toBe(0);
    expect(counted.async).toBeGreaterThanOrEqual(2);
    const step = await capture(be, () => sum(mul(x, x)));
    step.run();
    await step.out.read();
    expect(counted.sync).toBe(0);
  });
});

/** Two variants that share their second pass, whose text differs by a constant. */
const shared = { entry: "twice_second", grid: ({ N }: Record<string, number>) => linear(N, 1) };
const twice = defineKernel({
  name: "twice",
  family: "test",
  args: [out("y", "*N"), inp("x", "*N")],
  params: { by: f32(2) },
  ref: () => {},
  cost: () => ({ flops: 0, bytes: 0 }),
  webgpu: [2, 3].map((by) => ({
    source: `const BY = 1;
      @group(0) @binding(0) var<storage, read_write> y: array<f32>;
      @group(0) @binding(1) var<storage, read> x: array<f32>;
      @group(0) @binding(3) var<storage, read_write> s: array<f32>;
      @compute @workgroup_size(1) fn twice_f32(@builtin(workgroup_id) w: vec3u) { s[w.x] = x[w.x]; }
      @compute @workgroup_size(1) fn twice_second(@builtin(workgroup_id) w: vec3u) { y[w.x] = s[w.x] * BY; }`,
    grid: shared.grid,
    consts: { BY: by },
    when: (_d: unknown, p: Params) => p.by === by,
    scratch: ({ N }: Record<string, number>) => 4 * N,
    further: [shared],
  })),
});

test("passes run in order over their scratch, with the constants of their variant", async () => {
  using be = await openWebgpu();
  const x = be.tensor([4], [1, 2, 3, 4]);
  const before = be.dispatches;
  expect([...(await twice(x, { by: 2 }).read())]).toEqual([2, 4, 6, 8]);
  expect([...(await twice(x, { by: 3 }).read())]).toEqual([3, 6, 9, 12]);
  expect(be.dispatches - before).toBe(4);
  const step = await capture(be, () => twice(twice(x, { by: 2 }), { by: 3 }));
  step.run();
  expect([...(await step.out.read())]).toEqual([6, 12, 18, 24]);
  expect(step.dispatches).toBe(4);
});

test("a text serves a beta that moves, between 0 and others", async () => {
  using be = await openWebgpu();
  const x = be.tensor([3], [1, 2, 3]);
  const y = be.tensor([3], [10, 20, 30]);
  using step = await capture(
    be,
    ({ scalar }) => scale.into({ y }, { x }, { by: 2, beta: scalar.beta }),
    { scalars: { beta: 0.5 } },
  );
  step.run({}, { beta: 0.5 });
  expect([...(await y.read())]).toEqual([7, 14, 21]);
  step.run({}, { beta: 0 });
  expect([...(await y.read())]).toEqual([2, 4, 6]);
  step.run({}, { beta: 1 });
  expect([...(await y.read())]).toEqual([4, 8, 12]);
});

describe("a ring of metrics", () => {
  test.each(["webgpu", "wasm"] as const)("%s: in order, without waiting", async (name) => {
    using be = await openBackend(name);
    const x = be.tensor([2]);
    const ring = new ReadbackRing(3);
    const pushed: boolean[] = [];
    for (let i = 0; i < 5; i++) {
      x.write([i, 2 * i]);
      pushed.push(ring.push(x));
    }
    expect(pushed).toEqual([true, true, true, false, false]);
    expect(ring.dropped).toBe(2);
    const got = await ring.drain();
    expect(got.map((m) => [m.index, ...m.values])).toEqual([
      [0, 0, 0],
      [1, 1, 2],
      [2, 2, 4],
    ]);
    x.write([7, 7]);
    expect(ring.push(x)).toBe(true);
    expect((await ring.drain())[0]).toEqual({ index: 5, values: new Float32Array([7, 7]) });
  });

  test("an error comes out at the next call", async () => {
    using be = await openWebgpu();
    const ring = new ReadbackRing();
    ring.push(be.tensor([1]));
    be.device.destroy();
    await expect(ring.drain()).rejects.toThrow(BackendError);
  });
});

describe("checked indices", () => {
  test.each(["ref", "wasm", "webgpu"] as const)("%s", async (name) => {
    using be = await openBackend(name, { checked: true });
    const x = be.tensor([4, 2], [0, 1, 2, 3, 4, 5, 6, 7]);
    const good = be.tensor([3], [0, 3, 1], "i32");
    const bad = be.tensor([4], [0, 4, 1, -1], "i32");
    const read = async (index: Tensor) => [...(await gather(x, index).read())];
    expect(await read(good)).toEqual([0, 1, 6, 7, 2, 3]);
    const message = "[gather] index: 2 indices are outside 0 … 3, the first at [1]";
    await expect((async () => read(bad))()).rejects.toThrow(
      new ValueError("index", message.slice(9), "gather"),
    );
    expect(await read(good)).toEqual([0, 1, 6, 7, 2, 3]);
    const labels = be.tensor([2], [1, 2], "i32");
    const loss = async () => softmax_xent(be.tensor([2, 2]), labels).loss.read();
    await expect(loss()).rejects.toThrow(
      "[softmax_xent] labels: 1 index is outside 0 … 1, the first at [1]",
    );
    // In a replay too.
    const step = await capture(be, ({ in: { index } }) => gather(x, index), {
      inputs: { index: { shape: [4], dtype: "i32" } },
    });
    const replay = async (index: number[]) => {
      step.run({ index });
      return [...(await step.out.read())];
    };
    expect(await replay([0, 1, 2, 3])).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    await expect(replay([0, 1, 2, 9])).rejects.toThrow("the first at [3]");
  });
});
