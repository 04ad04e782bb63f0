// core/threefry.ts in WGSL: the same integer steps, the same bits.
fn mulhi(a: u32, b: u32) -> u32 {
  let al = a & 0xffffu;
  let ah = a >> 16u;
  let bl = b & 0xffffu;
  let bh = b >> 16u;
  let lh = al * bh;
  let hl = ah * bl;
  let mid = (hl & 0xffffu) + ((al * bl) >> 16u) + (lh & 0xffffu);
  return ah * bh + (mid >> 16u) + (hl >> 16u) + (lh >> 16u);
}

fn threefry_rounds(x: vec2u, r: vec4u) -> vec2u {
  var v = x;
  for (var i = 0u; i < 4u; i++) {
    v.x += v.y;
    v.y = ((v.y << r[i]) | (v.y >> (32u - r[i]))) ^ v.x;
  }
  return v;
}

fn threefry2x32(key: vec2u, counter: vec2u) -> vec2u {
  let k2 = 0x1bd11bdau ^ key.x ^ key.y;
  let even = vec4u(13u, 15u, 26u, 6u);
  let odd = vec4u(17u, 29u, 16u, 24u);
  var x = counter + key;
  x = threefry_rounds(x, even) + vec2u(key.y, k2 + 1u);
  x = threefry_rounds(x, odd) + vec2u(k2, key.x + 2u);
  x = threefry_rounds(x, even) + vec2u(key.x, key.y + 3u);
  x = threefry_rounds(x, odd) + vec2u(key.y, k2 + 4u);
  return threefry_rounds(x, even) + vec2u(k2, key.x + 5u);
}

fn uniform_of(bits: u32) -> f32 {
  return f32(bits >> 8u) * 5.9604644775390625e-8;
}

// t and the result Q31.
fn sin_quarter(t: u32) -> u32 {
  let u = mulhi(t, t);
  var p = 325727u;
  p = 10037677u - (mulhi(p, u) << 2u);
  p = 171132815u - (mulhi(p, u) << 2u);
  p = 1387196615u - (mulhi(p, u) << 2u);
  p = 3373259412u - (mulhi(p, u) << 2u);
  return mulhi(t, p) << 1u;
}

fn normal_pair(bits: vec2u) -> vec2f {
  let v = bits.x | 1u;
  let e = countLeadingZeros(v);
  let f = (v << e) << 1u;
  var p = 8340344u;
  p = 46644317u - mulhi(p, f);
  p = 122703873u - mulhi(p, f);
  p = 212946402u - mulhi(p, f);
  p = 296573531u - mulhi(p, f);
  p = 384992505u - mulhi(p, f);
  p = 516159445u - mulhi(p, f);
  p = 774534072u - mulhi(p, f);
  p = 1549081965u - mulhi(p, f);
  let whole = (e + 1u) << 26u;
  let L = (whole - min(mulhi(p, f) >> 4u, whole)) | 1u;
  let z = countLeadingZeros(L);
  let x = (L << z) << 1u;
  var q = 4085538u;
  q = 19607419u - mulhi(q, x);
  q = 46262449u - mulhi(q, x);
  q = 80242410u - mulhi(q, x);
  q = 133682687u - mulhi(q, x);
  q = 268405257u - mulhi(q, x);
  q = 1073741544u - mulhi(q, x);
  let root = 0x80000000u + mulhi(q, x);
  let exponent = 5 - i32(z);
  let m = mulhi(root, select(2528468770u, 3575794827u, (exponent & 1) == 1));
  let t = (bits.y << 2u) >> 1u;
  let s = sin_quarter(t);
  let c = sin_quarter(0x80000000u - t);
  let quadrant = bits.y >> 30u;
  let swap = (quadrant & 1u) == 1u;
  let a = (mulhi(m, select(c, s, swap)) + 64u) >> 7u;
  let b = (mulhi(m, select(s, c, swap)) + 64u) >> 7u;
  let scale = u32((exponent >> 1u) + 105) << 23u;
  let signs = vec2u((quadrant ^ (quadrant >> 1u)) << 31u, (quadrant >> 1u) << 31u);
  // Exact products: 24 bits times a power of two.
  let n = vec2f(f32(a), f32(b)) * bitcast<f32>(scale);
  return bitcast<vec2f>(bitcast<vec2u>(n) ^ signs);
}
