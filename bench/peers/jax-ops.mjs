// Operations of jax-js, jit-compiled, on any of its backends. It moves its arguments: what is used again
// is handed on as `.ref`.
import { grad, jit, lax, nn, numpy as np, valueAndGrad } from "@jax-js/jax";

/**
 * @param settle what ends a run: makes sure that its outputs, an array of arrays, are computed or on the
 *   way, and drops them
 */
export function operations(settle) {
  /** f over arrays, compiled; outputs are made and dropped. */
  const op = (f) => (inputs, shapes, params) => {
    const x = inputs.map((data, i) => np.array(data, { shape: shapes[i] }));
    const compiled = jit((...args) => f(args, params, shapes));
    const call = () => compiled(...x.map((a) => a.ref));
    return {
      run: () => settle([call()]),
      read: () => call().data(),
      dispose() {
        for (const a of x) a.dispose();
        compiled.dispose();
      },
    };
  };

  /** Its attention takes (B,S,H,D): turned around inside the compiled function. */
  const attention = ([q, k, v], { causal }) => {
    const turn = (x) => np.transpose(x, [0, 2, 1, 3]);
    return turn(nn.dotProductAttention(turn(q), turn(k), turn(v), { isCausal: Boolean(causal) }));
  };

  const layernorm = ([x, weight, bias]) =>
    nn.standardize(x, -1, { epsilon: 1e-5 }).mul(weight).add(bias);

  const convolution = ([x, w], { pad }, [xShape, wShape]) => {
    const padding = [
      [pad, pad],
      [pad, pad],
    ];
    const featureGroupCount = xShape[1] / wShape[1];
    return lax.convGeneralDilated(x, w, [1, 1], padding, { featureGroupCount });
  };

  /** Forward, backward and SGD in one compiled function, parameters in and out. */
  function stepMlp([x, ...weights], [xShape, ...shapes], { lr, scale, checked }) {
    const input = np.array(x, { shape: xShape });
    const rows = xShape[0];
    const classes = shapes[3][0];
    const labels = new Float32Array(rows * classes);
    for (let i = 0; i < rows; i++) labels[i * classes + (i % classes)] = 1;
    const target = np.array(labels, { shape: [rows, classes] });
    let params = weights.map((data, i) =>
      np.array(
        data.map((v) => scale * v),
        { shape: shapes[i] },
      ),
    );
    const loss = ([w1, b1, w2, b2], a, t) => {
      const h = nn.relu(np.matmul(a, w1).add(b1));
      return nn
        .logSoftmax(np.matmul(h, w2).add(b2), -1)
        .mul(t)
        .sum()
        .mul(-1 / rows);
    };
    const step = jit((p, a, t) => {
      const [value, gradient] = valueAndGrad(loss)(
        p.map((w) => w.ref),
        a,
        t,
      );
      return [value, p.map((w, i) => w.sub(gradient[i].mul(lr)))];
    });
    const next = () => {
      const [value, updated] = step(params, input.ref, target.ref);
      params = updated;
      return value;
    };
    return {
      async run() {
        await settle([next(), ...params.map((p) => p.ref)]);
      },
      async read() {
        const losses = [];
        for (let i = 0; i < checked; i++) losses.push((await next().data())[0]);
        return losses;
      },
      dispose() {
        for (const p of params) p.dispose();
        input.dispose();
        target.dispose();
        step.dispose();
      },
    };
  }

  /** FOOPS (algorithms/foops), a whole step in one compiled function: x and y in and out. */
  function stepFoops([x0], [[size]], { scale, tau, gamma, alpha, beta, inner, checked }) {
    const start = x0.map((v) => scale * v);
    const centres = np.array(
      Float32Array.from({ length: 2 * size }, (_, i) => (i < size ? 1 : -1) / Math.sqrt(size)),
      { shape: [2, size] },
    );
    const row = np.array(Float32Array.from([5, -4], (v) => v / Math.sqrt(41)));
    const objectives = (x, c) =>
      np
        .exp(np.square(x.sub(c)).sum(1).mul(-1))
        .mul(-1)
        .add(1);
    const step = jit((x, y, c, h) => {
      const fx = objectives(x.ref, c.ref);
      for (let k = 0; k < inner; k++) {
        const smooth = (w) =>
          np
            .log(
              np
                .exp(
                  objectives(w, c.ref)
                    .sub(fx.ref)
                    .mul(1 / tau),
                )
                .sum(),
            )
            .mul(tau);
        y = y.ref.sub(grad(smooth)(y).mul(beta));
      }
      const e = np.exp(
        objectives(y.ref, c.ref)
          .sub(fx.ref)
          .mul(1 / tau),
      );
      const total = e.ref.sum();
      const v = np
        .log(total.ref)
        .mul(-tau)
        .add(tau * Math.log(2));
      const weights = e.div(total).mul(v.mul(2 * gamma));
      const phi = (w) => {
        const f = objectives(w, c.ref);
        return np.square(f.ref.mul(h.ref).sum()).add(f.mul(weights.ref).sum());
      };
      return [fx, x.ref.sub(grad(phi)(x).mul(alpha)), y];
    });
    let [x, y] = [np.array(start), np.array(start)];
    const next = () => {
      const [f, nextX, nextY] = step(x, y, centres.ref, row.ref);
      [x, y] = [nextX, nextY];
      return f;
    };
    return {
      run: () => settle([next(), x.ref, y.ref]),
      async read() {
        const first = [];
        for (let i = 0; i < checked; i++) first.push((await next().data())[0]);
        return first;
      },
      dispose() {
        for (const a of [x, y, centres, row]) a.dispose();
        step.dispose();
      },
    };
  }

  /** Forward and backward: gradients of ⟨attention(q, k, v), dy⟩. */
  function attentionForwardBackward(inputs, shapes, params) {
    const x = inputs.map((data, i) => np.array(data, { shape: shapes[i] }));
    const product = (q, k, v, dy) => attention([q, k, v], params).mul(dy).sum();
    const compiled = jit(grad(product, { argnums: [0, 1, 2] }));
    const call = () => compiled(...x.map((a) => a.ref));
    return {
      run: () => settle(call()),
      async read() {
        const gradients = [];
        for (const g of call()) gradients.push([...(await g.data())]);
        return gradients.flat();
      },
      dispose() {
        for (const a of x) a.dispose();
        compiled.dispose();
      },
    };
  }

  return {
    matmul: op(([a, b]) => np.matmul(a, b)),
    softmax: op(([x]) => nn.softmax(x, -1)),
    layernorm: op(layernorm),
    gelu: op(([x]) => nn.gelu(x)),
    add: op(([a, b]) => np.add(a, b)),
    exp: op(([x]) => np.exp(x)),
    attention: op(attention),
    conv2d: op(convolution),
    depthwise: op(convolution),
    step_mlp: stepMlp,
    step_foops: stepFoops,
    attention_fwd_bwd: attentionForwardBackward,
  };
}
