import { madd, nmadd } from "./lib/math";
import { store4x4 } from "./lib/transpose";

// Stockham's transform of rows, radix 4 with a last pass of radix 2 where log₂ N is odd. A tile is a row.
// A pass reads n/4 groups of s numbers at four places and writes them side by side, so that the result
// comes out in order; vectors run over the groups in the first pass (s = 1), within a group after it.
// Other lengths go through their factors, 4 and primes, a prime by its definition.
// The inverse is the same with real and imaginary planes exchanged.

const HALF_PI: f64 = 1.5707963267948966;

/** Plane c: cos 2πk/N, plane s: sin 2πk/N, for k < N. In f64, by series within an eighth of a turn. */
function roots(c: usize, s: usize, N: u32): void {
  if (N < 4) {
    // 1 and -1.
    store<f32>(c, 1);
    store<f32>(c, -1, 4);
    store<f32>(s, 0);
    store<f32>(s, 0, 4);
    return;
  }
  const quarter = N >> 2;
  for (let k: u32 = 0; k <= quarter >> 1; k++) {
    const a = (HALF_PI * <f64>k) / <f64>quarter;
    const z = a * a;
    let p: f64 = 1;
    for (let n: f64 = 16; n > 0; n -= 2) p = 1 - (z * p) / (n * (n - 1));
    let q: f64 = 1;
    for (let n: f64 = 17; n > 1; n -= 2) q = 1 - (z * q) / (n * (n - 1));
    const x = <f32>p;
    const y = <f32>(a * q);
    const at = (<usize>k) << 2;
    const mirrored = (<usize>(quarter - k)) << 2;
    store<f32>(c + at, x);
    store<f32>(s + at, y);
    store<f32>(c + mirrored, y);
    store<f32>(s + mirrored, x);
  }
  // A quarter further: cos -> -sin, sin -> cos.
  for (let k = quarter; k < N; k++) {
    const from = (<usize>(k - quarter)) << 2;
    const to = (<usize>k) << 2;
    const x = load<f32>(s + from);
    store<f32>(s + to, load<f32>(c + from));
    store<f32>(c + to, -x);
  }
}

/** (re, im) · (c − i s), stored by the caller: the two parts. */
// @ts-ignore: decorator
@inline
function re(r: v128, i: v128, c: v128, s: v128): v128 {
  return madd(r, c, f32x4.mul(i, s));
}

// @ts-ignore: decorator
@inline
function im(r: v128, i: v128, c: v128, s: v128): v128 {
  return nmadd(r, s, f32x4.mul(i, c));
}

/**
 * Four numbers at x, x + step, x + 2·step, x + 3·step, times k, through a butterfly and the powers 1, 2, 3
 * of w = (c − i s): columns of a 4×4 block at y in the first pass, y, y + step, … after it.
 */
// @ts-ignore: decorator
@inline
function butterfly(
  first: bool, yr: usize, yi: usize, to: usize, xr: usize, xi: usize, step: usize, k: v128,
  c1: v128, s1: v128, c2: v128, s2: v128, c3: v128, s3: v128,
): void {
  const b = step;
  const c = step << 1;
  const d = step + c;
  let ar = v128.load(xr);
  let br = v128.load(xr + b);
  let cr = v128.load(xr + c);
  let dr = v128.load(xr + d);
  let ai = v128.load(xi);
  let bi = v128.load(xi + b);
  let ci = v128.load(xi + c);
  let di = v128.load(xi + d);
  if (first) {
    ar = f32x4.mul(ar, k);
    br = f32x4.mul(br, k);
    cr = f32x4.mul(cr, k);
    dr = f32x4.mul(dr, k);
    ai = f32x4.mul(ai, k);
    bi = f32x4.mul(bi, k);
    ci = f32x4.mul(ci, k);
    di = f32x4.mul(di, k);
  }
  const pr = f32x4.add(ar, cr);
  const pi = f32x4.add(ai, ci);
  const mr = f32x4.sub(ar, cr);
  const mi = f32x4.sub(ai, ci);
  const qr = f32x4.add(br, dr);
  const qi = f32x4.add(bi, di);
  const nr = f32x4.sub(br, dr);
  const ni = f32x4.sub(bi, di);
  // Times −i: (r, i) -> (i, −r).
  const r1 = f32x4.add(mr, ni);
  const i1 = f32x4.sub(mi, nr);
  const r2 = f32x4.sub(pr, qr);
  const i2 = f32x4.sub(pi, qi);
  const r3 = f32x4.sub(mr, ni);
  const i3 = f32x4.add(mi, nr);
  if (first) {
    store4x4(yr, 16, f32x4.add(pr, qr), re(r1, i1, c1, s1), re(r2, i2, c2, s2), re(r3, i3, c3, s3));
    store4x4(yi, 16, f32x4.add(pi, qi), im(r1, i1, c1, s1), im(r2, i2, c2, s2), im(r3, i3, c3, s3));
    return;
  }
  v128.store(yr, f32x4.add(pr, qr));
  v128.store(yi, f32x4.add(pi, qi));
  v128.store(yr + to, re(r1, i1, c1, s1));
  v128.store(yi + to, im(r1, i1, c1, s1));
  v128.store(yr + 2 * to, re(r2, i2, c2, s2));
  v128.store(yi + 2 * to, im(r2, i2, c2, s2));
  v128.store(yr + 3 * to, re(r3, i3, c3, s3));
  v128.store(yi + 3 * to, im(r3, i3, c3, s3));
}

