import { describe, expect, test } from "vitest";
import {
  BackendError,
  type BackendName,
  CaptureError,
  capture,
  DiffError,
  FormatError,
  grad,
  init,
  MemoryError,
  ShapeError,
  scope,
  slab,
  type Tensor,
  TilegradError,
  ValueError,
} from "../core/index.ts";
import {
  adamw,
  add,
  fft,
  matmul,
  max,
  mean_field_update,
  pulse_scales,
  sum,
  topk,
} from "../kernels/index.ts";
import { openBackend } from "./support/backends.ts";

// Each class of error, with the words a person gets to read.

const be = await init("ref");
const t = (...shape: number[]) => be.tensor(shape);

/** The error of f: its class, its code and its message. */
function raised(f: () => unknown): [unknown, string, string] {
  try {
    f();
  } catch (e) {
    if (e instanceof TilegradError) return [e.constructor, e.code, e.message];
    throw e;
  }
  throw new Error("nothing was thrown");
}

describe("ShapeError", () => {
  test.each<[string, () => unknown, string, string]>([
    [
      "an extent",
      () => matmul(t(2, 3), t(4, 5)),
      "shape",
      "[matmul] b: expected (*C,K,N)=(*C,3,N), got (4,5)",
    ],
    ["a rank", () => matmul(t(2), t(2, 2)), "shape", "[matmul] a: expected (*A,M,K), got (2)"],
    [
      "a dtype",
      () => add(be.tensor([2], [1, 2], "i32"), t(2)),
      "dtype",
      "[add] a: expected f32, got i32",
    ],
    [
      "nothing",
      () => (add as (...a: unknown[]) => unknown)(t(2)),
      "missing",
      "[add] b: is required",
    ],
    [
      "too much",
      () => (add as (...a: unknown[]) => unknown)(t(2), t(2), t(2)),
      "missing",
      "[add] takes 2 tensors (a, b), got 3",
    ],
    ["a transform of nothing", () => fft(t(2, 0)), "shape", "[fft] N: expected at least 1, got 0"],
    [
      "more than there are",
      () => topk(t(2, 3), { k: 4 }),
      "shape",
      "[topk] k: expected at most C=3, got 4",
    ],
    [
      "no tensor",
      () => add([1, 2] as unknown as Tensor, t(2)),
      "dtype",
      "[add] a: expected a Tensor, got object",
    ],
  ])("%s", (_, f, code, message) => {
    expect(raised(f)).toEqual([ShapeError, code, message]);
  });

  test("memory that is written and read", () => {
    const x = t(2);
    expect(raised(() => add.into({ y: x }, { a: x, b: t(2) }))).toEqual([
      ShapeError,
      "alias",
      "[add] y is written and shares memory with a",
    ]);
  });

  test("two backends", async () => {
    using wasm = await init("wasm");
    expect(raised(() => add(t(2), wasm.tensor([2])))).toEqual([
      ShapeError,
      "backend",
      "[add] b: is on wasm, other arguments are on ref",
    ]);
  });
});

describe("ValueError", () => {
  const step = (lr: unknown) => adamw(t(2), t(2), t(2), t(2), { lr, t: 1 });
  test.each<[string, () => unknown, string]>([
    ["NaN", () => step(Number.NaN), "[adamw] lr: expected finite and >= 0, got NaN"],
    ["a negative rate", () => step(-1), "[adamw] lr: expected finite and >= 0, got -1"],
    [
      "a missing option",
      () => (adamw as (...a: unknown[]) => unknown)(t(2), t(2), t(2), t(2), { lr: 1 }),
      "[adamw] t: is required",
    ],
    [
      "an unknown option",
      () => (matmul as (...a: unknown[]) => unknown)(t(1, 1), t(1, 1), { alhpa: 1 }),
      "[matmul] unknown option 'alhpa'; it takes alpha, ta, tb, act, bias",
    ],
    [
      "an unknown choice",
      () => (matmul as (...a: unknown[]) => unknown)(t(1, 1), t(1, 1), { act: "relo" }),
      "[matmul] act: expected one of none, relu, tanh, sigmoid, gelu, silu, got 'relo'",
    ],
    [
      "τ = 0",
      () => mean_field_update(t(2), t(2), { tau: 0 }),
      "[mean_field_update] tau: expected finite and > 0, got 0",
    ],
    [
      "a symmetric point outside the bounds",
      () => mean_field_update(t(2), t(2), { c: 1 }),
      "[mean_field_update] c: expected in (−1, 1), so that the symmetric point lies inside the bounds, got 1",
    ],
    [
      "a train of 33 slots",
      () => pulse_scales(t(1, 2), t(1, 2), { lr: 1, granularity: 1, bl: 33 }),
      "[pulse_scales] bl: expected an integer in 1 … 32: a train is one 32-bit word, got 33",
    ],
  ])("%s", (_, f, message) => {
    expect(raised(f)).toEqual([ValueError, "param", message]);
  });
});

