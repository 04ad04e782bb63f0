import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Backend, type Tensor, valueAndGrad, vjp } from "../core/index.ts";
import {
  adamw,
  add,
  analog_mvm,
  attention,
  clip_by_norm,
  conv2d,
  conv2d_winograd,
  embedding_bag,
  fft,
  gather,
  gather_last,
  gelu,
  groupnorm,
  layernorm,
  matmul,
  mean,
  rmsnorm,
  scatter_add,
  sgd,
  silu,
  softmax,
  softmax_xent,
  softplus,
  sort,
  sum_squares,
  topk,
  winograd_filter,
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

  test("softmax_xent with reduction mean is the mean of the rows, and so is its gradient", async () => {
    const r = torch.softmax_xent;
    const labels = be.tensor([4], r.labels, "i32");
    const z = be.tensor([4, 6], r.logits);
    const at = (f: (t: Tensor) => Tensor) => valueAndGrad(f)(z);
    const rows = at((t) => mean(softmax_xent(t, labels).loss));
    const once = at((t) => softmax_xent(t, labels, { reduction: "mean" }).loss);
    await near(once.value, [...(await rows.value.read())]);
    await near(once.grads, [...(await rows.grads.read())]);
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

  test("embedding_bag adds rows, and its gradient goes to each; so does the gradient's own", async () => {
    const index = be.tensor([2, 3], [2, 0, 2, 1, 9, 1], "i32");
    const bags = (t: { x: Tensor }) => embedding_bag(t.x, index, { outside: "zero" });
    const x = be.tensor([3, 2], [1, 2, 3, 4, 5, 6]);
    const { value, grads } = vjp(bags)({ x }, be.tensor([2, 2], [1, 10, 2, 20]));
    await near(value as Tensor, [11, 14, 6, 8]);
    await near(grads.x, [1, 10, 4, 40, 2, 20]);
    const back = vjp((t: { d: Tensor }) => scatter_add(t.d, index, { size: 3 }))(
      { d: be.tensor([2, 2], [1, 10, 2, 20]) },
      x,
    );
    await near(back.value as Tensor, [1, 10, 4, 40, 2, 20]);
    await near(back.grads.d, [11, 14, 6, 8]);
    expect(() => scatter_add(x, index, { size: 3 })).toThrow(
      "[scatter_add] index: expected (3) or (3,K), got (2,3)",
    );
  });

  test("attention has the gradients of its definition", async () => {
    const [S, T, D] = [5, 7, 6];
    const rows = (n: number, salt: number) =>
      be.tensor(
        [1, 2, n, D],
        Float32Array.from({ length: 2 * n * D }, (_, i) => Math.sin(i + salt)),
      );
    const p = { q: rows(S, 1), k: rows(T, 2), v: rows(T, 3), bias: be.tensor([S, T]) };
    const at = { scale: 0.5 };
    const flat = (t: Tensor) => t.reshape([2, t.shape[2], D]);
    const plain = vjp((t: typeof p) => {
      const scores = matmul(flat(t.q), flat(t.k), { alpha: at.scale, tb: 1 });
      return matmul(softmax(add(scores, t.bias)), flat(t.v));
    })(p, rows(S, 4).reshape([2, S, D]));
    const flash = vjp((t: typeof p) => attention(t.q, t.k, t.v, { ...at, bias: t.bias }).o)(
      p,
      rows(S, 4),
    );
    await near(flash.value as Tensor, Array.from(await (plain.value as Tensor).read()));
    for (const name of ["q", "k", "v", "bias"] as const)
      await near(flash.grads[name], Array.from(await plain.grads[name].read()));
  });

  test("lse of attention has a gradient: the mean of the keys", async () => {
    const q = be.tensor([1, 1, 1, 2], [0, 0]);
    const k = be.tensor([1, 1, 2, 2], [1, 2, 3, 6]);
    const v = be.tensor([1, 1, 2, 2], [1, 1, 1, 1]);
    const { value, grads } = vjp((t: { q: Tensor; v: Tensor }) => {
      return attention(t.q, k, t.v, { scale: 1 }).lse;
    })({ q, v }, be.tensor([1, 1, 1], [1]));
    await near(value as Tensor, [Math.log(2)]);
    await near(grads.q, [2, 4]);
    await near(grads.v, [0, 0, 0, 0]);
  });

  test("a query that sees no key has no gradient", async () => {
    // Three queries end at the one key: the first two come before it.
    const q = be.tensor([1, 1, 3, 1], [1, 2, 3]);
    const one = { k: be.tensor([1, 1, 1, 1], [0.5]), v: be.tensor([1, 1, 1, 1], [4]) };
    const seeds = [be.tensor([1, 1, 3, 1], [5, 6, 7]), be.tensor([1, 1, 3], [1, 1, 2])];
    const { value, grads } = vjp((t: { q: Tensor; k: Tensor; v: Tensor }) =>
      attention(t.q, t.k, t.v, { causal: 1, scale: 1 }),
    )({ q, ...one }, { o: seeds[0], lse: seeds[1] });
    const { o, lse } = value as { o: Tensor; lse: Tensor };
    await near(o, [0, 0, 4]);
    expect(Array.from(await lse.read())).toEqual([-Infinity, -Infinity, 1.5]);
    await near(grads.q, [0, 0, 1]);
    await near(grads.k, [6]);
    await near(grads.v, [7]);
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

  const wave = (n: number, step: number) => Array.from({ length: n }, (_, i) => Math.sin(i * step));

  test("group normalisation has the gradients of layer normalisation of its groups", async () => {
    const [B, C, H, W, G] = [2, 6, 3, 5, 3];
    const [x, dy] = [wave(180, 1.3), wave(180, 0.7)];
    const [weight, bias] = [wave(C, 2.1), wave(C, 0.4)];
    const channel = (i: number) => Math.floor(i / (H * W)) % C;
    const group = vjp((t: Tensor[]) => groupnorm(t[0], t[1], t[2], { groups: G }).y)(
      [be.tensor([B, C, H, W], x), be.tensor([C], weight), be.tensor([C], bias)],
      be.tensor([B, C, H, W], dy),
    );
    // y = x̂·weight + bias, so that x̂ sees dy·weight.
    const n = (C / G) * H * W;
    const [ones, zeros] = [be.tensor([n], new Array(n).fill(1)), be.tensor([n])];
    const layer = vjp((t: { x: Tensor }) => layernorm(t.x, ones, zeros).y)(
      { x: be.tensor([B * G, n], x) },
      be.tensor(
        [B * G, n],
        dy.map((v, i) => v * weight[channel(i)]),
      ),
    );
    const hat = await (layer.value as Tensor).read();
    await near(
      group.value as Tensor,
      Array.from(hat, (v, i) => v * weight[channel(i)] + bias[channel(i)]),
    );
    await near(group.grads[0], Array.from(await layer.grads.x.read()));
    const byChannel = (v: (i: number) => number) =>
      weight.map((_, c) => dy.reduce((s, __, i) => (channel(i) === c ? s + v(i) : s), 0));
    await near(
      group.grads[1],
      byChannel((i) => dy[i] * hat[i]),
    );
    await near(
      group.grads[2],
      byChannel((i) => dy[i]),
    );
  });

  test.each(["2", "4"])(
    "conv2d_winograd, tile %s: values and gradients are conv2d's",
    async (tile) => {
      const [B, C, H, W, O] = [2, 5, 7, 18, 6];
      const inputs = () => [
        be.tensor([B, C, H, W], wave(B * C * H * W, 1.1)),
        be.tensor([O, C, 3, 3], wave(O * C * 9, 0.9)),
        be.tensor([O], wave(O, 2)),
      ];
      const dy = be.tensor([B, O, H, W], wave(B * O * H * W, 0.3));
      const options = { pad: 1, act: "gelu" };
      const direct = vjp(([x, w, bias]: Tensor[]) => conv2d(x, w, { ...options, bias }))(
        inputs(),
        dy,
      );
      const fast = vjp(([x, w, bias]: Tensor[]) => {
        const u = winograd_filter(w, { tile });
        return conv2d_winograd(x, u, { ...options, tile, bias, w });
      })(inputs(), dy);
      await near(fast.value as Tensor, Array.from(await (direct.value as Tensor).read()), 2e-4);
      for (const k of [0, 1, 2]) {
        await near(fast.grads[k], Array.from(await direct.grads[k].read()), 2e-4);
      }
    },
  );
});
