//! use product
//! use tiles
// The tiles of matmul.wgsl where rows of a and of b, as they are stored, are whole vectors.
@group(0) @binding(1) var<storage, read> a4: array<vec4f>; // (A,M,K/4) or (A,K,M/4)
@group(0) @binding(2) var<storage, read> b4: array<vec4f>; // (C,K,N/4) or (C,N,K/4)

// Past K zero; past the last row or column it is that again.
fn block_a(batch: u32, m: u32, k: u32) -> mat4x4f {
  if (k >= p.K) { return mat4x4f(); }
  if (p.ta != 0u) {
    let at = (start_a(batch, min(m, p.M - 4u)) + k * p.M) / 4u;
    let step = min(vec4u(k) + OFFSETS, vec4u(p.K - 1u)) - k;
    let o = at + step * (p.M / 4u);
    let inside = vec4u(k) + OFFSETS < vec4u(p.K);
    return mat4x4f(a4[o.x], select(vec4f(), a4[o.y], inside.y), select(vec4f(), a4[o.z], inside.z), select(vec4f(), a4[o.w], inside.w));
  }
  let rows = min(vec4u(m) + OFFSETS, vec4u(p.M - 1u));
  let o = (vec4u(start_a(batch, rows.x), start_a(batch, rows.y), start_a(batch, rows.z), start_a(batch, rows.w)) + k) / 4u;
  return transpose(mat4x4f(a4[o.x], a4[o.y], a4[o.z], a4[o.w]));
}

fn block_b(batch: u32, k: u32, n: u32) -> mat4x4f {
  if (k >= p.K) { return mat4x4f(); }
  if (p.tb == 0u) {
    let at = (start_b(batch, min(n, p.N - 4u)) + k * p.N) / 4u;
    let step = min(vec4u(k) + OFFSETS, vec4u(p.K - 1u)) - k;
    let o = at + step * (p.N / 4u);
    let inside = vec4u(k) + OFFSETS < vec4u(p.K);
    return mat4x4f(b4[o.x], select(vec4f(), b4[o.y], inside.y), select(vec4f(), b4[o.z], inside.z), select(vec4f(), b4[o.w], inside.w));
  }
  let columns = min(vec4u(n) + OFFSETS, vec4u(p.N - 1u));
  let o = (vec4u(start_b(batch, columns.x), start_b(batch, columns.y), start_b(batch, columns.z), start_b(batch, columns.w)) + k) / 4u;
  return transpose(mat4x4f(b4[o.x], b4[o.y], b4[o.z], b4[o.w]));
}

@compute @workgroup_size(128)
fn matmul_f32__tiles4(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let tile = tile_of(w, g);
  if (tile.batch >= p.B) { return; }
  store_tile(tile, l, tile_sums(tile, l, 0u, p.K));
}
