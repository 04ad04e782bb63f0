// The roofs of a backend: how many FLOP and how many bytes a second this machine manages when a
// loop does nothing else. Written as contracts, so that they run and are timed like any kernel.
import type { Backend } from "../core/backend.ts";
import {
  type AnyKernel,
  defineKernel,
  f32,
  inp,
  invoke,
  linear,
  out,
  u32,
} from "../core/contract.ts";
import type { Memory } from "./subject.ts";
import { percentile, type TimerOptions, time } from "./timer.ts";

const TILE = 4096;

/** FLOP of one tile and iteration of `roof_flops`; each backend runs as wide as suits it. */
const FLOPS = { ref: 8, wasm: 96, webgpu: 256 * 32 };

const FLOPS_WGSL = `
struct P { T: u32, iterations: u32, factor: f32, shift: f32 }
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@group(0) @binding(1) var<uniform> p: P;
@compute @workgroup_size(256)
fn roof_flops_f32(@builtin(workgroup_id) w: vec3u, @builtin(local_invocation_index) l: u32) {
  let a = vec4f(p.factor);
  let b = vec4f(p.shift);
  var x0 = vec4f(f32(l));
  var x1 = x0 + b;
  var x2 = x1 + b;
  var x3 = x2 + b;
  for (var i = 0u; i < p.iterations; i++) {
    x0 = fma(x0, a, b);
    x1 = fma(x1, a, b);
    x2 = fma(x2, a, b);
    x3 = fma(x3, a, b);
  }
  let s = x0 + x1 + x2 + x3;
  if (s.x + s.y + s.z + s.w != 0.0 && l == 0u) { y[w.x] = s.x; }
}`;

const COPY_WGSL = `
struct P { T: u32 }
@group(0) @binding(0) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<uniform> p: P;
@compute @workgroup_size(256)
fn roof_copy_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = (w.x + w.y * g.x) * 256u + l;
  if (i < p.T * 1024u) { y[i] = x[i]; }
}`;

const FILL_WGSL = `
struct P { T: u32 }
@group(0) @binding(0) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(1) var<uniform> p: P;
@compute @workgroup_size(256)
fn roof_fill_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = (w.x + w.y * g.x) * 256u + l;
  if (i < p.T * 1024u) { y[i] = vec4f(1.0); }
}`;

const READ_WGSL = `
struct P { T: u32 }
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<uniform> p: P;
@compute @workgroup_size(256)
fn roof_read_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let tile = w.x + w.y * g.x;
  if (tile >= p.T) { return; }
  let at = tile * 1024u + l;
  let s = x[at] + x[at + 256u] + x[at + 512u] + x[at + 768u];
  // every element counts, but hardly any thread writes
  if (s.x + s.y + s.z + s.w != 0.0) { y[tile] = s.x; }
}`;

const tiles = { tiles: ({ T }: Record<string, number>) => T };

const roof_flops = defineKernel({
  name: "roof_flops",
  family: "roof",
  args: [out("y", "T")],
  params: { iterations: u32(), factor: f32(0.999), shift: f32(0.001) },
  ref: ({ y }, { T }, { iterations, factor, shift }) => {
    for (let t = 0; t < T; t++) {
      let [a, b, c, d] = [t, t + 1, t + 2, t + 3];
      for (let i = 0; i < iterations; i++) {
        a = a * factor + shift;
        b = b * factor + shift;
        c = c * factor + shift;
        d = d * factor + shift;
      }
      y[t] = a + b + c + d;
    }
  },
  cost: ({ T }, { iterations }) => ({ flops: FLOPS.wasm * T * iterations, bytes: 4 * T }),
  webgpu: [{ source: FLOPS_WGSL, grid: ({ T }) => [T] }],
  wasm: tiles,
});

/** Next to nothing to do, and yet worth sharing among threads: what is left is the call. */
export const roof_idle = defineKernel({
  ...roof_flops.spec,
  name: "roof_idle",
  args: [out("y", "T")],
  cost: () => ({ flops: 1 << 20, bytes: 0 }),
  webgpu: [{ source: FLOPS_WGSL, entry: "roof_flops_f32", grid: ({ T }) => [T] }],
  wasm: { ...tiles, export: "roof_flops_f32" },
});

const roof_copy = defineKernel({
  name: "roof_copy",
  family: "roof",
  args: [out("y", `T ${TILE}`), inp("x", `T ${TILE}`)],
  ref: ({ y, x }) => {
    for (let i = 0; i < x.length; i++) y[i] = x[i];
  },
  cost: ({ T }) => ({ flops: 0, bytes: 8 * TILE * T }),
  webgpu: [{ source: COPY_WGSL, grid: ({ T }) => linear(T * 1024, 256) }],
  wasm: tiles,
});