/** The first pass: N/4 groups of one number. N >= 16. */
function firstPass(yr: usize, yi: usize, xr: usize, xi: usize, N: u32, c: usize, s: usize, k: v128): void {
  const step = <usize>N;
  const past = xr + step;
  while (xr < past) {
    const c1 = v128.load(c);
    const s1 = v128.load(s);
    // (c − i s)² and its product with (c − i s).
    const c2 = nmadd(s1, s1, f32x4.mul(c1, c1));
    const s2 = f32x4.mul(f32x4.add(c1, c1), s1);
    const c3 = nmadd(s2, s1, f32x4.mul(c2, c1));
    const s3 = madd(s2, c1, f32x4.mul(c2, s1));
    butterfly(true, yr, yi, 0, xr, xi, step, k, c1, s1, c2, s2, c3, s3);
    xr += 16;
    xi += 16;
    yr += 64;
    yi += 64;
    c += 16;
    s += 16;
  }
}

/** A later pass: n/4 groups of N/n numbers. */
function pass(yr: usize, yi: usize, xr: usize, xi: usize, n: u32, N: u32, c: usize, s: usize): void {
  const step = <usize>N;
  const group = (<usize>(N / n)) << 2;
  const k = f32x4.splat(1);
  let at: usize = 0;
  for (let p: u32 = 0; p < n >> 2; p++) {
    const c1 = v128.load32_splat(c + at);
    const s1 = v128.load32_splat(s + at);
    const c2 = v128.load32_splat(c + 2 * at);
    const s2 = v128.load32_splat(s + 2 * at);
    const c3 = v128.load32_splat(c + 3 * at);
    const s3 = v128.load32_splat(s + 3 * at);
    const past = xr + group;
    while (xr < past) {
      butterfly(false, yr, yi, group, xr, xi, step, k, c1, s1, c2, s2, c3, s3);
      xr += 16;
      xi += 16;
      yr += 16;
      yi += 16;
    }
    yr += 3 * group;
    yi += 3 * group;
    at += group;
  }
}

/** The last pass where log₂ N is odd: sums and differences of the halves. */
function halves(y: usize, x: usize, N: u32): void {
  const half = (<usize>N) << 1;
  const past = x + half;
  while (x < past) {
    const a = v128.load(x);
    const b = v128.load(x + half);
    v128.store(y, f32x4.add(a, b));
    v128.store(y + half, f32x4.sub(a, b));
    x += 16;
    y += 16;
  }
}

/** cos and sin of 2πk/N for k < N, for any N: the angle to the nearest quarter turn by series, in f64. */
function anyRoots(c: usize, s: usize, N: u32): void {
  for (let k: u32 = 0; k < N; k++) {
    const quarter = <u32>((8 * <u64>k + N) / (2 * <u64>N));
    const a = (HALF_PI * (4 * <f64>k - <f64>quarter * <f64>N)) / <f64>N;
    const z = a * a;
    let p: f64 = 1;
    for (let n: f64 = 16; n > 0; n -= 2) p = 1 - (z * p) / (n * (n - 1));
    let q: f64 = 1;
    for (let n: f64 = 17; n > 1; n -= 2) q = 1 - (z * q) / (n * (n - 1));
    q *= a;
    const at = (<usize>k) << 2;
    const x = <f32>(quarter & 1 ? -q : p);
    const y = <f32>(quarter & 1 ? p : q);
    store<f32>(c + at, quarter & 2 ? -x : x);
    store<f32>(s + at, quarter & 2 ? -y : y);
  }
}

/** 4 where it divides n, else the least prime factor. */
function radixOf(n: u32): u32 {
  if (n % 4 == 0) return 4;
  for (let r: u32 = 2; r * r <= n; r++) if (n % r == 0) return r;
  return n;
}

