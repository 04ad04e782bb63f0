import { put1, put4 } from "./lib/accumulate";
import { cos4, sin4 } from "./lib/math";

// Rotary position embedding. Frequencies are fractions of a turn a position, as 64-bit fixed point: a
// position times a frequency, modulo 2^64, is the exact remainder of the angle. wgsl/rope.wgsl has the
// same integer steps.

const INV_2PI: u64 = 0x28be60db9391054a; // 2^64 / 2π
const LN2: u64 = 0xb17217f7d1cf79ab; // 2^64 ln 2
/** Positions of one tile. */
const POSITIONS: u32 = 16;

/** The upper half of a·b. */
function mulhi(a: u64, b: u64): u64 {
  const al = a & 0xffffffff;
  const ah = a >> 32;
  const bl = b & 0xffffffff;
  const bh = b >> 32;
  const m = ah * bl + ((al * bl) >> 32);
  return ah * bh + (m >> 32) + ((al * bh + (m & 0xffffffff)) >> 32);
}

/** log2 θ with 56 bits after the point, θ >= 1: squared, the mantissa gives up a bit at a time. */
function log2(theta: f32): u64 {
  const bits = reinterpret<u32>(theta);
  let m = (<u64>(bits | 0x800000)) << 40;
  let y = <u64>((bits >> 23) - 127);
  for (let i = 0; i < 56; i++) {
    m = mulhi(m, m);
    const one = m >> 63;
    y = (y << 1) | one;
    m <<= 1 - one;
  }
  return y;
}

/** θ^(−2/D) as a fraction of 2^64. e^−z = 1 − z(1 − z/2(1 − z/3(…))), and 1 − t is the complement of t. */
function ratio(theta: f32, D: u32): u64 {
  // 2/D < 1 unless D is 2, which has one pair only.
  const y = mulhi(log2(theta), 0xffffffffffffffff / D * 2);
  const z = mulhi(y << 8, LN2);
  let a: u64 = ~(<u64>0);
  for (let k: u64 = 21; k > 0; k--) a = ~(mulhi(z, a) / k);
  return a >> (y >> 56);
}

/** Pairs (i, i + half). */
function turnHalves(y: usize, x: usize, cos: usize, sin: usize, half: u32, beta: f32): void {
  const other = (<usize>half) << 2;
  let i: u32 = 0;
  for (; i + 4 <= half; i += 4) {
    const a = v128.load(x);
    const b = v128.load(x + other);
    const c = v128.load(cos);
    const s = v128.load(sin);
    put4(y, f32x4.sub(f32x4.mul(a, c), f32x4.mul(b, s)), beta);
    put4(y + other, f32x4.add(f32x4.mul(b, c), f32x4.mul(a, s)), beta);
    x += 16;
    y += 16;
    cos += 16;
    sin += 16;
  }
  for (; i < half; i++) {
    const a = load<f32>(x);
    const b = load<f32>(x + other);
    put1(y, a * load<f32>(cos) - b * load<f32>(sin), beta);
    put1(y + other, b * load<f32>(cos) + a * load<f32>(sin), beta);
    x += 4;
    y += 4;
    cos += 4;
    sin += 4;
  }
}

/** Pairs (2i, 2i + 1). */
function turnNeighbours(y: usize, x: usize, cos: usize, sin: usize, half: u32, beta: f32): void {
  let i: u32 = 0;
  for (; i + 2 <= half; i += 2) {
    const v = v128.load(x);
    const c = v128.load64_splat(cos);
    const s = v128.load64_splat(sin);
    // (a, b) -> (a c − b s, b c + a s): the swapped pair times (−s, s).
    const w = i8x16.shuffle(v, v, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
    const cc = i8x16.shuffle(c, c, 0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6, 7, 4, 5, 6, 7);
    const ss = i8x16.shuffle(s, s, 0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6, 7, 4, 5, 6, 7);
    const signed = v128.xor(ss, i64x2.splat(0x80000000));
    put4(y, f32x4.add(f32x4.mul(v, cc), f32x4.mul(w, signed)), beta);
    x += 16;
    y += 16;
    cos += 8;
    sin += 8;
  }
  if (i < half) {
    const a = load<f32>(x);
    const b = load<f32>(x, 4);
    put1(y, a * load<f32>(cos) - b * load<f32>(sin), beta);
    put1(y + 4, b * load<f32>(cos) + a * load<f32>(sin), beta);
  }
}

/** n elements, n even, that are not turned. */
function handOn(y: usize, x: usize, n: u32, beta: f32): void {
  let i: u32 = 0;
  for (; i + 4 <= n; i += 4) {
    put4(y, v128.load(x), beta);
    x += 16;
    y += 16;
  }
  if (i < n) {
    put1(y, load<f32>(x), beta);
    put1(y + 4, load<f32>(x, 4), beta);
  }
}

export function rope_f32(
  y: usize, x: usize, R: u32, S: u32, D: u32,
  theta: f32, offset: u32, interleaved: u32, inverse: u32, rotary: u32, beta: f32,
  scratch: usize, lo: u32, hi: u32,
): void {
  if (D == 0) return;
  const turned = rotary ? rotary : D;
  const half = turned / 2;
  const frequency = scratch;
  const cos = scratch + ((<usize>half + 1) & ~1) * 8;
  const sin = cos + ((<usize>half + 3) & ~3) * 4;
  const r = ratio(theta, turned);
  let f = INV_2PI;
  for (let i: u32 = 0; i < half; i++) {
    store<u64>(frequency + ((<usize>i) << 3), f);
    f = mulhi(f, r);
  }
  const turn = f32x4.splat(inverse ? -1.4629180792671596e-9 : 1.4629180792671596e-9); // 2π / 2^32
  const end = min(hi * POSITIONS, S);
  const stride = (<usize>S * D) << 2;
  for (let s = lo * POSITIONS; s < end; s++) {
    for (let i: u32 = 0; i < half; i++) {
      const angle = load<u64>(frequency + ((<usize>i) << 3)) * (<u64>offset + s);
      store<u32>(sin + ((<usize>i) << 2), <u32>(angle >> 32));
    }
    for (let p: usize = 0; p < (<usize>half) << 2; p += 16) {
      const angle = f32x4.mul(f32x4.convert_i32x4_s(v128.load(sin + p)), turn);
      v128.store(sin + p, sin4(angle));
      v128.store(cos + p, cos4(angle));
    }
    let at = (<usize>s * D) << 2;
    for (let k: u32 = 0; k < R; k++) {
      if (interleaved) turnNeighbours(y + at, x + at, cos, sin, half, beta);
      else turnHalves(y + at, x + at, cos, sin, half, beta);
      if (turned < D) handOn(y + at + (turned << 2), x + at + (turned << 2), D - turned, beta);
      at += stride;
    }
  }
}
