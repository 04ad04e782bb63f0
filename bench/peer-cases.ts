// What tilegrad is compared on. A case whose kernel is not in the registry is not offered.
import type { Suite } from "../core/contract.ts";
import { steps } from "./steps/index.ts";
import { type InputShapes, inputsPoint, type Point } from "./subject.ts";

/** What a peer is asked for: an operation by name, the shapes of its inputs, options. */
export interface Problem {
  readonly op: string;
  readonly inputs: readonly (readonly number[])[];
  readonly params?: Readonly<Record<string, number | string>>;
}

/** A case as a peer does it and as tilegrad does it. */
export interface PeerCase {
  readonly name: string;
  readonly problem: Problem;
  readonly point: Point;
}

interface Entry extends Omit<InputShapes, "source" | "before"> {
  readonly name: string;
  readonly op: string;
  /** Where a peer writes the same inputs with other extents. */
  readonly theirs?: Problem["inputs"];
  /** The kernel, by name, that our input goes through beforehand. */
  readonly before?: Omit<NonNullable<InputShapes["before"]>, "kernel"> & {
    readonly kernel: string;
  };
}

const product = (m: number, k: number, n: number, name: string): Entry => ({
  name,
  op: "matmul",
  kernel: "matmul",
  inputs: [
    [m, k],
    [k, n],
  ],
});
const packed = (entry: Entry): Entry => ({
  ...entry,
  name: `${entry.name} packed`,
  kernel: "matmul_packed",
  before: { input: 1, kernel: "pack_b" },
});
const elementwise = (op: string, inputs: number, n: number): Entry => ({
  name: `${op} ${n}`,
  op,
  kernel: op,
  inputs: new Array(inputs).fill([n]),
});
const heads = [1, 8, 1024, 64];
const attention = (name: string, causal: number): Entry => ({
  name,
  op: "attention",
  kernel: "attention",
  inputs: [heads, heads, heads],
  params: { causal },
});
const image = [1, 64, 64, 64];
const convolution: Entry = {
  name: "conv 3x3",
  op: "conv2d",
  kernel: "conv2d",
  inputs: [image, [64, 64, 3, 3]],
  params: { pad: 1 },
};

const entries: readonly Entry[] = [
  ...[256, 512, 1024, 127, 255, 257].map((n) => product(n, n, n, `matmul ${n}`)),
  product(1000, 1000, 7, "matmul 1000x1000x7"),
  product(1, 4096, 4096, "GEMV 4096"),
  packed(product(1, 4096, 4096, "GEMV 4096")),
  product(64, 4096, 4096, "matmul 64x4096x4096"),
  packed(product(64, 4096, 4096, "matmul 64x4096x4096")),
  { name: "softmax 1024", op: "softmax", kernel: "softmax", inputs: [[1024, 1024]] },
  {
    name: "layernorm 1024",
    op: "layernorm",
    kernel: "layernorm",
    inputs: [[1024, 1024], [1024], [1024]],
  },
  elementwise("gelu", 1, 1 << 20),
  elementwise("add", 2, 1 << 20),
  elementwise("add", 2, 1 << 24),
  elementwise("exp", 1, 1 << 20),
  attention("attention 1024", 0),
  attention("attention 1024 causal", 1),
  convolution,
  {
    ...convolution,
    name: "conv 3x3 Winograd",
    kernel: "conv2d_winograd",
    params: { pad: 1, tile: "4" },
    before: { input: 1, kernel: "winograd_filter", params: { tile: "4" } },
  },
  {
    name: "depthwise 3x3",
    op: "depthwise",
    kernel: "depthwise_conv2d",
    inputs: [image, [64, 3, 3]],
    theirs: [image, [64, 1, 3, 3]],
    params: { pad: 1 },
  },
];

export function peerCases(suites: readonly Suite[]): PeerCase[] {
  const kernelOf = (name: string) => suites.find((s) => s.kernel.spec.name === name);
  const kernels = entries.flatMap(({ name, op, theirs, before, ...shapes }): PeerCase[] => {
    const suite = kernelOf(shapes.kernel);
    const first = before && kernelOf(before.kernel);
    if (!suite || (before && !first)) return [];
    const { inputs, params } = shapes;
    const prepared = before && first ? { before: { ...before, kernel: first.kernel } } : {};
    return [
      {
        name,
        problem: { op, inputs: theirs ?? inputs, ...(params ? { params } : {}) },
        point: inputsPoint(suite, { ...shapes, ...prepared, source: "peers", plain: true }),
      },
    ];
  });
  return [...kernels, ...steps];
}

/** What is compared on WebGPU, by name. */
const GPU_CASES = [
  ...["matmul 256", "matmul 512", "matmul 1024", "softmax 1024", "layernorm 1024", "conv 3x3"],
  ...["attention 1024", "attention 1024 backward"],
];
export const gpuCases = (suites: readonly Suite[]): PeerCase[] =>
  peerCases(suites).filter((c) => GPU_CASES.includes(c.name));