describe("MemoryError", () => {
  test("a tensor after dispose", () => {
    const x = t(2, 3);
    x.dispose();
    expect(raised(() => sum(x))).toEqual([
      MemoryError,
      "disposed",
      "[sum] x: (2,3) was used after dispose",
    ]);
  });

  test("no room, and nothing is lost", async () => {
    using wasm = await init("wasm", { wasm: { maxBytes: 4 << 20 } });
    const kept = wasm.tensor([4], [1, 2, 3, 4]);
    expect(() => wasm.tensor([2 << 20])).toThrow(MemoryError);
    expect(() => wasm.tensor([2 << 20])).toThrow(
      /wasm: no room for 8388608 bytes \(\d+ in use, memory is \d+\); dispose tensors or raise maxBytes/,
    );
    expect(Array.from(await add(kept, kept).read())).toEqual([2, 4, 6, 8]);
  });
});

describe("BackendError", () => {
  test("an unknown name", async () => {
    await expect(init("cuda" as BackendName)).rejects.toThrow(
      new BackendError("unavailable", "unknown backend 'cuda'; there are ref, wasm, webgpu"),
    );
  });

  test("a build that is not there says why and what helps", async () => {
    await expect(init("wasm", { wasm: { build: "avx" as unknown as "simd" } })).rejects.toThrow(
      "wasm: build: expected simd or relaxed, got 'avx'",
    );
    await expect(init("wasm", { wasm: { threads: 0 } })).rejects.toThrow(
      "wasm: threads: expected an integer in 1 … 64, got 0",
    );
  });

  test("a list of which none works names the reason of each", async () => {
    await expect(
      init(["webgpu", "wasm"], {
        webgpu: { gpu: { requestAdapter: async () => null } as unknown as GPU },
        wasm: { threads: 0 },
      }),
    ).rejects.toThrow(/no backend works: webgpu: .*; wasm: threads/);
  });

  test("after dispose", async () => {
    const wasm = await init("wasm");
    const x = wasm.tensor([2]);
    wasm.dispose();
    expect(() => add(x, x)).toThrow(/disposed/);
  });

  test("a lost WebGPU device: calls and reads say so, no zeros come back", async () => {
    using gpu = await openBackend("webgpu");
    const x = gpu.tensor([2], [1, 2]);
    (gpu as unknown as { device: GPUDevice }).device.destroy();
    await new Promise((r) => setTimeout(r, 50));
    await expect(x.read()).rejects.toThrow(BackendError);
    expect(() => add(x, x)).toThrow(/lost|destroyed/);
  });
});

describe("CaptureError", () => {
  test("what a recording does not cover", async () => {
    const step = await capture(be, ({ in: { x } }) => sum(x), { inputs: { x: [3] } });
    expect(raised(() => step.run({ x: [1, 2] }))).toEqual([
      CaptureError,
      "shape",
      "run: x: was recorded as (3), 3 elements, got 2",
    ]);
    expect(raised(() => step.run({ y: [1] }))).toEqual([
      CaptureError,
      "undeclared",
      "run: no input 'y' was declared; there are x",
    ]);
    expect(raised(() => step.run({}, { lr: 1 }))).toEqual([
      CaptureError,
      "undeclared",
      "run: no scalar 'lr' was declared; there are none",
    ]);
    step.dispose();
    expect(raised(() => step.run())[1]).toBe("disposed");
  });
});

describe("DiffError", () => {
  test("a kernel without a VJP, and a result that is no scalar", () => {
    expect(raised(() => grad((x: Tensor) => max(x))(t(3)))).toEqual([
      DiffError,
      "no-vjp",
      "[max] has no VJP, and a gradient was asked through it",
    ]);
    expect(raised(() => grad((x: Tensor) => add(x, x))(t(3)))).toEqual([
      DiffError,
      "scalar",
      "grad: f must return a scalar of shape (), got (3)",
    ]);
  });
});

describe("FormatError", () => {
  test("a checkpoint of another size changes nothing", async () => {
    using s = slab(be, { w: [2, 2] }, { w: [1, 2, 3, 4] });
    const before = await s.save();
    expect(raised(() => s.load([1, 2, 3]))).toEqual([
      FormatError,
      "size",
      `slab: a checkpoint of ${before.length} numbers was expected, got 3`,
    ]);
    expect(await s.save()).toEqual(before);
  });
});

test("an error inside a scope frees what the scope made", () => {
  const before = be.bytesInUse;
  expect(() =>
    scope(() => {
      const x = t(100);
      matmul(x, x);
    }),
  ).toThrow(ShapeError);
  expect(be.bytesInUse).toBe(before);
});
