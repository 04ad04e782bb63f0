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

  const tokenOf = (u, n) => Math.floor(((u + 1) / 2) * n);
  const oneHot = (tokens, n) => {
    const x = new Float32Array(tokens.length * n);
    tokens.forEach((v, i) => {
      x[i * n + v] = 1;
    });
    return x;
  };

  /**
   * Case I of algorithms/safety-capability at λ = 1 by Adam: `logits` of trained and fixed arrays, then
   * one-hot answers of task and proxy. Answers with f_f before each step.
   */
  function twoSources(logits, trained, fixed, target, { lr, beta1, beta2, eps, checked }) {
    const each = target.shape[0] / 2;
    const objective = (p, c, y) => {
      const nll = nn
        .logSoftmax(logits(p, c), -1)
        .mul(y)
        .sum(1)
        .mul(-1 / each);
      const F = nll.reshape([2, each]).sum(1);
      return [F.ref.sum().mul(0.5), F];
    };
    const step = jit((p, m, v, t, c, y) => {
      const again = p.map((w) => w.ref);
      const [[, F], g] = valueAndGrad(objective, { hasAux: true })(p, c, y);
      const rest = (b) =>
        np
          .exp(t.ref.mul(Math.log(b)))
          .mul(-1)
          .add(1);
      const [first, second] = [rest(beta1), rest(beta2)];
      const moved = again.map((w, i) => {
        const nextM = m[i].mul(beta1).add(g[i].ref.mul(1 - beta1));
        const nextV = v[i].mul(beta2).add(np.square(g[i]).mul(1 - beta2));
        const size = np.sqrt(nextV.ref.div(second.ref)).add(eps);
        return [w.sub(nextM.ref.div(first.ref).div(size).mul(lr)), nextM, nextV];
      });
      return [F, ...[0, 1, 2].map((k) => moved.map((a) => a[k])), t.add(1)];
    });
    const zeros = () => trained.map((w) => np.zeros(w.shape));
    let [p, m, v, t] = [trained, zeros(), zeros(), np.array(1)];
    const next = () => {
      const again = fixed.map((a) => a.ref);
      const [F, ...state] = step(p, m, v, t, again, target.ref);
      [p, m, v, t] = state;
      return F;
    };
    return {
      run: () => settle([next(), ...[p, m, v].flat().map((a) => a.ref)]),
      async read() {
        const losses = [];
        for (let i = 0; i < checked; i++) losses.push((await next().data())[0]);
        return losses;
      },
      dispose() {
        for (const a of [p, m, v, fixed].flat()) a.dispose();
        t.dispose();
        target.dispose();
        step.dispose();
      },
    };
  }

  /** S3's network. */
  function stepSafetyNetwork([prompts, answers, ...weights], [size, , ...shapes], params) {
    const { vocabulary, scale } = params;
    const [rows, places] = size;
    const x = oneHot(
      Array.from(prompts, (u) => tokenOf(u, params.prompts)),
      vocabulary,
    );
    const y = oneHot(
      Array.from(answers, (u) => tokenOf(u, vocabulary)),
      vocabulary,
    );
    const parameters = weights.map((w, i) =>
      np.array(
        w.map((u) => scale * u),
        { shape: shapes[i] },
      ),
    );
    const logits = ([w1, b1, w2, b2], [input]) =>
      np
        .matmul(nn.relu(np.matmul(input, w1).add(b1)), w2)
        .add(b2)
        .reshape([answers.length, vocabulary]);
    return twoSources(
      logits,
      parameters,
      [np.array(x, { shape: [rows, places * vocabulary] })],
      np.array(y, { shape: [answers.length, vocabulary] }),
      params,
    );
  }

  /** S4's transformer: A and B of each product learn. */
  function stepSafetyLora([stream, ...weights], [[rows, long], ...shapes], params) {
    const { layers, heads, groups, alpha, rank, scale, answer, norm, theta } = params;
    const [vocabulary, width] = shapes[0];
    const [size, depth] = [long - 1, width / heads];
    const products = ["q", "k", "v", "o", "gate", "up", "down"];
    const names = Array.from({ length: layers }, (_, i) => products.map((n) => `${i}.${n}`)).flat();
    const gains = 2 * layers + 1;
    const frozen = 2 + names.length + gains;
    const arrays = weights.map((w, i) => {
      const one = i >= frozen - gains && i < frozen ? 1 : 0;
      return np.array(
        w.map((u) => scale * u + one),
        { shape: shapes[i] },
      );
    });
    const at = (row, k) => tokenOf(stream[row * long + k], vocabulary);
    const grid = (n, from) =>
      Array.from({ length: rows * n }, (_, i) => at(Math.floor(i / n), from + (i % n)));
    const input = np.array(oneHot(grid(size, 0), vocabulary), { shape: [rows * size, vocabulary] });
    const target = np.array(oneHot(grid(answer, long - answer), vocabulary), {
      shape: [rows * answer, vocabulary],
    });
    const half = depth / 2;
    const angle = (i) => Math.floor(i / depth) * theta ** ((-2 * (i % half)) / depth);
    const table = (f) =>
      np.array(
        Float32Array.from({ length: size * depth }, (_, i) => f(angle(i))),
        { shape: [size, 1, depth] },
      );
    const turned = new Float32Array(depth * depth);
    for (let i = 0; i < half; i++) {
      turned[(i + half) * depth + i] = -1;
      turned[i * depth + i + half] = 1;
    }
    const quarter = np.array(turned, { shape: [depth, depth] });
    // its own attention goes by way of einsum, which Node 20 does not run
    const hidden = Float32Array.from({ length: size * size }, (_, i) =>
      i % size > Math.floor(i / size) ? -1e30 : 0,
    );
    const constant = np.array(hidden, { shape: [size, size] });
    const turns = [table(Math.cos), table(Math.sin), quarter, constant];
    const fixed = [...arrays.slice(0, frozen), input, ...turns];
    const logits = (low, constants) => {
      const base = constants.slice(0, frozen);
      const [one, cos, sin, quarter, mask] = constants.slice(frozen);
      const [embedding, positions] = base;
      const gain = base.slice(frozen - gains);
      let normed = 0;
      const normalise = (x) => {
        const rstd = np.sqrt(np.square(x.ref).mean(-1, { keepdims: true }).add(norm));
        return x.div(rstd).mul(gain[normed++]);
      };
      const linear = (x, name) => {
        const k = names.indexOf(name);
        const [a, b] = [low[2 * k], low[2 * k + 1]];
        const wide = np.matmul(x.ref, base[2 + k]);
        return wide.add(np.matmul(np.matmul(x, a), b).mul(alpha / rank));
      };
      const split = (x, n) => x.reshape([rows, size, n, depth]);
      const turn = (x) => x.ref.mul(cos.ref).add(np.matmul(x, quarter.ref).mul(sin.ref));
      const repeat = (x) =>
        np
          .repeat(x.reshape([rows, size, groups, 1, depth]), heads / groups, 3)
          .reshape([rows, size, heads, depth]);
      let x = np
        .matmul(one, embedding.ref)
        .reshape([rows, size, width])
        .add(positions)
        .reshape([rows * size, width]);
      for (let i = 0; i < layers; i++) {
        const h = normalise(x.ref);
        const q = turn(split(linear(h.ref, `${i}.q`), heads));
        const k = repeat(turn(split(linear(h.ref, `${i}.k`), groups)));
        const v = repeat(split(linear(h, `${i}.v`), groups));
        const scores = np
          .matmul(np.transpose(q, [0, 2, 1, 3]), np.transpose(k, [0, 2, 3, 1]))
          .mul(depth ** -0.5)
          .add(mask.ref);
        const o = np
          .transpose(np.matmul(nn.softmax(scores, -1), np.transpose(v, [0, 2, 1, 3])), [0, 2, 1, 3])
          .reshape([rows * size, width]);
        x = x.add(linear(o, `${i}.o`));
        const n = normalise(x.ref);
        const gate = nn.silu(linear(n.ref, `${i}.gate`));
        x = x.add(linear(gate.mul(linear(n, `${i}.up`)), `${i}.down`));
      }
      const last = normalise(x)
        .reshape([rows, size, width])
        .slice([], [size - answer, size]);
      return np.matmul(last.reshape([rows * answer, width]), np.transpose(embedding));
    };
    return twoSources(logits, arrays.slice(frozen), fixed, target, params);
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
    step_safety_network: stepSafetyNetwork,
    step_safety_lora: stepSafetyLora,
    attention_fwd_bwd: attentionForwardBackward,
  };
}