/** A pass of radix r: number j of group p is f Σ_k x[p + m k] e^(−2πi j (p + m k)/n), m = n/r, k < r. */
function anyPass(
  yr: usize, yi: usize, xr: usize, xi: usize, n: u32, r: u32, N: u32, c: usize, s: usize, f: f32,
): void {
  const group = N / n;
  const m = n / r;
  const hop = (<usize>m * group) << 2;
  const vf = f32x4.splat(f);
  for (let p: u32 = 0; p < m; p++) {
    for (let j: u32 = 0; j < r; j++) {
      const o = (<usize>p * group) << 2;
      const to = (<usize>(r * p + j) * group) << 2;
      const step = <u32>((<u64>j * m) % n) * group;
      const start = <u32>((<u64>j * p) % n) * group;
      let q: u32 = 0;
      for (; q + 4 <= group; q += 4) {
        const at = <usize>q << 2;
        let from = o + at;
        let w = start;
        let sr = f32x4.splat(0);
        let si = sr;
        for (let k: u32 = 0; k < r; k++) {
          const a = v128.load(xr + from);
          const b = v128.load(xi + from);
          const u = v128.load32_splat(c + ((<usize>w) << 2));
          const v = v128.load32_splat(s + ((<usize>w) << 2));
          sr = madd(b, v, madd(a, u, sr));
          si = nmadd(a, v, madd(b, u, si));
          from += hop;
          w += step;
          if (w >= N) w -= N;
        }
        v128.store(yr + to + at, f32x4.mul(sr, vf));
        v128.store(yi + to + at, f32x4.mul(si, vf));
      }
      for (; q < group; q++) {
        const at = <usize>q << 2;
        let from = o + at;
        let w = start;
        let sr: f32 = 0;
        let si: f32 = 0;
        for (let k: u32 = 0; k < r; k++) {
          const a = load<f32>(xr + from);
          const b = load<f32>(xi + from);
          const u = load<f32>(c + ((<usize>w) << 2));
          const v = load<f32>(s + ((<usize>w) << 2));
          sr += a * u + b * v;
          si += b * u - a * v;
          from += hop;
          w += step;
          if (w >= N) w -= N;
        }
        store<f32>(yr + to + at, sr * f);
        store<f32>(yi + to + at, si * f);
      }
    }
  }
}

/** Passes that alternate between y and scratch, the last of which writes y. */
function anyLength(
  yr: usize, yi: usize, xr: usize, xi: usize, tr: usize, ti: usize, N: u32, c: usize, s: usize, k: f32,
): void {
  let n = N;
  let inPlace = false;
  while (n > 1) {
    n /= radixOf(n);
    inPlace = !inPlace;
  }
  n = N;
  while (n > 1) {
    const r = radixOf(n);
    if (inPlace) anyPass(yr, yi, xr, xi, n, r, N, c, s, k);
    else anyPass(tr, ti, xr, xi, n, r, N, c, s, k);
    xr = inPlace ? yr : tr;
    xi = inPlace ? yi : ti;
    inPlace = !inPlace;
    k = 1;
    n /= r;
  }
}

/** The definition, for N < 16. */
function small(yr: usize, yi: usize, xr: usize, xi: usize, N: u32, c: usize, s: usize, k: f32): void {
  for (let i: u32 = 0; i < N; i++) {
    let r: f32 = 0;
    let m: f32 = 0;
    for (let n: u32 = 0; n < N; n++) {
      const w = (<usize>((i * n) & (N - 1))) << 2;
      const at = (<usize>n) << 2;
      const a = load<f32>(xr + at);
      const b = load<f32>(xi + at);
      r += a * load<f32>(c + w) + b * load<f32>(s + w);
      m += b * load<f32>(c + w) - a * load<f32>(s + w);
    }
    store<f32>(yr + ((<usize>i) << 2), k * r);
    store<f32>(yi + ((<usize>i) << 2), k * m);
  }
}

/** BACKWARD, FORWARD or ORTHO: where the factor is. */
function factor(N: u32, inverse: u32, norm: u32): f32 {
  if (norm == 2) return 1 / sqrt<f32>(<f32>N);
  return (norm == 1) == (inverse != 0) ? 1 : 1 / <f32>N;
}

export function fft_f32(
  yr: usize, yi: usize, xr: usize, xi: usize, R: u32, N: u32, present: u32,
  inverse: u32, norm: u32, scratch: usize, lo: u32, hi: u32,
): void {
  const bytes = (<usize>N) << 2;
  const tr = scratch;
  const ti = tr + bytes;
  const c = ti + bytes;
  const s = c + bytes;
  const zeros = s + bytes;
  const k = factor(N, inverse, norm);
  const vk = f32x4.splat(k);
  const isPower = (N & (N - 1)) == 0;
  if (isPower) roots(c, s, N);
  else anyRoots(c, s, N);
  if (!xi) memory.fill(zeros, 0, bytes);
  const passes = (32 - clz(N)) >> 1;
  for (let r = lo; r < hi; r++) {
    const o = <usize>r * bytes;
    let sr = xr + o;
    let si = xi ? xi + o : zeros;
    let dr = yr + o;
    let di = yi + o;
    if (inverse) {
      const x = sr;
      sr = si;
      si = x;
      const y = dr;
      dr = di;
      di = y;
    }
    if (!isPower) {
      anyLength(dr, di, sr, si, tr, ti, N, c, s, k);
      continue;
    }
    if (N < 16) {
      small(dr, di, sr, si, N, c, s, k);
      continue;
    }
    // Passes alternate between scratch and y, and the last one writes y.
    let inPlace = (passes & 1) == 1;
    firstPass(inPlace ? dr : tr, inPlace ? di : ti, sr, si, N, c, s, vk);
    let n = N >> 2;
    for (; n >= 4; n >>= 2) {
      if (inPlace) pass(tr, ti, dr, di, n, N, c, s);
      else pass(dr, di, tr, ti, n, N, c, s);
      inPlace = !inPlace;
    }
    if (n == 2) {
      halves(dr, tr, N);
      halves(di, ti, N);
    }
  }
}
