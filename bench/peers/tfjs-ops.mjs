// Operations of TensorFlow.js, on any of its backends.

export function operations(tf) {
  /** The content of a tensor that f makes, read in the way that every backend has. */
  const data = async (f) => {
    const y = tf.tidy(f);
    const content = await y.data();
    y.dispose();
    return content;
  };

  /** Inputs as tensors, once; each run makes an output and drops it. */
  const op = (f) => (inputs, shapes, params) => {
    const x = inputs.map((data, i) => tf.tensor(data, shapes[i]));
    return {
      run: () => tf.tidy(() => void f(x, params)),
      read: () => data(() => f(x, params)),
      dispose: () => tf.dispose(x),
    };
  };

  const layernorm = ([x, weight, bias]) => {
    const { mean, variance } = tf.moments(x, -1, true);
    return tf.add(tf.mul(tf.mul(tf.sub(x, mean), tf.rsqrt(tf.add(variance, 1e-5))), weight), bias);
  };

  const gelu = ([x]) => {
    const inner = tf.mul(0.7978845608028654, tf.add(x, tf.mul(0.044715, tf.mul(x, tf.mul(x, x)))));
    return tf.mul(tf.mul(0.5, x), tf.add(1, tf.tanh(inner)));
  };

  const attend = ([q, k, v], bias) => {
    const scores = tf.mul(tf.matMul(q, k, false, true), 1 / Math.sqrt(q.shape[3]));
    return tf.matMul(tf.softmax(bias ? tf.add(scores, bias) : scores), v);
  };

  function attention(inputs, shapes, { causal }) {
    const S = shapes[0][2];
    const bias = causal
      ? tf.tensor(
          Float32Array.from({ length: S * S }, (_, i) => (i % S > Math.floor(i / S) ? -1e9 : 0)),
          [S, S],
        )
      : undefined;
    return op((x) => attend(x, bias))(inputs, shapes);
  }

  /** Forward and backward by tf.grads. */
  function attentionForwardBackward(inputs, shapes) {
    const [q, k, v, dy] = inputs.map((data, i) => tf.tensor(data, shapes[i]));
    const gradients = tf.grads((...x) => attend(x));
    return {
      run: () => tf.tidy(() => void gradients([q, k, v], dy)),
      read: () => data(() => tf.concat(gradients([q, k, v], dy).map((g) => tf.reshape(g, [-1])))),
      dispose: () => tf.dispose([q, k, v, dy]),
    };
  }

  /** Its convolutions take NHWC; the data is turned around before and after, outside the time. */
  const nhwc = (convolve, filter) => (inputs, shapes) => {
    const [x, w] = inputs.map((data, i) => tf.tensor(data, shapes[i]));
    const kept = [tf.transpose(x, [0, 2, 3, 1]), tf.transpose(w, filter)];
    tf.dispose([x, w]);
    return {
      run: () => tf.tidy(() => void convolve(...kept)),
      read: () => data(() => tf.transpose(convolve(...kept), [0, 3, 1, 2])),
      dispose: () => tf.dispose(kept),
    };
  };

  /** Forward, backward and SGD by tf.train; the loss is not waited for while timing. */
  function stepMlp([x, ...weights], [xShape, ...shapes], { lr, scale, checked }) {
    const input = tf.tensor(x, xShape);
    const rows = xShape[0];
    const classes = shapes[3][0];
    const labels = tf.oneHot(
      tf.tensor1d(
        Int32Array.from({ length: rows }, (_, i) => i % classes),
        "int32",
      ),
      classes,
    );
    const [w1, b1, w2, b2] = weights.map((data, i) =>
      tf.variable(
        tf.tensor(
          data.map((v) => scale * v),
          shapes[i],
        ),
      ),
    );
    const optimizer = tf.train.sgd(lr);
    const loss = () => {
      const h = tf.relu(tf.add(tf.matMul(input, w1), b1));
      return tf.losses.softmaxCrossEntropy(labels, tf.add(tf.matMul(h, w2), b2));
    };
    return {
      run: () => void optimizer.minimize(loss),
      async read() {
        const losses = [];
        for (let i = 0; i < checked; i++)
          losses.push((await data(() => optimizer.minimize(loss, true)))[0]);
        return losses;
      },
      dispose: () => tf.dispose([input, labels, w1, b1, w2, b2]),
    };
  }

  return {
    matmul: op(([a, b]) => tf.matMul(a, b)),
    softmax: op(([x]) => tf.softmax(x)),
    layernorm: op(layernorm),
    gelu: op(gelu),
    add: op(([a, b]) => tf.add(a, b)),
    exp: op(([x]) => tf.exp(x)),
    attention,
    conv2d: nhwc((x, w) => tf.conv2d(x, w, 1, "same"), [2, 3, 1, 0]),
    depthwise: nhwc((x, w) => tf.depthwiseConv2d(x, w, 1, "same"), [2, 3, 0, 1]),
    step_mlp: stepMlp,
    attention_fwd_bwd: attentionForwardBackward,
  };
}
