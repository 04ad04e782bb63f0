// Where the time of a kernel goes: what the roof allows, what the host takes, what ragged edges and
// packing cost. What cannot be measured is estimated, and every part says which it is.
import type { Backend } from "../core/backend.ts";
import { type Case, type Dims, resolveCase, type Suite, shapeOf } from "../core/contract.ts";
import { idlePoint } from "./overheads.ts";
import { bandwidthFor, measureRoof } from "./roof.ts";
import type { Watch } from "./run.ts";
import { casePoint, type Measured, measure } from "./subject.ts";
import { percentile, type TimerOptions } from "./timer.ts";

/** Edges are compared with extents that are multiples of this: the widest register tile's columns. */
const TILE = 8;

export interface Part {
  readonly us: number;
  readonly how: "measured" | "estimated";
}

export interface Explained {
  readonly shape: string;
  readonly flops: number;
  readonly bytes: number;
  /** FLOP a byte. */
  readonly intensity: number;
  readonly binds: "FLOP" | "memory";
  readonly roof_us: number;
  readonly p50_us: number;
  readonly dispatch: Part;
  /** Against the rate at the next multiples of 8; undefined where all extents are that already. */
  readonly edges?: Part & { readonly at: string };
  /** Of kernels with scratch: their inputs written and read once more. */
  readonly packing?: Part;
}

const micro = (m: Measured): number => percentile(m.seconds, 50) * 1e6;

export async function explain(
  backend: Backend,
  suites: readonly Suite[],
  suite: Suite,
  options: TimerOptions,
  watch: Watch,
): Promise<Explained[]> {
  const { spec } = suite.kernel;
  const progress = (done: number, total: number) => watch.progress("roofs", done, total);
  const roof = await measureRoof(backend, watch.signal, progress);
  const empty = micro(await measure(idlePoint(1), backend, options));
  const cases = suite.bench();
  const found: Explained[] = [];
  for (const [i, c] of cases.entries()) {
    watch.progress(spec.name, i, cases.length);
    const m = await measure(casePoint(suite, c), backend, options);
    const { flops, bytes } = m.cost;
    const compute = flops / roof.flopsPerSecond;
    const memory = bytes / bandwidthFor(roof, m.memory);
    const edges = await edgesOf(backend, suite, c, m, options);
    const packing = await packingOf(m, c);
    found.push({
      shape: m.shape,
      flops,
      bytes,
      intensity: flops / bytes,
      binds: compute > memory ? "FLOP" : "memory",
      roof_us: Math.max(compute, memory) * 1e6,
      p50_us: micro(m),
      dispatch: { us: empty, how: "measured" },
      ...(edges ? { edges } : {}),
      ...(packing ? { packing } : {}),
    });
  }
  watch.progress(spec.name, cases.length, cases.length);
  return found;

  async function packingOf(m: Measured, c: Case): Promise<Part | undefined> {
    const { dims, runs, params } = resolveCase(spec, c);
    if (backend.name !== "wasm" || !spec.wasm?.scratch?.(dims, params)) return undefined;
    const sibling = await packedSibling(m, dims);
    if (sibling) return { us: Math.max(0, micro(m) - micro(sibling)), how: "measured" };
    const inputs = spec.args.filter((a) => a.role === "in");
    const size = (shape: readonly number[]) => shape.reduce((n, extent) => n * extent, 4);
    const moved = 2 * inputs.reduce((n, a) => n + size(shapeOf(a, dims, runs, params)), 0);
    return {
      us: (moved / bandwidthFor(roof, { footprint: moved, written: 0.5 })) * 1e6,
      how: "estimated",
    };
  }

  /**
   * The same product over operands packed before: a kernel `<name>…packed` with a bench shape of as much
   * arithmetic, in which the extents that both contracts name are equal.
   */
  async function packedSibling(m: Measured, dims: Dims): Promise<Measured | undefined> {
    const sibling = suites.find(({ kernel }) => {
      const { name } = kernel.spec;
      return name.startsWith(spec.name) && /packed/.test(name) && backend.supports(kernel.spec);
    });
    const twin = sibling?.bench().find((other) => {
      const { dims: its, params } = resolveCase(sibling.kernel.spec, other);
      const alike = Object.keys(its).every((name) => !(name in dims) || its[name] === dims[name]);
      return alike && sibling.kernel.spec.cost(its, params).flops === m.cost.flops;
    });
    return sibling && twin && measure(casePoint(sibling, twin), backend, options);
  }
}

/** What the shape loses against the rate of the next multiples of the tile. */
async function edgesOf(
  backend: Backend,
  suite: Suite,
  c: Case,
  m: Measured,
  options: TimerOptions,
): Promise<Explained["edges"]> {
  const up = (n: number) => (n <= 1 ? n : Math.ceil(n / TILE) * TILE);
  const dims = Object.fromEntries(
    Object.entries(c.dims).map(([name, v]) => [
      name,
      typeof v === "number" ? up(v) : v.map((n, i) => (i === v.length - 1 ? up(n) : n)),
    ]),
  );
  if (JSON.stringify(dims) === JSON.stringify(c.dims)) return undefined;
  try {
    const even = await measure(casePoint(suite, { ...c, dims }), backend, options);
    const work = ({ cost }: Measured) => cost.flops || cost.bytes;
    const us = Math.max(0, micro(m) - micro(even) * (work(m) / work(even)));
    return { us, how: "measured", at: even.shape };
  } catch {
    // extents that hang together, such as those of a broadcast
    return undefined;
  }
}
