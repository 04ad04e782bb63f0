// Plain JavaScript, as one would write it without a library: loops over Float32Array.
import { serve } from "./host.mjs";

/** An operation that leaves its result in y. */
const operation = (y, run) => ({
  run,
  read() {
    run();
    return y;
  },
});

const elementwise = (f) => (inputs) => {
  const y = new Float32Array(inputs[0].length);
  return operation(y, () => f(y, ...inputs));
};

function matmul([a, b], [[M, K], [, N]]) {
  const y = new Float32Array(M * N);
  const run = () => {
    y.fill(0);
    for (let m = 0; m < M; m++) {
      for (let k = 0; k < K; k++) {
        const v = a[m * K + k];
        for (let n = 0; n < N; n++) y[m * N + n] += v * b[k * N + n];
      }
    }
  };
  return operation(y, run);
}

function softmax([x], [[R, C]]) {
  const y = new Float32Array(R * C);
  const run = () => {
    for (let r = 0; r < R; r++) {
      let max = -Infinity;
      let sum = 0;
      for (let i = r * C; i < (r + 1) * C; i++) if (x[i] > max) max = x[i];
      for (let i = r * C; i < (r + 1) * C; i++) sum += y[i] = Math.exp(x[i] - max);
      for (let i = r * C; i < (r + 1) * C; i++) y[i] /= sum;
    }
  };
  return operation(y, run);
}

function layernorm([x, weight, bias], [[R, C]]) {
  const y = new Float32Array(R * C);
  const run = () => {
    for (let r = 0; r < R; r++) {
      let mean = 0;
      let variance = 0;
      for (let i = r * C; i < (r + 1) * C; i++) mean += x[i] / C;
      for (let i = r * C; i < (r + 1) * C; i++) variance += (x[i] - mean) ** 2 / C;
      const scale = 1 / Math.sqrt(variance + 1e-5);
      for (let c = 0; c < C; c++)
        y[r * C + c] = (x[r * C + c] - mean) * scale * weight[c] + bias[c];
    }
  };
  return operation(y, run);
}

await serve(
  { build: `js V8 ${process.versions.v8}`, backend: "js", native: false, threads: 1 },
  {
    matmul,
    softmax,
    layernorm,
    add: elementwise((y, a, b) => {
      for (let i = 0; i < y.length; i++) y[i] = a[i] + b[i];
    }),
    exp: elementwise((y, x) => {
      for (let i = 0; i < y.length; i++) y[i] = Math.exp(x[i]);
    }),
    gelu: elementwise((y, x) => {
      for (let i = 0; i < y.length; i++) {
        const v = x[i];
        y[i] = 0.5 * v * (1 + Math.tanh(0.7978845608028654 * (v + 0.044715 * v * v * v)));
      }
    }),
  },
);
