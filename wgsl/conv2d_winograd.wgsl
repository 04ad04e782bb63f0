//! use index
//! use activation
// 3×3 convolution by minimal filtering F(m×m, 3×3), m = 2 or 4: a thread a tile of m×m pixels of one
// output channel. N = m + 2 points an axis; arrays are of the larger m, rows of 6. Zeros are written out:
// in a loop a var without a value kept its old one on a software adapter.

struct P {
  B: u32, O: u32, P: u32, Q: u32, C: u32, H: u32, W: u32,
  present: u32,
  tile: u32, pad: u32, act: u32, beta: f32,
}
@group(0) @binding(0) var<storage, read_write> y: array<f32>; // (B,O,P,Q)
@group(0) @binding(1) var<storage, read> x: array<f32>;       // (B,C,H,W)
@group(0) @binding(2) var<storage, read> u: array<f32>;       // (N²,O,C)
@group(0) @binding(3) var<storage, read> bias: array<f32>;    // (O)
@group(0) @binding(4) var<storage, read> w: array<f32>;       // (O,C,3,3), for the gradient alone
@group(0) @binding(5) var<uniform> p: P;

fn image_transform(m: u32, d: array<f32, 6>) -> array<f32, 6> {
  if (m == 2u) { return array<f32, 6>(d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3], 0.0, 0.0); }
  let even = d[4] - 4.0 * d[2];
  let odd = d[3] - 4.0 * d[1];
  let even2 = d[4] - d[2];
  let odd2 = 2.0 * (d[3] - d[1]);
  return array<f32, 6>(
    4.0 * d[0] - 5.0 * d[2] + d[4], even + odd, even - odd, even2 + odd2, even2 - odd2, 4.0 * d[1] - 5.0 * d[3] + d[5],
  );
}

fn result_transform(m: u32, s: array<f32, 6>) -> array<f32, 4> {
  let sum = s[1] + s[2];
  let difference = s[1] - s[2];
  if (m == 2u) { return array<f32, 4>(s[0] + sum, difference - s[3], 0.0, 0.0); }
  let sum2 = s[3] + s[4];
  let difference2 = s[3] - s[4];
  return array<f32, 4>(s[0] + sum + sum2, difference + 2.0 * difference2, sum + 4.0 * sum2, difference + 8.0 * difference2 + s[5]);
}

@compute @workgroup_size(64)
fn conv2d_winograd_f32(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) l: u32) {
  let m = select(2u, 4u, p.tile == 1u);
  let n = m + 2u;
  let down = (p.P + m - 1u) / m;
  let across = (p.Q + m - 1u) / m;
  let t = linear_index(wid, grid, l);
  if (t >= p.B * p.O * down * across) { return; }
  let left = t % across * m;
  let top = t / across % down * m;
  let o = t / (across * down) % p.O;
  let b = t / (across * down * p.O);
  var sums = array<f32, 36>();
  for (var c = 0u; c < p.C; c++) {
    var rows = array<f32, 36>();
    for (var i = 0u; i < n; i++) {
      var d = array<f32, 6>();
      let h = top + i - p.pad;
      for (var j = 0u; j < n; j++) {
        let v = left + j - p.pad;
        if (h < p.H && v < p.W) { d[j] = x[((b * p.C + c) * p.H + h) * p.W + v]; }
      }
      d = image_transform(m, d);
      for (var j = 0u; j < n; j++) { rows[6u * i + j] = d[j]; }
    }
    for (var j = 0u; j < n; j++) {
      var d = array<f32, 6>();
      for (var i = 0u; i < n; i++) { d[i] = rows[6u * i + j]; }
      d = image_transform(m, d);
      for (var i = 0u; i < n; i++) { sums[6u * i + j] += d[i] * u[((i * n + j) * p.O + o) * p.C + c]; }
    }
  }
  var columns = array<f32, 24>();
  for (var j = 0u; j < n; j++) {
    var s = array<f32, 6>();
    for (var i = 0u; i < n; i++) { s[i] = sums[6u * i + j]; }
    let r = result_transform(m, s);
    for (var i = 0u; i < m; i++) { columns[6u * i + j] = r[i]; }
  }
  let add = select(0.0, bias[o], (p.present & 1u) != 0u);
  for (var i = 0u; i < m && top + i < p.P; i++) {
    var s = array<f32, 6>();
    for (var j = 0u; j < n; j++) { s[j] = columns[6u * i + j]; }
    let r = result_transform(m, s);
    for (var j = 0u; j < m && left + j < p.Q; j++) {
      let at = ((b * p.O + o) * p.P + top + i) * p.Q + left + j;
      let v = activate(p.act, r[j] + add);
      if (p.beta != 0.0) { y[at] = p.beta * y[at] + v; } else { y[at] = v; }
    }
  }
}

struct PF { O: u32, C: u32, tile: u32, beta: f32 }
@group(0) @binding(0) var<storage, read_write> u_f: array<f32>; // (N²,O,C)
@group(0) @binding(1) var<storage, read> w_f: array<f32>;       // (O,C,3,3)
@group(0) @binding(2) var<uniform> pf: PF;

fn kernel_transform(m: u32, k: vec3f) -> array<f32, 6> {
  let ends = k.x + k.z;
  if (m == 2u) { return array<f32, 6>(k.x, 0.5 * (ends + k.y), 0.5 * (ends - k.y), k.z, 0.0, 0.0); }
  let a = k.x / 24.0 + k.z / 6.0;
  let b = k.y / 12.0;
  return array<f32, 6>(0.25 * k.x, (ends + k.y) / -6.0, (ends - k.y) / -6.0, a + b, a - b, k.z);
}

@compute @workgroup_size(64)
fn winograd_filter_f32(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) l: u32) {
  let t = linear_index(wid, grid, l);
  if (t >= pf.O * pf.C) { return; }
  let m = select(2u, 4u, pf.tile == 1u);
  let n = m + 2u;
  var columns = array<f32, 18>();
  for (var j = 0u; j < 3u; j++) {
    let k = kernel_transform(m, vec3f(w_f[9u * t + j], w_f[9u * t + j + 3u], w_f[9u * t + j + 6u]));
    for (var i = 0u; i < n; i++) { columns[3u * i + j] = k[i]; }
  }
  for (var i = 0u; i < n; i++) {
    let r = kernel_transform(m, vec3f(columns[3u * i], columns[3u * i + 1u], columns[3u * i + 2u]));
    for (var j = 0u; j < n; j++) {
      let at = (i * n + j) * pf.O * pf.C + t;
      if (pf.beta != 0.0) { u_f[at] = pf.beta * u_f[at] + r[j]; } else { u_f[at] = r[j]; }
    }
  }
}
