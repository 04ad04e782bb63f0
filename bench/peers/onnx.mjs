// Just enough of ONNX to build models of a few nodes: its protobuf, written by hand.

const text = new TextEncoder();

function varint(n) {
  const bytes = [];
  for (let v = BigInt.asUintN(64, BigInt(n)); ; v >>= 7n) {
    if (v < 128n) return [...bytes, Number(v)];
    bytes.push(Number(v & 127n) | 128);
  }
}

/** A field of a message: numbers as varints, strings and messages with their length. */
function field(number, value) {
  if (typeof value === "number" || typeof value === "bigint") {
    return Uint8Array.from([...varint(number << 3), ...varint(value)]);
  }
  const body = typeof value === "string" ? text.encode(value) : value;
  return concat([Uint8Array.from([...varint((number << 3) | 2), ...varint(body.length)]), body]);
}

function concat(parts) {
  const whole = new Uint8Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

const FLOAT = 1;

/** An attribute: a whole number, a number marked {float}, a string, or a list of whole numbers. */
function attribute(name, value) {
  const typed = (code, ...fields) => concat([field(1, name), ...fields, field(20, code)]);
  if (Array.isArray(value)) return typed(7, ...value.map((v) => field(8, v)));
  if (typeof value === "string") return typed(3, field(4, value));
  if (typeof value === "object") {
    const bits = new Uint8Array(Float32Array.of(value.float).buffer);
    return typed(1, concat([Uint8Array.from(varint((2 << 3) | 5)), bits]));
  }
  return typed(2, field(3, value));
}

/** `{op, inputs, outputs, attributes, domain}` */
const node = ({ op, inputs, outputs, attributes = {}, domain = "" }) =>
  concat([
    ...inputs.map((name) => field(1, name)),
    ...outputs.map((name) => field(2, name)),
    field(4, op),
    ...Object.entries(attributes).map(([name, value]) => field(5, attribute(name, value))),
    ...(domain ? [field(7, domain)] : []),
  ]);

const initializer = (name, shape, data) =>
  concat([
    ...shape.map((extent) => field(1, extent)),
    field(2, FLOAT),
    field(8, name),
    field(9, new Uint8Array(data.buffer, data.byteOffset, data.byteLength)),
  ]);

function valueInfo(name, shape) {
  const dims = shape.map((extent) => field(1, field(1, extent)));
  const tensor = concat([field(1, FLOAT), ...(shape.length ? [field(2, concat(dims))] : [])]);
  return concat([field(1, name), field(2, field(1, tensor))]);
}

/**
 * A model. `inputs` and `output` give shapes by name, `constants` shape and data by name: those are
 * known to the library beforehand, which may pack them.
 */
export function model({ nodes, inputs, output: [name, shape], constants = {}, opset = 20 }) {
  const graph = concat([
    ...nodes.map((n) => field(1, node(n))),
    field(2, "bench"),
    ...Object.entries(constants).map(([n, c]) => field(5, initializer(n, c.shape, c.data))),
    ...Object.entries(inputs).map(([n, s]) => field(11, valueInfo(n, s))),
    field(12, valueInfo(name, shape)),
  ]);
  const microsoft = concat([field(1, "com.microsoft"), field(2, 1)]);
  return concat([field(1, 9), field(7, graph), field(8, field(2, opset)), field(8, microsoft)]);
}
