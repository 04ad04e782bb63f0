// Shapes beside those of the contracts: what the papers' networks run, sizes for the charts, and
// ones drawn anew each time, so that nothing is tuned to a list.
import type { Case, Suite } from "../core/contract.ts";
import { resolveCase } from "../core/contract.ts";
import { casePoint, type InputShapes, inputsPoint, type Point } from "./subject.ts";
import { uniform } from "./uniform.ts";

const paperShapes: readonly InputShapes[] = [
  {
    kernel: "matmul",
    inputs: [
      [8, 512],
      [512, 128],
    ],
    source: "analog residual learning: CNN, 512-128 head, batch 8",
  },
  {
    kernel: "softmax_bwd",
    inputs: [
      [128, 10],
      [128, 10],
    ],
    source: "analog residual learning: digits, batch 128",
  },
  {
    kernel: "matmul",
    inputs: [
      [128, 144],
      [144, 4],
    ],
    source: "FOOPS: multi-task MLP 144-4-{10,10}, batch 128",
  },
  {
    kernel: "matmul",
    inputs: [
      [64, 256],
      [256, 64],
    ],
    source: "safety-capability: one-hot 256-64, batch 64",
  },
  {
    kernel: "softmax",
    inputs: [[16, 50257]],
    source: "DistiLLM-2: GPT-2 vocabulary, 16 rows of logits",
  },
  {
    kernel: "rmsnorm",
    inputs: [[1024, 768], [768]],
    source: "DistiLLM-2: GPT-2 width, 1,024 tokens",
  },
  {
    kernel: "matmul",
    inputs: [
      [64, 384],
      [384, 128],
    ],
    source: "ReTreever: MiniLM 384 to 128, batch 64",
  },
  {
    kernel: "layernorm",
    inputs: [[16384, 48], [48], [48]],
    source: "CAT-AIR: 128² pixels of width 48",
  },
  {
    kernel: "silu",
    inputs: [[4, 320, 32, 32]],
    source: "PSDM: first level of the UNet, latent 32²",
  },
  {
    kernel: "matmul",
    inputs: [
      [256, 256],
      [256, 256],
    ],
    params: { act: "silu" },
    source: "SDAC: hidden layer of the critic, batch 256",
  },
];

const squares = [16, 32, 48, 64, 96, 128, 192, 256, 264, 384, 512, 768, 1024];
const lengths = Array.from({ length: 8 }, (_, i) => 2 ** (10 + 2 * i));

/** What the charts show over size. */
const seriesShapes: readonly InputShapes[] = [
  ...squares.map((n) => ({
    kernel: "matmul",
    inputs: [
      [n, n],
      [n, n],
    ],
    source: "series",
  })),
  ...lengths.map((n) => ({ kernel: "add", inputs: [[n], [n]], source: "series" })),
  ...lengths.map((n) => ({
    kernel: "adamw",
    inputs: [[n], [n], [n], [n]],
    params: { lr: 1e-3, t: 1 },
    source: "series",
  })),
  ...lengths.map((n) => ({
    kernel: "uniform",
    inputs: [[n]],
    params: { seed: 1 },
    source: "series",
  })),
  ...[64, 128, 256, 512, 1024, 2048].map((s) => ({
    kernel: "attention",
    inputs: [
      [1, 8, s, 64],
      [1, 8, s, 64],
      [1, 8, s, 64],
    ],
    source: "series",
  })),
];

const points = (suites: readonly Suite[], shapes: readonly InputShapes[]): Point[] =>
  shapes.flatMap((c) => {
    const suite = suites.find((s) => s.kernel.spec.name === c.kernel);
    return suite ? [inputsPoint(suite, c)] : [];
  });

export const paperPoints = (suites: readonly Suite[]) => points(suites, paperShapes);
export const seriesPoints = (suites: readonly Suite[]) => points(suites, seriesShapes);

/** `count` points from a seed: bench shapes with every extent stretched or shrunk at random. */
export function randomPoints(suites: readonly Suite[], seed: number, count: number): Point[] {
  const next = uniform(seed);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)];
  const found: Point[] = [];
  for (let tries = 0; suites.length > 0 && found.length < count && tries < 50 * count; tries++) {
    const suite = pick(suites);
    const bench = suite.bench();
    if (bench.length === 0) continue;
    const { dims, params, with: given } = pick(bench);
    const drawn: Case = {
      dims: Object.fromEntries(Object.entries(dims).map(([name, v]) => [name, stretched(v, next)])),
      ...(params ? { params } : {}),
      ...(given ? { with: given } : {}),
      source: `random, seed ${seed}`,
    };
    if (fits(suite, drawn)) found.push(casePoint(suite, drawn));
  }
  return found;
}

/** An extent, or each axis of a run, times 1/2 … 2. */
function stretched(v: number | readonly number[], next: () => number): number | number[] {
  const one = (n: number) => (n <= 1 ? n : Math.max(1, Math.round(n * 2 ** (2 * next() - 1))));
  return typeof v === "number" ? one(v) : v.map(one);
}

/** Whether the contract takes these extents: broadcasts and groups do not stretch freely. */
function fits(suite: Suite, c: Case): boolean {
  const { spec } = suite.kernel;
  try {
    const { dims, params } = resolveCase(spec, c);
    const has = (name: string) =>
      spec.args.some((a) => a.name === name && (a.role !== "opt" || c.with?.includes(name)));
    return !spec.check?.(dims, params, has);
  } catch {
    return false;
  }
}
