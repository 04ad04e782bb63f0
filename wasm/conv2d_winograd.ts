import { put1, put4 } from "./lib/accumulate";
import { activate } from "./lib/activation";
import { multiply, portion } from "./lib/product";

// 3×3 convolution by minimal filtering. Sixteen tiles of m×m pixels at a time: their images of (m+2)²
// are transformed, four tiles side by side in the lanes, into one panel (C,8) for each of the (m+2)²
// points and half of the tiles; at every point the product with u is an ordinary one; what comes out
// is transformed back.

/** Tiles and output channels of a block, as in the contract. */
const TILES: u32 = 16;
const SLAB: u32 = 120;

/** Vectors [from], `step` bytes apart -> the image transform of m+2 of them, `apart` bytes apart. */
function imageTransform(m: u32, to: usize, apart: usize, from: usize, step: usize): void {
  const d0 = v128.load(from);
  const d1 = v128.load(from + step);
  const d2 = v128.load(from + 2 * step);
  const d3 = v128.load(from + 3 * step);
  if (m == 2) {
    v128.store(to, f32x4.sub(d0, d2));
    v128.store(to + apart, f32x4.add(d1, d2));
    v128.store(to + 2 * apart, f32x4.sub(d2, d1));
    v128.store(to + 3 * apart, f32x4.sub(d1, d3));
    return;
  }
  const four = f32x4.splat(4);
  const five = f32x4.splat(5);
  const d4 = v128.load(from + 4 * step);
  const d5 = v128.load(from + 5 * step);
  const even = f32x4.sub(d4, f32x4.mul(four, d2));
  const odd = f32x4.sub(d3, f32x4.mul(four, d1));
  const even2 = f32x4.sub(d4, d2);
  const half = f32x4.sub(d3, d1);
  const odd2 = f32x4.add(half, half);
  v128.store(to, f32x4.add(f32x4.sub(f32x4.mul(four, d0), f32x4.mul(five, d2)), d4));
  v128.store(to + apart, f32x4.add(even, odd));
  v128.store(to + 2 * apart, f32x4.sub(even, odd));
  v128.store(to + 3 * apart, f32x4.add(even2, odd2));
  v128.store(to + 4 * apart, f32x4.sub(even2, odd2));
  v128.store(to + 5 * apart, f32x4.add(f32x4.sub(f32x4.mul(four, d1), f32x4.mul(five, d3)), d5));
}

/** m+2 vectors, `step` bytes apart -> m, `apart` bytes apart. In place where the steps agree. */
function resultTransform(m: u32, to: usize, apart: usize, from: usize, step: usize): void {
  const s0 = v128.load(from);
  const s1 = v128.load(from + step);
  const s2 = v128.load(from + 2 * step);
  const s3 = v128.load(from + 3 * step);
  const sum = f32x4.add(s1, s2);
  const difference = f32x4.sub(s1, s2);
  if (m == 2) {
    v128.store(to, f32x4.add(s0, sum));
    v128.store(to + apart, f32x4.sub(difference, s3));
    return;
  }
  const s4 = v128.load(from + 4 * step);
  const s5 = v128.load(from + 5 * step);
  const sum2 = f32x4.add(s3, s4);
  const difference2 = f32x4.sub(s3, s4);
  v128.store(to, f32x4.add(f32x4.add(s0, sum), sum2));
  v128.store(to + apart, f32x4.add(difference, f32x4.mul(f32x4.splat(2), difference2)));
  v128.store(to + 2 * apart, f32x4.add(sum, f32x4.mul(f32x4.splat(4), sum2)));
  v128.store(to + 3 * apart, f32x4.add(f32x4.add(difference, f32x4.mul(f32x4.splat(8), difference2)), s5));
}

/** row[x … x+3], zeros outside of [0, W). */
// @ts-ignore: decorator
@inline
function segment(row: usize, x: i32, W: u32): v128 {
  if (x >= 0 && x + 4 <= <i32>W) return v128.load(row + ((<usize>x) << 2));
  return ragged(row, x, W);
}

function ragged(row: usize, x: i32, W: u32): v128 {
  let v = f32x4.splat(0);
  const at = row + ((<usize>x) << 2);
  if (<u32>x < W) v = v128.load32_lane(at, v, 0);
  if (<u32>(x + 1) < W) v = v128.load32_lane(at + 4, v, 1);
  if (<u32>(x + 2) < W) v = v128.load32_lane(at + 8, v, 2);
  if (<u32>(x + 3) < W) v = v128.load32_lane(at + 12, v, 3);
  return v;
}

