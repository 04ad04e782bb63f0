//! use math
// Fourier transform of rows, N a power of two: one workgroup a row. The input goes to the output in
// bit-reversed order, then log₂ N passes of butterflies of radix 2 run there in place.
struct P { R: u32, N: u32, present: u32, inverse: u32, norm: u32 }
@group(0) @binding(0) var<storage, read_write> yr: array<f32>; // (R,N)
@group(0) @binding(1) var<storage, read_write> yi: array<f32>; // (R,N)
@group(0) @binding(2) var<storage, read> xr: array<f32>;       // (R,N)
@group(0) @binding(3) var<storage, read> xi: array<f32>;       // (R,N), optional
@group(0) @binding(4) var<uniform> p: P;

const TURN = 6.283185307179586;

@compute @workgroup_size(256)
fn fft_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let row = w.y * g.x + w.x;
  if (row >= p.R) { return; }
  let o = row * p.N;
  let n = f32(p.N);
  // norm 0: factor of the inverse; 1: of the forward transform; 2: of both.
  var f = select(1.0 / n, 1.0, (p.norm == 1u) == (p.inverse == 1u));
  if (p.norm == 2u) { f = 1.0 / sqrt(n); }
  let unused = countLeadingZeros(p.N) + 1u;
  for (var i = l; i < p.N; i += 256u) {
    // Of N = 1 all bits are unused, and a shift by 32 is no shift.
    let j = select(reverseBits(i) >> (unused & 31u), 0u, p.N == 1u);
    yr[o + j] = f * xr[o + i];
    yi[o + j] = select(0.0, f * xi[select(0u, o + i, p.present == 1u)], p.present == 1u);
  }
  let sign = select(-1.0, 1.0, p.inverse == 1u);
  for (var half = 1u; half < p.N; half <<= 1u) {
    storageBarrier();
    for (var t = l; t < p.N / 2u; t += 256u) {
      let k = t & (half - 1u);
      let a = o + 2u * t - k;
      let b = a + half;
      let angle = TURN * f32(k) / f32(2u * half);
      let c = cos_f(angle);
      let s = sign * sin_f(angle);
      let r = yr[b] * c - yi[b] * s;
      let m = yr[b] * s + yi[b] * c;
      yr[b] = yr[a] - r;
      yi[b] = yi[a] - m;
      yr[a] += r;
      yi[a] += m;
    }
  }
}
