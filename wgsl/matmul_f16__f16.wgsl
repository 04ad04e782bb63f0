//! use halves
// The words as vectors of four halves, for rows that are whole ones.
@group(0) @binding(2) var<storage, read> b: array<vec4<f16>>; // (K,N/4)

fn four_halves(k: u32, n: u32) -> vec4f {
  return vec4f(b[(k * p.N + n) / 4u]);
}

@compute @workgroup_size(64)
fn matmul_f16_f32__f16(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  block_of_halves(linear_index(w, g, l));
}
