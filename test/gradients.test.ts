import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Backend, type Tensor, vjp } from "../core/index.ts";
import {
  adamw,
  analog_mvm,
  clip_by_norm,
  fft,
  gather,
  gather_last,
  gelu,
  layernorm,
  matmul,
  rmsnorm,
  sgd,
  silu,
  softmax,
  softmax_xent,
  softplus,
  sort,
  sum_squares,
  topk,
} from "../kernels/index.ts";
import { openBackend } from "./support/backends.ts";

// Against PyTorch (fixtures/torch_reference.py), and the gradients that the registry walker cannot
// difference blindly: by-products without a gradient, integer inputs, converters.

interface Mapped {
  inputs: number[][];
  y: number[];
  dy: number[];
  grads: number[][];
}
interface Optimised {
  start: number[];
  grads: number[][];
  end: number[];
}
const torch = JSON.parse(
  readFileSync(new URL("fixtures/torch_reference.json", import.meta.url), "utf8"),
);

describe.each(["ref", "wasm", "webgpu"] as const)("gradients on %s", (name) => {
  let be: Backend;
  beforeAll(async () => {
    be = await openBackend(name);
  });
  afterAll(() => be.dispose());

  const near = async (t: Tensor, want: readonly number[], tolerance = 2e-5) => {
    const got = await t.read();
    expect(got.length).toBe(want.length);
    for (let i = 0; i < want.length; i++) {
      expect(Math.abs(got[i] - want[i]), `[${i}] ${got[i]}, expected ${want[i]}`).toBeLessThan(
        tolerance * Math.max(1, Math.abs(want[i])),
      );
    }
  };

  const mapped: [string, (...t: Tensor[]) => Tensor][] = [
    ["layernorm", (x, w, b) => layernorm(x, w, b).y],
    ["rmsnorm", (x, w) => rmsnorm(x, w).y],
    ["gelu", gelu],
    ["silu", silu],
    ["softplus", softplus],
    ["softmax", softmax],
  ];
  test.each(mapped)("%s and its gradients are PyTorch's", async (key, f) => {
    const r = torch[key] as Mapped;
    const tensors = r.inputs.map((v, k) => be.tensor(k === 0 ? [3, 7] : [7], v));
    const { value, grads } = vjp((t: Tensor[]) => f(...t))(tensors, be.tensor([3, 7], r.dy));
    await near(value as Tensor, r.y);
    for (const [k, want] of r.grads.entries()) await near(grads[k], want);
  });

  test("softmax_xent and its gradient are PyTorch's", async () => {
    const r = torch.softmax_xent;
    const labels = be.tensor([4], r.labels, "i32");
    const { value, grads } = vjp((t: { z: Tensor }) => softmax_xent(t.z, labels).loss)(
      { z: be.tensor([4, 6], r.logits) },
      be.tensor([4], r.dloss),
    );
    await near(value as Tensor, r.loss);
    await near(grads.z, r.dlogits);
  });

  test("adamw is PyTorch's", async () => {
    const r = torch.adamw as Optimised;
    const [p, m, v] = [be.tensor([5], r.start), be.tensor([5]), be.tensor([5])];
    const options = { lr: 0.1, beta1: 0.8, beta2: 0.95, weight_decay: 0.1 };
    r.grads.forEach((g, k) => {
      adamw(p, m, v, be.tensor([5], g), { ...options, t: k + 1 });
    });
    await near(p, r.end);
  });

  test("sgd with Nesterov momentum and weight decay is PyTorch's", async () => {
    const r = torch.sgd as Optimised;
    const [p, m] = [be.tensor([5], r.start), be.tensor([5])];
    for (const g of r.grads) {
      sgd(p, m, be.tensor([5], g), { lr: 0.1, momentum: 0.9, weight_decay: 0.01, nesterov: 1 });
    }
    await near(p, r.end);
  });

  test("clipping by the global norm is PyTorch's", async () => {
    const g = be.tensor([9], torch.clip.g);
    clip_by_norm(g, sum_squares(g), { max_norm: torch.clip.max_norm });
    await near(g, torch.clip.clipped);
  });

  test("gather repeats rows, and its gradient adds them up", async () => {
    const index = be.tensor([4], [2, 0, 2, 2], "i32");
    const { value, grads } = vjp((t: { x: Tensor }) => gather(t.x, index))(
      { x: be.tensor([3, 2], [1, 2, 3, 4, 5, 6]) },
      be.tensor([4, 2], [1, 10, 2, 20, 4, 40, 8, 80]),
    );
    await near(value as Tensor, [5, 6, 1, 2, 5, 6, 5, 6]);
    await near(grads.x, [2, 20, 0, 0, 13, 130]);
  });

  test("gather_last picks within rows, and its gradient puts back", async () => {
    const index = be.tensor([2, 3], [2, 0, 2, 1, 1, 0], "i32");
    const { value, grads } = vjp((t: { x: Tensor }) => gather_last(t.x, index))(
      { x: be.tensor([2, 3], [1, 2, 3, 4, 5, 6]) },
      be.tensor([2, 3], [1, 10, 2, 20, 4, 40]),
    );
    await near(value as Tensor, [3, 1, 3, 5, 5, 4]);
    await near(grads.x, [10, 0, 3, 40, 24, 0]);
  });

  test("the gradient of sort goes back where the elements were, ties in their order", async () => {
    const x = be.tensor([2, 4], [3, -1, 3, 2, 0, 5, 1, 0]);
    const dy = be.tensor([2, 4], [1, 2, 3, 4, 5, 6, 7, 8]);
    const ascending = vjp((t: { x: Tensor }) => sort(t.x).y)({ x }, dy);
    await near(ascending.value as Tensor, [-1, 2, 3, 3, 0, 0, 1, 5]);
    await near(ascending.grads.x, [3, 1, 4, 2, 5, 8, 7, 6]);
    const descending = vjp((t: { x: Tensor }) => sort(t.x, { descending: 1 }).y)({ x }, dy);
    await near(descending.grads.x, [1, 4, 2, 3, 7, 5, 6, 8]);
  });

  test("the gradient of topk is the k cotangents, zero elsewhere", async () => {
    const x = be.tensor([2, 4], [3, -1, 3, 2, 0, 5, 1, 0]);
    const { value, grads } = vjp((t: { x: Tensor }) => topk(t.x, { k: 2 }).values)(
      { x },
      be.tensor([2, 2], [1, 2, 3, 4]),
    );
    await near(value as Tensor, [3, 3, 5, 1]);
    await near(grads.x, [1, 0, 2, 0, 0, 3, 4, 0]);
  });

  test("fft of an impulse is flat, its inverse comes back, and Parseval's theorem holds", async () => {
    const n = 4096;
    const impulse = fft(be.tensor([4], [1, 0, 0, 0]));
    await near(impulse.yr, [1, 1, 1, 1]);
    await near(impulse.yi, [0, 0, 0, 0]);
    const wave = Array.from({ length: n }, (_, i) => Math.sin(i * i));
    const y = fft(be.tensor([n], wave), { norm: "ortho" });
    const energy = (await sum_squares(y.yr).read())[0] + (await sum_squares(y.yi).read())[0];
    const want = wave.reduce((e, v) => e + v * v, 0);
    expect(Math.abs(energy - want)).toBeLessThan(1e-5 * want);
    const back = fft(y.yr, { xi: y.yi, inverse: 1, norm: "ortho" });
    await near(back.yr, wave);
  });

  test("a perfect analog read has the gradient of the float product", async () => {
    const x = be.tensor([2, 3], [0.5, -1, 2, 0, 0.25, -0.5]);
    const w = be.tensor([2, 3], [1, 2, 3, -4, 5, -6]);
    const dy = be.tensor([2, 2], [1, -2, 0.5, 4]);
    const analog = vjp((t: { x: Tensor }) => analog_mvm(t.x, w, { perfect: 1 }))({ x }, dy);
    const float = vjp((t: { x: Tensor }) => matmul(t.x, w, { tb: 1 }))({ x }, dy);
    await near(analog.value as Tensor, Array.from(await (float.value as Tensor).read()));
    await near(analog.grads.x, Array.from(await float.grads.x.read()));
  });

  test("the converters of an analog read stand still: its gradient is the quantised transpose", async () => {
    const x = be.tensor([1, 2], [1, 0.5]);
    const w = be.tensor([2, 2], [0.5, 0.25, -0.5, 1]);
    const dy = be.tensor([1, 2], [1, 0.5]);
    const options = { inp_res: 1 / 64, out_res: 1 / 128, out_bound: 2, out_noise: 0 };
    const { grads } = vjp((t: { x: Tensor }) => analog_mvm(t.x, w, options))({ x }, dy);
    // wᵀ dy = (0.25, 0.75), on multiples of 2·2/128 already.
    await near(grads.x, [0.25, 0.75], 1e-7);
  });
});
