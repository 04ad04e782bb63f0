//! use params
//! use quads
// 16×16 elements of dw a quad, as in matmul__subgroups.wgsl: s[c][d] of a lane is the sum of its row for column
// 4c + (lane ^ d). The quads of the first rows write dz and db, a lane the columns that it loads.
@compute @workgroup_size(64)
fn matmul_bwd_params_f32__quads(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let across = (p.N + 15u) / 16u;
  let down = max(1u, (p.K + 15u) / 16u);
  let quad = linear_index(w, g, l) / 4u;
  let lane = l & 3u;
  let i = min(quad, down * across - 1u);
  let n = i % across * 16u;
  let k = i / across * 16u + lane;
  let R = select(p.R, 0u, quad > i);
  let fours = vec4u(0u, 4u, 8u, 12u);
  let own = vec4u(n + lane) + fours;
  let columns = min(own, vec4u(p.N - 1u));
  let rows = min(vec4u(k) + fours, vec4u(max(p.K, 1u) - 1u));
  // As a loop's bound: stores that no lane of a vector makes are not even tried.
  let first = select(0u, 1u, quad < across);
  var s0 = mat4x4f();
  var s1 = mat4x4f();
  var s2 = mat4x4f();
  var s3 = mat4x4f();
  var sum = vec4f();
  for (var r = 0u; r < R; r++) {
    let d = cotangents(columns + r * p.N);
    let v = all_turned(d);
    let x = rows + r * p.K;
    s0 += a[x.x] * v;
    s1 += a[x.y] * v;
    s2 += a[x.z] * v;
    s3 += a[x.w] * v;
    sum += d;
    for (var once = 0u; once < first; once++) {
      let o = own + r * p.N;
      if (own.x < p.N) { dz[o.x] = d.x; }
      if (own.y < p.N) { dz[o.y] = d.y; }
      if (own.z < p.N) { dz[o.z] = d.z; }
      if (own.w < p.N) { dz[o.w] = d.w; }
    }
  }
  if (quad > i) { return; }
  for (var once = 0u; once < first; once++) {
    put_db(own.x, sum.x);
    put_db(own.y, sum.y);
    put_db(own.z, sum.z);
    put_db(own.w, sum.w);
  }
  var s = array<mat4x4f, 4>(s0, s1, s2, s3);
  for (var j = 0u; j < 64u; j++) {
    put_dw(k + j / 16u * 4u, n + (j & 12u) + ((j & 3u) ^ lane), s[j / 16u][(j / 4u) & 3u][j & 3u]);
  }
}
