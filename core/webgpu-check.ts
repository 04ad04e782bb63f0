import type { Backend } from "./backend.ts";
import { inout, inp, linear, prepare, type Spec, u32 } from "./contract.ts";
import { detached, type Tensor } from "./tensor.ts";

/** Pairs of words: how many indices were outside, and 2^32 − 1 − the position of the first. */
const SLOTS = 4096;

const source = /* wgsl */ `//# core/webgpu-check.ts:11
struct P { S: u32, N: u32, limit: u32, slot: u32 }
@group(0) @binding(0) var<storage, read_write> slots: array<atomic<u32>>; // (S)
@group(0) @binding(1) var<storage, read> index: array<i32>;              // (N)
@group(0) @binding(2) var<uniform> p: P;
@compute @workgroup_size(64)
fn check_indices_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = (w.y * g.x + w.x) * 64u + l;
  if (i >= p.N) { return; }
  let v = index[i];
  if (v >= 0 && u32(v) < p.limit) { return; }
  atomicAdd(&slots[2u * p.slot], 1u);
  atomicMax(&slots[2u * p.slot + 1u], 0xffffffffu - i);
}
`;

/** Counts what is outside 0 … limit − 1: no kernel of the library, a look of the backend's own. */
const spec: Spec = {
  name: "check_indices",
  family: "indexing",
  args: [inout("slots", "S", "u32"), inp("index", "N", "i32")],
  params: { limit: u32(), slot: u32() },
  ref: () => {},
  cost: ({ N }) => ({ flops: 0, bytes: 4 * N }),
  webgpu: [{ source, grid: ({ N }) => linear(N) }],
};

/** One place where indices are looked at, and the pair of words it counts in. */
export interface IndexCheck {
  readonly spec: Spec;
  readonly arg: string;
  readonly limit: number;
  readonly slot: number;
}

export const slotsOf = (be: Backend): Tensor => be.tensor([2 * SLOTS], undefined, "u32");

/** What is beyond the last slot goes unseen: four thousand kernels between two reads. */
export function dispatchCheck(
  be: Backend,
  slots: Tensor,
  index: Tensor,
  { limit, slot }: IndexCheck,
): void {
  if (slot >= SLOTS) return;
  const flat = detached(() => index.reshape([index.size]));
  be.dispatch(prepare(spec, [slots, flat], { limit, slot })[1]);
  flat.dispose();
}