/** Rows of v0 … v3 to columns, at `to`, 16 bytes each. */
// @ts-ignore: decorator
@inline
function transpose(to: usize, v0: v128, v1: v128, v2: v128, v3: v128): void {
  const a = i8x16.shuffle(v0, v1, 0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
  const b = i8x16.shuffle(v2, v3, 0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
  const c = i8x16.shuffle(v0, v1, 8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
  const d = i8x16.shuffle(v2, v3, 8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
  v128.store(to, i8x16.shuffle(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23));
  v128.store(to, i8x16.shuffle(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31), 16);
  v128.store(to, i8x16.shuffle(c, d, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23), 32);
  v128.store(to, i8x16.shuffle(c, d, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31), 48);
}

/** Row y of the images of four tiles side by side, the first at x: m+2 vectors with a tile a lane. */
function loadRow(m: u32, to: usize, plane: usize, H: u32, W: u32, y: i32, x: i32): void {
  if (<u32>y >= H) {
    for (let j: u32 = 0; j < m + 2; j++) v128.store(to + ((<usize>j) << 4), f32x4.splat(0));
    return;
  }
  const row = plane + ((<usize>(y * W)) << 2);
  const v0 = segment(row, x, W);
  const v1 = segment(row, x + 4, W);
  if (m == 2) {
    const next = segment(row, x + 8, W);
    const even = i8x16.shuffle(v0, v1, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
    const odd = i8x16.shuffle(v0, v1, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
    v128.store(to, even);
    v128.store(to, odd, 16);
    v128.store(to, i8x16.shuffle(even, next, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19), 32);
    v128.store(to, i8x16.shuffle(odd, next, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 20, 21, 22, 23), 48);
    return;
  }
  const next = segment(row, x + 16, W);
  transpose(to, v0, v1, segment(row, x + 8, W), segment(row, x + 12, W));
  v128.store(to, i8x16.shuffle(v128.load(to), next, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19), 64);
  v128.store(to, i8x16.shuffle(v128.load(to, 16), next, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 20, 21, 22, 23), 80);
}

/** The image of one tile into lane `lane` of (m+2)² vectors. */
function loadTile(m: u32, to: usize, lane: u32, plane: usize, H: u32, W: u32, y: i32, x: i32): void {
  to += (<usize>lane) << 2;
  for (let i: u32 = 0; i < m + 2; i++) {
    for (let j: u32 = 0; j < m + 2; j++) {
      const h: u32 = y + i;
      const w: u32 = x + j;
      store<f32>(to, h < H && w < W ? load<f32>(plane + ((<usize>(h * W + w)) << 2)) : 0);
      to += 16;
    }
  }
}

/** Whether tiles n … n+3 stand side by side in one row of tiles. */
// @ts-ignore: decorator
@inline
function sideBySide(n: u32, tiles: u32, across: u32): bool {
  return n + 4 <= tiles && (n % across) + 4 <= across;
}

/** Tiles n … n+3 of all channels -> lanes of the panels, `point` bytes from one point to the next. */
function transformImages(
  m: u32, panel: usize, point: usize, room: usize, x: usize, C: u32, H: u32, W: u32,
  n: u32, tiles: u32, down: u32, across: u32, pad: u32,
): void {
  const size: usize = m + 2;
  const row = size << 4;
  const quad = sideBySide(n, tiles, across);
  const plane = (<usize>H * W) << 2;
  if (!quad) memory.fill(room, 0, size * row);
  for (let c: u32 = 0; c < C; c++) {
    if (quad) {
      const y: i32 = ((n / across) % down) * m - pad;
      const left: i32 = (n % across) * m - pad;
      const image = x + <usize>((n / (across * down)) * C + c) * plane;
      for (let i: usize = 0; i < size; i++) loadRow(m, room + i * row, image, H, W, y + <i32>i, left);
    } else {
      for (let lane: u32 = 0; lane < 4 && n + lane < tiles; lane++) {
        const k = n + lane;
        const image = x + <usize>((k / (across * down)) * C + c) * plane;
        loadTile(m, room, lane, image, H, W, ((k / across) % down) * m - pad, (k % across) * m - pad);
      }
    }
    for (let i: usize = 0; i < size; i++) imageTransform(m, room + i * row, 16, room + i * row, 16);
    for (let j: usize = 0; j < size; j++) {
      imageTransform(m, panel + j * point, size * point, room + (j << 4), row);
    }
    panel += 32;
  }
}

/** Sums of tiles n … n+3 at all points -> pixels of one plane of y. */
function finish(
  m: u32, y: usize, P: u32, Q: u32, sums: usize, point: usize, room: usize,
  n: u32, tiles: u32, down: u32, across: u32, O: u32, o: u32, bias: f32, act: u32, beta: f32,
): void {
  const size: usize = m + 2;
  const row = size << 4;
  for (let j: usize = 0; j < size; j++) {
    resultTransform(m, room + (j << 4), row, sums + j * point, size * point);
  }
  const add = f32x4.splat(bias);
  for (let i: u32 = 0; i < m; i++) {
    const at = room + <usize>i * row;
    resultTransform(m, at, 16, at, 16);
    for (let j: u32 = 0; j < m; j++) {
      const v = at + ((<usize>j) << 4);
      v128.store(v, activate(act, f32x4.add(v128.load(v), add)));
    }
  }
  const plane = y + ((<usize>((n / (across * down)) * O + o) * P * Q) << 2);
  const left = (n % across) * m;
  if (sideBySide(n, tiles, across) && left + 4 * m <= Q) {
    for (let i: u32 = 0; i < m; i++) {
      const p = ((n / across) % down) * m + i;
      if (p >= P) break;
      const from = room + <usize>i * row;
      const to = plane + ((<usize>(p * Q + left)) << 2);
      const v0 = v128.load(from);
      const v1 = v128.load(from, 16);
      if (m == 2) {
        put4(to, i8x16.shuffle(v0, v1, 0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23), beta);
        put4(to + 16, i8x16.shuffle(v0, v1, 8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31), beta);
        continue;
      }
      transpose(from, v0, v1, v128.load(from, 32), v128.load(from, 48));
      put4(to, v128.load(from), beta);
      put4(to + 16, v128.load(from, 16), beta);
      put4(to + 32, v128.load(from, 32), beta);
      put4(to + 48, v128.load(from, 48), beta);
    }
    return;
  }
  for (let lane: u32 = 0; lane < 4 && n + lane < tiles; lane++) {
    const k = n + lane;
    const own = y + ((<usize>((k / (across * down)) * O + o) * P * Q) << 2);
    const top = ((k / across) % down) * m;
    const first = (k % across) * m;
    for (let i: u32 = 0; i < m && top + i < P; i++) {
      for (let j: u32 = 0; j < m && first + j < Q; j++) {
        const v = load<f32>(room + <usize>i * row + ((<usize>j) << 4) + ((<usize>lane) << 2));
        put1(own + ((<usize>((top + i) * Q + first + j)) << 2), v, beta);
      }
    }
  }
}

export function conv2d_winograd_f32(
  y: usize, x: usize, u: usize, bias: usize, w: usize,
  B: u32, O: u32, P: u32, Q: u32, C: u32, H: u32, W: u32, present: u32,
  tile: u32, pad: u32, act: u32, beta: f32,
  scratch: usize, lo: u32, hi: u32,
): void {
  const m: u32 = tile ? 4 : 2;
  const points = (m + 2) * (m + 2);
  const down = (P + m - 1) / m;
  const across = (Q + m - 1) / m;
  const tiles = B * down * across;
  const slabs = (O + SLAB - 1) / SLAB;
  // Panels (point, half of the tiles, C, 8), and sums (point, half, rows of the slab, 8). Lanes of tiles
  // that do not exist are computed and not stored.
  const half = (<usize>C) << 5;
  const panels = scratch + 640;
  const sums = panels + <usize>(2 * points) * half;
  const sumsHalf = (<usize>min(SLAB, O)) << 5;
  const row = (<usize>C) << 2;
  let transformed: u32 = -1;
  for (let t = lo; t < hi; t++) {
    const block = t / slabs;
    const from = block * TILES;
    const count = min(tiles - from, TILES);
    if (block != transformed) {
      for (let n: u32 = 0; n < count; n += 4) {
        const panel = panels + <usize>(n >> 3) * half + ((<usize>n & 4) << 2);
        transformImages(m, panel, 2 * half, scratch, x, C, H, W, from + n, tiles, down, across, pad);
      }
      transformed = block;
    }
    const first = (t % slabs) * SLAB;
    const last = min(first + SLAB, O);
    for (let point: u32 = 0; point < points; point++) {
      for (let o = first; o < last; ) {
        const rows = portion(last - o);
        for (let n: u32 = 0; n < count; n += 8) {
          multiply(
            sums + <usize>(2 * point + (n >> 3)) * sumsHalf + ((<usize>(o - first)) << 5), 32,
            u + <usize>(point * O + o) * row, row, 4, panels + <usize>(2 * point + (n >> 3)) * half, 32, C, rows, false,
          );
        }
        o += rows;
      }
    }
    for (let o = first; o < last; o++) {
      const add = bias ? load<f32>(bias + ((<usize>o) << 2)) : 0;
      for (let n: u32 = 0; n < count; n += 4) {
        const at = sums + <usize>(n >> 3) * sumsHalf + ((<usize>(o - first)) << 5) + ((<usize>n & 4) << 2);
        finish(m, y, P, Q, at, 2 * sumsHalf, scratch, from + n, tiles, down, across, O, o, add, act, beta);
      }
    }
  }
}

/** Three vectors -> the kernel transform, m+2 of them. */
// @ts-ignore: decorator
@inline
function kernelTransform(m: u32, to: usize, apart: usize, k0: v128, k1: v128, k2: v128): void {
  const ends = f32x4.add(k0, k2);
  if (m == 2) {
    const h = f32x4.splat(0.5);
    v128.store(to, k0);
    v128.store(to + apart, f32x4.mul(h, f32x4.add(ends, k1)));
    v128.store(to + 2 * apart, f32x4.mul(h, f32x4.sub(ends, k1)));
    v128.store(to + 3 * apart, k2);
    return;
  }
  const sixth = f32x4.splat(-1.0 / 6.0);
  const a = f32x4.add(f32x4.mul(f32x4.splat(1.0 / 24.0), k0), f32x4.mul(f32x4.splat(1.0 / 6.0), k2));
  const b = f32x4.mul(f32x4.splat(1.0 / 12.0), k1);
  v128.store(to, f32x4.mul(f32x4.splat(0.25), k0));
  v128.store(to + apart, f32x4.mul(sixth, f32x4.add(ends, k1)));
  v128.store(to + 2 * apart, f32x4.mul(sixth, f32x4.sub(ends, k1)));
  v128.store(to + 3 * apart, f32x4.add(a, b));
  v128.store(to + 4 * apart, f32x4.sub(a, b));
  v128.store(to + 5 * apart, k2);
}

/** Number k of four kernels of nine, of which `left` exist. */
// @ts-ignore: decorator
@inline
function across4(w: usize, k: u32, left: u32): v128 {
  const at = w + ((<usize>k) << 2);
  let v = v128.load32_splat(at);
  if (left > 1) v = v128.load32_lane(at, v, 1, 36);
  if (left > 2) v = v128.load32_lane(at, v, 2, 72);
  if (left > 3) v = v128.load32_lane(at, v, 3, 108);
  return v;
}

export function winograd_filter_f32(
  u: usize, w: usize, O: u32, C: u32, tile: u32, beta: f32, scratch: usize, lo: u32, hi: u32,
): void {
  const m: u32 = tile ? 4 : 2;
  const size = m + 2;
  const point = (<usize>O * C) << 2;
  const row = (<usize>size) << 6;
  const out = scratch + 288;
  for (let o = lo; o < hi; o++) {
    // Sixteen channels fill a line of memory at each of the points, which lie far apart.
    for (let c: u32 = 0; c < C; c += 16) {
      const count = min(C - c, 16);
      for (let n: u32 = 0; n < count; n += 4) {
        const left = count - n;
        const k = w + ((<usize>(o * C + c + n) * 9) << 2);
        // Columns (size,3) first, then rows.
        for (let j: u32 = 0; j < 3; j++) {
          kernelTransform(m, scratch + ((<usize>j) << 4), 48, across4(k, j, left), across4(k, j + 3, left), across4(k, j + 6, left));
        }
        for (let i: u32 = 0; i < size; i++) {
          const at = scratch + 48 * <usize>i;
          kernelTransform(m, out + <usize>i * row + ((<usize>n) << 2), 64, v128.load(at), v128.load(at, 16), v128.load(at, 32));
        }
      }
      let to = u + ((<usize>(o * C + c)) << 2);
      for (let i: u32 = 0; i < size * size; i++) {
        const from = out + ((<usize>i) << 6);
        let j: u32 = 0;
        for (; j + 4 <= count; j += 4) put4(to + ((<usize>j) << 2), v128.load(from + ((<usize>j) << 2)), beta);
        for (; j < count; j++) put1(to + ((<usize>j) << 2), load<f32>(from + ((<usize>j) << 2)), beta);
        to += point;
      }
    }
  }
}
