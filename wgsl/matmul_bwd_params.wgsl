//! use params
// dz = dy ∘ act'(y), dw = alpha · aᵀ·dz and db = Σ dz: a 4×4 block of dw a thread. The threads of its first rows
// write dz and db, too.
@compute @workgroup_size(64)
fn matmul_bwd_params_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  let across = (p.N + 3u) / 4u;
  let down = max(1u, (p.K + 3u) / 4u);
  if (i >= down * across) { return; }
  let n = i % across * 4u;
  let k = i / across * 4u;
  let offsets = vec4u(0u, 1u, 2u, 3u);
  let columns = min(vec4u(n) + offsets, vec4u(p.N - 1u));
  let rows = min(vec4u(k) + offsets, vec4u(max(p.K, 1u) - 1u));
  let first = k == 0u;
  var s0 = vec4f();
  var s1 = vec4f();
  var s2 = vec4f();
  var s3 = vec4f();
  var sum = vec4f();
  for (var r = 0u; r < p.R; r++) {
    let v = cotangents(columns + r * p.N);
    let x = rows + r * p.K;
    s0 += a[x.x] * v;
    s1 += a[x.y] * v;
    s2 += a[x.z] * v;
    s3 += a[x.w] * v;
    sum += v;
    if (first) {
      for (var c = 0u; c < min(4u, p.N - n); c++) { dz[r * p.N + n + c] = v[c]; }
    }
  }
  for (var c = 0u; c < 4u; c++) {
    put_dw(k, n + c, s0[c]);
    put_dw(k + 1u, n + c, s1[c]);
    put_dw(k + 2u, n + c, s2[c]);
    put_dw(k + 3u, n + c, s3[c]);
    if (first) { put_db(n + c, sum[c]); }
  }
}
