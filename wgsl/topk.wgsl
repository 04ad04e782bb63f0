//! use index
//! use merge
//! use order
// The k first of each row: radix select (Alabi et al. 2012) finds the key of the last of them, a byte a
// pass; what is before it, and the first of its equals, are the k, which are then put in order.
struct P { R: u32, K: u32, C: u32, k: u32 }
// Holds the indices of the k until they are in order.
@group(0) @binding(0) var<storage, read_write> values: array<u32>; // (R,K)
@group(0) @binding(1) var<storage, read_write> index: array<u32>;  // (R,K)
@group(0) @binding(2) var<storage, read> x: array<f32>;            // (R,C)
@group(0) @binding(3) var<uniform> p: P;
// A row: how often each byte occurs, what is known of the key, and the equals in each CHUNK of the row.
@group(0) @binding(4) var<storage, read_write> rows: array<atomic<u32>>; // (R, HEAD + ⌈C/CHUNK⌉)

const CHUNK = 256u;
// After the 256 counts: bytes of the key so far; how many; those of them that belong to the k; those found.
const KEY = 256u;
const BYTES = 257u;
const WANTED = 258u;
const FOUND = 259u;
const HEAD = 260u;

fn key_at(row: u32, i: u32) -> u32 {
  return key_of(x[row * p.C + i], LARGEST);
}
fn row_of(row: u32) -> u32 {
  return row * (HEAD + (p.C + CHUNK - 1u) / CHUNK);
}

@compute @workgroup_size(64)
fn topk_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let t = linear_index(w, g, l);
  if (t >= p.R * HEAD) { return; }
  atomicStore(&rows[row_of(t / HEAD) + t % HEAD], select(0u, p.K, t % HEAD == WANTED));
}

// Counts the next byte of the keys that begin with those known, 16 elements a thread.
@compute @workgroup_size(64)
fn topk_count(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let id = w.y * g.x + w.x;
  let blocks = max(1u, (p.C + 1023u) / 1024u);
  let row = id / blocks;
  if (row >= p.R) { return; }
  let o = row_of(row);
  let bytes = atomicLoad(&rows[o + BYTES]);
  let known = atomicLoad(&rows[o + KEY]);
  let shift = 24u - 8u * bytes;
  let first = (id % blocks) * 1024u + l;
  for (var i = first; i < min(first + 1024u, p.C); i += 64u) {
    let key = key_at(row, i) >> shift;
    // Of the first byte nothing is known, and key >> 8 is 0.
    if ((key >> 8u) == known) { atomicAdd(&rows[o + (key & 255u)], 1u); }
  }
}

// The byte of the last of the k: a thread a row. Leaves the counts at 0.
@compute @workgroup_size(64)
fn topk_pick(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = linear_index(w, g, l);
  if (row >= p.R) { return; }
  let o = row_of(row);
  let wanted = atomicLoad(&rows[o + WANTED]);
  var before = 0u;
  var byte = 0u;
  var left = 0u;
  var found = false;
  for (var i = 0u; i < 256u; i++) {
    let n = atomicLoad(&rows[o + i]);
    atomicStore(&rows[o + i], 0u);
    if (!found && before + n >= wanted) {
      found = true;
      byte = i;
      left = wanted - before;
    }
    before += n;
  }
  atomicStore(&rows[o + WANTED], left);
  atomicStore(&rows[o + KEY], (atomicLoad(&rows[o + KEY]) << 8u) | byte);
  atomicAdd(&rows[o + BYTES], 1u);
}

// How many equals of the last of the k are in each chunk.
@compute @workgroup_size(64)
fn topk_tally(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let t = linear_index(w, g, l);
  let chunks = (p.C + CHUNK - 1u) / CHUNK;
  if (t >= p.R * chunks) { return; }
  let row = t / chunks;
  let chunk = t % chunks;
  let last = atomicLoad(&rows[row_of(row) + KEY]);
  var n = 0u;
  for (var i = chunk * CHUNK; i < min((chunk + 1u) * CHUNK, p.C); i++) {
    if (key_at(row, i) == last) { n++; }
  }
  atomicStore(&rows[row_of(row) + HEAD + chunk], n);
}

