//! use index
//! use activation
//! use optional
// y (R,N) = beta·y + act(alpha · A·B + bias), B of halves; the file that uses this says how four of a row are read.
struct PM { R: u32, N: u32, K: u32, W: u32, present: u32, alpha: f32, act: u32, n: u32, beta: f32 }
@group(0) @binding(0) var<storage, read_write> y: array<f32>; // (R,N)
@group(0) @binding(1) var<storage, read> a: array<f32>;       // (R,K)
@group(0) @binding(3) var<storage, read> bias: array<f32>;    // (N)
@group(0) @binding(4) var<uniform> p: PM;

fn put_y(row: u32, n: u32, sum: f32) {
  if (n >= p.N) { return; }
  var v = p.alpha * sum;
  if (has(p.present)) { v += bias[n]; }
  v = activate(p.act, v);
  let at = row * p.N + n;
  if (adds(p.beta)) { y[at] = p.beta * y[at] + v; } else { y[at] = v; }
}

// A 4×4 block a thread. Rows past the last repeat it, and like columns past the last are not stored.
fn block_of_halves(i: u32) {
  let across = (p.N + 3u) / 4u;
  if (i >= across * ((p.R + 3u) / 4u)) { return; }
  let n = i % across * 4u;
  let r = i / across * 4u;
  var ia = min(vec4u(r) + vec4u(0u, 1u, 2u, 3u), vec4u(p.R - 1u)) * p.K;
  var s0 = vec4f();
  var s1 = vec4f();
  var s2 = vec4f();
  var s3 = vec4f();
  for (var k = 0u; k < p.K; k++) {
    let v = four_halves(k, n);
    s0 += a[ia.x] * v;
    s1 += a[ia.y] * v;
    s2 += a[ia.z] * v;
    s3 += a[ia.w] * v;
    ia += vec4u(1u);
  }
  let sums = array<vec4f, 4>(s0, s1, s2, s3);
  for (var d = 0u; d < min(4u, p.R - r); d++) {
    for (var c = 0u; c < 4u; c++) { put_y(r + d, n + c, sums[d][c]); }
  }
}
