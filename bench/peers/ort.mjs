// ONNX Runtime, web and native: the same models, one node each where it has the operator.
import { model } from "./onnx.mjs";

const inference = () => {
  throw new Error("inference only, it does not train");
};

/**
 * Inputs are fed and the output fetched at every run: the copies are part of its time. Unless `place`,
 * given data and shape, makes a tensor that lies on the device, and outputs stay there by the options.
 */
export function operations(ort, options, place) {
  const run = async (spec, feeds) => {
    const session = await ort.InferenceSession.create(model(spec), options);
    const tensor = place ?? ((data, shape) => new ort.Tensor("float32", data, shape));
    const given = Object.fromEntries(
      Object.entries(feeds).map(([name, [data, shape]]) => [name, tensor(data, shape)]),
    );
    const [name] = spec.output;
    return {
      copies: !place,
      run: async () => (await session.run(given))[name].dispose(),
      read: async () => (await session.run(given))[name].getData(true),
      dispose: async () => {
        await session.release?.();
        for (const t of Object.values(given)) t.dispose();
      },
    };
  };

  /** One node over inputs a, b, … */
  const single =
    (op, more = {}) =>
    (data, shapes, params) => {
      const {
        attributes = {},
        domain,
        constants = [],
        output = () => shapes[0],
      } = typeof more === "function" ? more(shapes, params) : more;
      const names = data.map((_, i) => "abcdef"[i]);
      const fixed = names.filter((_, i) => constants.includes(i));
      const fed = names.filter((_, i) => !constants.includes(i));
      const at = (name) => names.indexOf(name);
      return run(
        {
          nodes: [{ op, domain, attributes, inputs: names, outputs: ["y"] }],
          inputs: Object.fromEntries(fed.map((name) => [name, shapes[at(name)]])),
          constants: Object.fromEntries(
            fixed.map((name) => [name, { shape: shapes[at(name)], data: data[at(name)] }]),
          ),
          output: ["y", output(shapes)],
        },
        Object.fromEntries(fed.map((name) => [name, [data[at(name)], shapes[at(name)]]])),
      );
    };

  /** Composed over (B,H,S,D): its fused operator takes (B,S,H·D), which ours would have to be turned into. */
  const attention = (data, shapes, { causal }) => {
    const [B, H, S, D] = shapes[0];
    const mask = Float32Array.from({ length: causal ? S * S : 1 }, (_, i) =>
      causal && i % S > Math.floor(i / S) ? -1e9 : 0,
    );
    return run(
      {
        nodes: [
          { op: "Transpose", inputs: ["k"], outputs: ["kt"], attributes: { perm: [0, 1, 3, 2] } },
          { op: "MatMul", inputs: ["q", "kt"], outputs: ["s"] },
          { op: "Mul", inputs: ["s", "scale"], outputs: ["t"] },
          ...(causal ? [{ op: "Add", inputs: ["t", "mask"], outputs: ["u"] }] : []),
          { op: "Softmax", inputs: [causal ? "u" : "t"], outputs: ["p"], attributes: { axis: -1 } },
          { op: "MatMul", inputs: ["p", "v"], outputs: ["y"] },
        ],
        inputs: { q: shapes[0], k: shapes[1], v: shapes[2] },
        constants: {
          scale: { shape: [1], data: Float32Array.of(1 / Math.sqrt(D)) },
          ...(causal ? { mask: { shape: [S, S], data: mask } } : {}),
        },
        output: ["y", [B, H, S, D]],
      },
      { q: [data[0], shapes[0]], k: [data[1], shapes[1]], v: [data[2], shapes[2]] },
    );
  };

  const convolution = ([x, w], { pad }) => ({
    attributes: { group: x[1] / w[1], pads: [pad, pad, pad, pad], kernel_shape: w.slice(2) },
    // weights are known beforehand in a network
    constants: [1],
    output: () => [x[0], w[0], x[2], x[3]],
  });

  return {
    // A row times a matrix is a layer's weights: known beforehand, packed by the library.
    matmul: single("MatMul", ([a, b]) => ({
      constants: a[0] < 128 && b[0] * b[1] > 1 << 22 ? [1] : [],
      output: () => [a[0], b[1]],
    })),
    softmax: single("Softmax", { attributes: { axis: -1 } }),
    layernorm: single("LayerNormalization", {
      attributes: { axis: -1, epsilon: { float: 1e-5 } },
      constants: [1, 2],
    }),
    gelu: single("Gelu", { attributes: { approximate: "tanh" } }),
    add: single("Add"),
    exp: single("Exp"),
    attention,
    conv2d: single("Conv", convolution),
    depthwise: single("Conv", convolution),
    step_mlp: inference,
    attention_fwd_bwd: inference,
  };
}