const roof_fill = defineKernel({
  name: "roof_fill",
  family: "roof",
  args: [out("y", `T ${TILE}`)],
  ref: ({ y }) => void y.fill(1),
  cost: ({ T }) => ({ flops: 0, bytes: 4 * TILE * T }),
  webgpu: [{ source: FILL_WGSL, grid: ({ T }) => linear(T * 1024, 256) }],
  wasm: tiles,
});

const roof_read = defineKernel({
  name: "roof_read",
  family: "roof",
  args: [out("y", "T"), inp("x", `T ${TILE}`)],
  ref: ({ y, x }, { T }) => {
    for (let t = 0; t < T; t++) {
      for (let i = t * TILE; i < (t + 1) * TILE; i++) y[t] += x[i];
    }
  },
  cost: ({ T }) => ({ flops: 0, bytes: 4 * TILE * T }),
  webgpu: [{ source: READ_WGSL, grid: ({ T }) => linear(T, 1) }],
  wasm: tiles,
});

/** Bytes a second over a working set of so many bytes. */
export interface Bandwidth {
  readonly footprint: number;
  /** Nothing but reading, reading and writing as much, nothing but writing. */
  readonly read: number;
  readonly copy: number;
  readonly fill: number;
}

export interface Roof {
  readonly flopsPerSecond: number;
  /** By growing working set: through the caches and out to memory. */
  readonly bandwidth: readonly Bandwidth[];
}

/** 32 KiB … 128 MiB. */
const FOOTPRINTS = Array.from({ length: 13 }, (_, i) => 2 ** (15 + i));

/** Many short looks: the best of them counts, so that none has to be a good one. */
const LOOK = { minSamples: 10, maxSeconds: 0.03, settle: 0.03 };

export async function measureRoof(
  backend: Backend,
  signal: AbortSignal,
  progress: (done: number, total: number) => void,
): Promise<Roof> {
  const options = { ...LOOK, signal };
  const total = 1 + FOOTPRINTS.length;
  progress(0, total);
  const flopsPerSecond = await flopsRoof(backend, options);
  const bandwidth: Bandwidth[] = [];
  for (const footprint of FOOTPRINTS) {
    progress(1 + bandwidth.length, total);
    const of = (kernel: AnyKernel) => sweep(backend, kernel, footprint, options);
    const [read, copy, fill] = [await of(roof_read), await of(roof_copy), await of(roof_fill)];
    bandwidth.push({ footprint, read, copy, fill });
  }
  progress(total, total);
  return { flopsPerSecond, bandwidth };
}

/** Doubles the work until the machine is full, which a GPU is late and a single thread at once. */
async function flopsRoof(backend: Backend, options: TimerOptions): Promise<number> {
  const iterations = 1024;
  let best = 0;
  for (let tiles = 16; tiles <= 16384; tiles *= 4) {
    const y = backend.empty([tiles]);
    const call = invoke(roof_flops.spec, [y], { iterations });
    const seconds = percentile(await time(call, backend, options), 10);
    y.dispose();
    const rate = (tiles * iterations * FLOPS[backend.name]) / seconds;
    const grew = rate > best * 1.1;
    best = Math.max(best, rate);
    if (!grew || seconds > 0.05) break;
  }
  return best;
}

async function sweep(
  backend: Backend,
  { spec }: AnyKernel,
  footprint: number,
  options: TimerOptions,
): Promise<number> {
  const whole = spec.args.filter((a) => a.shape !== "T").length;
  const tiles = footprint / (4 * TILE * whole);
  const given = spec.args.map((a) => backend.tensor(a.shape === "T" ? [tiles] : [tiles, TILE]));
  const call = invoke(spec, given, {});
  const seconds = percentile(await time(call, backend, options), 10);
  for (const t of given) t.dispose();
  return spec.cost(call.dims, {}).bytes / seconds;
}

/**
 * The bandwidth that a kernel over this much memory is held against: between the two nearest working
 * sets, and by the share of its traffic that it writes between reading, copying and filling. A larger
 * set that went faster counts for the smaller ones too: there, launches cost more than the sweep.
 */
export function bandwidthFor(roof: Roof, { footprint, written }: Memory): number {
  const best = roof.bandwidth.map((_, i) =>
    Math.max(...roof.bandwidth.slice(i).map((b) => mixed(b, written))),
  );
  const last = best.length - 1;
  const at = Math.log2(footprint / roof.bandwidth[0].footprint);
  if (at <= 0) return best[0];
  if (at >= last) return best[last];
  const i = Math.floor(at);
  return best[i] + (at - i) * (best[i + 1] - best[i]);
}

/** Times of the parts add up, so it is the time of a byte that is interpolated. */
function mixed({ read, copy, fill }: Bandwidth, written: number): number {
  const [a, b, t] = written < 0.5 ? [read, copy, 2 * written] : [copy, fill, 2 * written - 1];
  return 1 / ((1 - t) / a + t / b);
}

/** The most of the three. */
export const peak = ({ read, copy, fill }: Bandwidth): number => Math.max(read, copy, fill);
