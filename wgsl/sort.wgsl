// Order within rows: a thread an element, which counts the elements of its row that come before it and
// so knows its place. Keys are compared as integers; they pass through workgroup memory 64 at a time.
struct P { R: u32, C: u32, descending: u32 }
@group(0) @binding(0) var<storage, read_write> y: array<f32>;     // (R,C), topk (R,K)
@group(0) @binding(1) var<storage, read_write> index: array<i32>; // (R,C), topk (R,K)
@group(0) @binding(2) var<storage, read> x: array<f32>;           // (R,C)
@group(0) @binding(3) var<uniform> p: P;

var<workgroup> keys: array<u32, 64>;

const ASCENDING = 0u;
const DESCENDING = 1u;
const LARGEST = 2u; // descending, and NaN before all others

// Orders as the numbers do, with -0 as 0; NaN after all others.
fn key_of(v: f32, mode: u32) -> u32 {
  var bits = bitcast<u32>(v);
  if ((bits & 0x7fffffffu) > 0x7f800000u) { return select(0xffffffffu, 0u, mode == LARGEST); }
  if (bits == 0x80000000u) { bits = 0u; }
  let key = select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
  return select(~key, key, mode == ASCENDING);
}

// A workgroup's row, and the first of its elements in it.
struct Place { row: u32, first: u32 }
fn place(w: vec3u, g: vec3u, C: u32) -> Place {
  let id = w.y * g.x + w.x;
  let blocks = max(1u, (C + 63u) / 64u);
  return Place(id / blocks, (id % blocks) * 64u);
}

// How many elements of the row come before this thread's. All threads must call it.
fn before(at: Place, R: u32, C: u32, l: u32, mode: u32) -> u32 {
  let o = select(0u, at.row, at.row < R) * C;
  let i = at.first + l;
  let mine = key_of(x[o + min(i, C - 1u)], mode);
  var n = 0u;
  for (var t = 0u; t < C; t += 64u) {
    workgroupBarrier();
    keys[l] = key_of(x[o + min(t + l, C - 1u)], mode);
    workgroupBarrier();
    for (var j = 0u; j < min(64u, C - t); j++) {
      let k = keys[j];
      if (k < mine || (k == mine && t + j < i)) { n++; }
    }
  }
  return n;
}

@compute @workgroup_size(64)
fn sort_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let at = place(w, g, p.C);
  let to = before(at, p.R, p.C, l, select(ASCENDING, DESCENDING, p.descending == 1u));
  let i = at.first + l;
  if (at.row >= p.R || i >= p.C) { return; }
  y[at.row * p.C + to] = x[at.row * p.C + i];
  index[at.row * p.C + to] = i32(i);
}

struct PK { R: u32, K: u32, C: u32, k: u32 }
@group(0) @binding(3) var<uniform> pk: PK;

@compute @workgroup_size(64)
fn topk_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let at = place(w, g, pk.C);
  let to = before(at, pk.R, pk.C, l, LARGEST);
  let i = at.first + l;
  if (at.row >= pk.R || i >= pk.C || to >= pk.K) { return; }
  y[at.row * pk.K + to] = x[at.row * pk.C + i];
  index[at.row * pk.K + to] = i32(i);
}