// Those before it in any order, then its equals in theirs.
@compute @workgroup_size(64)
fn topk_collect(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let t = linear_index(w, g, l);
  let chunks = (p.C + CHUNK - 1u) / CHUNK;
  if (t >= p.R * chunks) { return; }
  let row = t / chunks;
  let chunk = t % chunks;
  let o = row_of(row);
  let last = atomicLoad(&rows[o + KEY]);
  let wanted = atomicLoad(&rows[o + WANTED]);
  var equals = 0u;
  if (atomicLoad(&rows[o + HEAD + chunk]) > 0u) {
    for (var c = 0u; c < chunk; c++) { equals += atomicLoad(&rows[o + HEAD + c]); }
  }
  for (var i = chunk * CHUNK; i < min((chunk + 1u) * CHUNK, p.C); i++) {
    let key = key_at(row, i);
    if (key < last) {
      values[row * p.K + atomicAdd(&rows[o + FOUND], 1u)] = i;
    } else if (key == last) {
      if (equals < wanted) { values[row * p.K + p.K - wanted + equals] = i; }
      equals++;
    }
  }
}

// Each of the k counts those before it, and so knows its place.
@compute @workgroup_size(64)
fn topk_rank(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let t = linear_index(w, g, l);
  if (t >= p.R * p.K) { return; }
  let row = t / p.K;
  let mine = vec2u(key_at(row, values[t]), values[t]);
  var before = 0u;
  for (var j = row * p.K; j < (row + 1u) * p.K; j++) {
    if (is_after(mine, vec2u(key_at(row, values[j]), values[j]))) { before++; }
  }
  index[row * p.K + before] = mine.y;
}

@compute @workgroup_size(64)
fn topk_take(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let t = linear_index(w, g, l);
  if (t >= p.R * p.K) { return; }
  values[t] = bitcast<u32>(x[t / p.K * p.C + index[t]]);
}

// Short rows: each element counts those before it.
@compute @workgroup_size(64)
fn topk_f32__short(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let t = linear_index(w, g, l);
  if (t >= p.R * p.C) { return; }
  let row = t / p.C;
  let i = t % p.C;
  let mine = vec2u(key_at(row, i), i);
  var before = 0u;
  for (var j = 0u; j < p.C; j++) {
    if (is_after(mine, vec2u(key_at(row, j), j))) { before++; }
  }
  if (before >= p.K) { return; }
  values[row * p.K + before] = bitcast<u32>(x[t]);
  index[row * p.K + before] = i;
}

// Many of a row: all of it is sorted, as in sort.wgsl, with both lists of indices in scratch.
@group(0) @binding(4) var<storage, read_write> scratch: array<u32>; // 2 + 2 (R,C)

fn item(side: u32, at: u32) -> u32 {
  return scratch[2u + side * p.R * p.C + at];
}
fn put_item(side: u32, at: u32, v: u32) {
  scratch[2u + side * p.R * p.C + at] = v;
}
fn item_key(row: u32, i: u32) -> u32 {
  return key_at(row, i);
}

@compute @workgroup_size(64)
fn topk_f32__sorted(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let t = linear_index(w, g, l);
  if (t == 0u) { scratch[0] = BLOCK; }
  sort_block(t, 0u, p.R, p.C);
}

@compute @workgroup_size(64)
fn topk_merge_even(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let t = linear_index(w, g, l);
  let width = scratch[0];
  if (t == 0u) { scratch[1] = 2u * width; }
  merge_pass(t, 0u, width, p.R, p.C);
}

@compute @workgroup_size(64)
fn topk_merge_odd(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let t = linear_index(w, g, l);
  let width = scratch[1];
  if (t == 0u) { scratch[0] = 2u * width; }
  merge_pass(t, 1u, width, p.R, p.C);
}

@compute @workgroup_size(64)
fn topk_take_sorted(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let t = linear_index(w, g, l);
  if (t >= p.R * p.K) { return; }
  let row = t / p.K;
  let i = item(merge_levels(p.C) & 1u, row * p.C + t % p.K);
  index[t] = i;
  values[t] = bitcast<u32>(x[row * p.C + i]);
}
