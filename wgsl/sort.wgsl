//! use index
//! use merge
//! use order
// Order within rows: the argsort first, by merging lists of indices between `index` and scratch, so that it
// ends in `index`; then the elements in its order.
struct P { R: u32, C: u32, descending: u32 }
@group(0) @binding(0) var<storage, read_write> y: array<f32>;     // (R,C)
@group(0) @binding(1) var<storage, read_write> index: array<u32>; // (R,C)
@group(0) @binding(2) var<storage, read> x: array<f32>;           // (R,C)
@group(0) @binding(3) var<uniform> p: P;
// Width of the lists before an even and before an odd pass, then the other list of indices.
@group(0) @binding(4) var<storage, read_write> scratch: array<u32>; // 2 + (R,C)

fn item(side: u32, at: u32) -> u32 {
  if (side == 0u) { return index[at]; }
  return scratch[2u + at];
}
fn put_item(side: u32, at: u32, v: u32) {
  if (side == 0u) { index[at] = v; } else { scratch[2u + at] = v; }
}
fn item_key(row: u32, i: u32) -> u32 {
  return key_of(x[row * p.C + i], p.descending);
}

// Where the lists are before the first pass.
fn first_side() -> u32 {
  return merge_levels(p.C) & 1u;
}

@compute @workgroup_size(64)
fn sort_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let t = linear_index(w, g, l);
  if (t == 0u) { scratch[0] = BLOCK; }
  sort_block(t, first_side(), p.R, p.C);
}

@compute @workgroup_size(64)
fn sort_merge_even(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let t = linear_index(w, g, l);
  let width = scratch[0];
  if (t == 0u) { scratch[1] = 2u * width; }
  merge_pass(t, first_side(), width, p.R, p.C);
}

@compute @workgroup_size(64)
fn sort_merge_odd(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let t = linear_index(w, g, l);
  let width = scratch[1];
  if (t == 0u) { scratch[0] = 2u * width; }
  merge_pass(t, 1u - first_side(), width, p.R, p.C);
}

@compute @workgroup_size(64)
fn sort_take(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i >= p.R * p.C) { return; }
  y[i] = x[i / p.C * p.C + index[i]];
}

var<workgroup> words: array<vec2u, 1024>;

// Sorts 1024 elements of a row in workgroup memory by bitonic merges (Batcher 1968): BLOCK is 1024.
@compute @workgroup_size(256)
fn sort_f32__workgroup(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let id = w.y * g.x + w.x;
  let blocks = max(1u, (p.C + 1023u) / 1024u);
  let row = id / blocks;
  let first = (id % blocks) * 1024u;
  if (id == 0u && l == 0u) { scratch[0] = BLOCK; }
  for (var k = l; k < 1024u; k += 256u) {
    words[k] = vec2u(0xffffffffu);
    if (row < p.R) { words[k] = first_word(row, first + k, p.C); }
  }
  for (var size = 2u; size <= 1024u; size <<= 1u) {
    for (var step = size >> 1u; step > 0u; step >>= 1u) {
      workgroupBarrier();
      for (var t = l; t < 512u; t += 256u) {
        let k = 2u * t - (t & (step - 1u));
        let a = words[k];
        let b = words[k + step];
        if (is_after(a, b) == ((k & size) == 0u)) {
          words[k] = b;
          words[k + step] = a;
        }
      }
    }
  }
  workgroupBarrier();
  if (row >= p.R) { return; }
  for (var k = l; k < min(1024u, p.C - first); k += 256u) {
    put_item(first_side(), row * p.C + first + k, words[k].y);
  }
}
