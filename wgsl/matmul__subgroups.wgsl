//! use product
//! use quads
@group(0) @binding(1) var<storage, read> a: array<f32>;       // (A,M,K) or (A,K,M); A is B or 1
@group(0) @binding(2) var<storage, read> b: array<f32>;       // (C,K,N) or (C,N,K); C is B or 1

fn columns_at(o: vec4u) -> mat4x4f {
  return all_turned(vec4f(b[o.x], b[o.y], b[o.z], b[o.w]));
}

// 16×16 elements a quad, a thread rows lane, lane + 4, … of them: s[c][d] is the sum for column 4c + (lane ^ d).
// The lanes of a quad go through the loop together, as they must; quads without a block do not.
@compute @workgroup_size(64)
fn matmul_f32__quads(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let across = (p.N + 15u) / 16u;
  let down = (p.M + 15u) / 16u;
  let quad = linear_index(w, g, l) / 4u;
  let lane = l & 3u;
  let i = min(quad, p.B * down * across - 1u);
  let K = select(p.K, 0u, quad > i);
  let n = i % across * 16u;
  let m = i / across % down * 16u + lane;
  let batch = i / (across * down);
  let rows = min(vec4u(m) + vec4u(0u, 4u, 8u, 12u), vec4u(p.M - 1u));
  let columns = min(vec4u(n + lane) + vec4u(0u, 4u, 8u, 12u), vec4u(p.N - 1u));
  let ia = vec4u(start_a(batch, rows.x), start_a(batch, rows.y), start_a(batch, rows.z), start_a(batch, rows.w));
  let ib = vec4u(start_b(batch, columns.x), start_b(batch, columns.y), start_b(batch, columns.z), start_b(batch, columns.w));
  let da = step_a();
  let db = step_b();
  var s0 = mat4x4f();
  var s1 = mat4x4f();
  var s2 = mat4x4f();
  var s3 = mat4x4f();
  // Two of k at a time: what is carried around the loop is loaded and stored half as often.
  for (var k = 0u; k + 1u < K; k += 2u) {
    let oa = ia + k * da;
    let next = oa + da;
    let v = columns_at(ib + k * db);
    let v1 = columns_at(ib + (k + 1u) * db);
    s0 = s0 + a[oa.x] * v + a[next.x] * v1;
    s1 = s1 + a[oa.y] * v + a[next.y] * v1;
    s2 = s2 + a[oa.z] * v + a[next.z] * v1;
    s3 = s3 + a[oa.w] * v + a[next.w] * v1;
  }
  if (K % 2u == 1u) {
    let oa = ia + (K - 1u) * da;
    let v = columns_at(ib + (K - 1u) * db);
    s0 += a[oa.x] * v;
    s1 += a[oa.y] * v;
    s2 += a[oa.z] * v;
    s3 += a[oa.w] * v;
  }
  if (quad > i) { return; }
  store_quad(batch, m, n, lane, s0);
  store_quad(batch, m + 4u, n, lane, s1);
  store_quad(batch, m + 8u, n, lane, s2);
  store_quad(batch, m + 12u, n, lane, s3);
}

fn store_quad(batch: u32, m: u32, n: u32, lane: u32, sums: mat4x4f) {
  if (m >= p.M) { return; }
  var s = sums;
  for (var j = 0u; j < 16u; j++) {
    let column = n + (j & 12u) + ((j & 3u) ^ lane);
    if (column < p.N) {
      finish((batch * p.M + m) * p.N + column, column, s[j / 4u][j & 3u], p.alpha, p.present, p.act, p.beta);
    }
  }
}
