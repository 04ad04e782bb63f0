//! use halves
//! use optional
// Halves, two to a word: products with them, and their conversion. That is integer code, for pack2x16float may
// round as it likes, and both builtins may take subnormal halves for 0.
@group(0) @binding(2) var<storage, read> words: array<u32>; // (K,W)

fn four_halves(k: u32, n: u32) -> vec4f {
  let at = k * p.W + n / 2u;
  return vec4f(unpack2x16float(words[at]), unpack2x16float(words[min(at + 1u, p.K * p.W - 1u)]));
}

@compute @workgroup_size(64)
fn matmul_f16_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  block_of_halves(linear_index(w, g, l));
}

// One row: neighbouring threads take neighbouring words, 64 of them by 4 parts of K.
var<workgroup> gemv_part: array<vec2f, 256>;

@compute @workgroup_size(256)
fn matmul_f16_f32__gemv(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let word = (w.y * g.x + w.x) * 64u + l % 64u;
  var s = vec2f();
  for (var k = l / 64u; k < p.K; k += 4u) {
    s += a[k] * unpack2x16float(words[k * p.W + min(word, p.W - 1u)]);
  }
  gemv_part[l] = s;
  workgroupBarrier();
  if (l >= 64u || word >= p.W) { return; }
  s = gemv_part[l] + gemv_part[l + 64u] + gemv_part[l + 128u] + gemv_part[l + 192u];
  put_y(0u, 2u * word, s.x);
  put_y(0u, 2u * word + 1u, s.y);
}

// One row on a CPU adapter, where what counts is the number of loads: four words a thread for one of a, sixteen
// neighbours for four threads, which are the lanes of a vector.
@compute @workgroup_size(64)
fn matmul_f16_f32__row(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let first = (w.y * g.x + w.x) * 256u + l / 4u * 16u + l % 4u;
  let o = min(vec4u(first) + vec4u(0u, 4u, 8u, 12u), vec4u(p.W - 1u));
  var s0 = vec4f();
  var s1 = vec4f();
  for (var k = 0u; k < p.K; k++) {
    let x = a[k];
    let q = o + k * p.W;
    s0 += x * vec4f(unpack2x16float(words[q.x]), unpack2x16float(words[q.y]));
    s1 += x * vec4f(unpack2x16float(words[q.z]), unpack2x16float(words[q.w]));
  }
  var s = array<vec4f, 2>(s0, s1);
  for (var i = 0u; i < 4u; i++) {
    let word = first + i * 4u;
    put_y(0u, 2u * word, s[i / 2u][2u * (i % 2u)]);
    put_y(0u, 2u * word + 1u, s[i / 2u][2u * (i % 2u) + 1u]);
  }
}

struct PP { R: u32, W: u32, N: u32 }
@group(0) @binding(0) var<storage, read_write> packed: array<u32>; // (R,W)
@group(0) @binding(1) var<storage, read> x: array<u32>;            // (R,N), the bits
@group(0) @binding(2) var<uniform> pp: PP;

// Nearest, ties to even: what is cut off, less half a unit of what stays, plus that unit's own bit, carries or not.
fn half_of(bits: u32) -> u32 {
  let sign = (bits >> 16u) & 0x8000u;
  let v = bits & 0x7fffffffu;
  if (v > 0x7f800000u) { return 0x7e00u; }
  if (v >= 0x47800000u) { return sign | 0x7c00u; }
  if (v >= 0x38800000u) { return sign | ((v + 0xfffu + ((v >> 13u) & 1u) - 0x38000000u) >> 13u); }
  // Subnormal, units of 2^-24; below half of one it is 0.
  let e = v >> 23u;
  if (e < 102u) { return sign; }
  let m = (v & 0x7fffffu) | 0x800000u;
  let s = 126u - e;
  return sign | ((m + (1u << (s - 1u)) - 1u + ((m >> s) & 1u)) >> s);
}

@compute @workgroup_size(64)
fn pack_f16_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i >= pp.R * pp.W) { return; }
  let n = i % pp.W * 2u;
  let at = i / pp.W * pp.N + n;
  var word = half_of(x[at]);
  if (n + 1u < pp.N) { word |= half_of(x[at + 1u]) << 16u; }
  packed[i] = word;
}

struct PU { R: u32, N: u32, W: u32, n: u32, beta: f32 }
@group(0) @binding(1) var<storage, read> packed_in: array<u32>; // (R,W)
@group(0) @binding(2) var<uniform> pu: PU;

fn value_of(half: u32) -> f32 {
  let sign = (half & 0x8000u) << 16u;
  let e = (half >> 10u) & 31u;
  let m = half & 1023u;
  if (e == 0u) { return bitcast<f32>(bitcast<u32>(f32(m) * 5.9604644775390625e-8) | sign); }
  return bitcast<f32>(sign | (m << 13u) | select((e + 112u) << 23u, 0x7f800000u, e == 31u));
}

@compute @workgroup_size(64)
fn unpack_f16_f32(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) g: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = linear_index(w, g, l);
  if (i >= pu.R * pu.N) { return; }
  let n = i % pu.N;
  let v = value_of((packed_in[i / pu.N * pu.W + n / 2u] >> (16u * (n & 1u))) & 0xffffu);
  if (adds(pu.beta)) { y[i] = pu.beta * y[i] + v; } else { y[i] = v; }
}
