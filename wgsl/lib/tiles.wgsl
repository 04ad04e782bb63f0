// A workgroup of 128 threads a tile of 64×64 of a product, a thread 8 rows × 4 columns of it in registers. K goes
// through workgroup memory 16 at a time: 8 KiB. The file that uses this says how blocks of a and b are read.
const TILE = 64u;
const DEPTH = 16u;
const OFFSETS = vec4u(0u, 1u, 2u, 3u);
var<workgroup> tile_a: array<vec4f, 256>; // (DEPTH,TILE): 4 rows a vector
var<workgroup> tile_b: array<vec4f, 256>; // (DEPTH,TILE): 4 columns a vector

struct Tile { batch: u32, m: u32, n: u32 }

fn tile_of(w: vec3u, g: vec3u) -> Tile {
  let i = w.y * g.x + w.x;
  let across = (p.N + TILE - 1u) / TILE;
  let down = (p.M + TILE - 1u) / TILE;
  return Tile(i / (across * down), i / across % down * TILE, i % across * TILE);
}

// 4×4 blocks of a for half of the threads, of b for the other half; neighbours read along what lies together.
fn load_blocks(tile: Tile, l: u32, k: u32) {
  let i = l & 63u;
  let of_b = l >= 64u;
  let along_k = select(p.ta == 0u, p.tb != 0u, of_b);
  let deep = select(i / 16u, i & 3u, along_k);
  let wide = select(i & 15u, i / 4u, along_k);
  let at = deep * 64u + wide;
  if (of_b) {
    let t = block_b(tile.batch, k + deep * 4u, tile.n + wide * 4u);
    for (var c = 0u; c < 4u; c++) { tile_b[at + c * 16u] = t[c]; }
  } else {
    let t = block_a(tile.batch, tile.m + wide * 4u, k + deep * 4u);
    for (var c = 0u; c < 4u; c++) { tile_a[at + c * 16u] = t[c]; }
  }
}

// Sums over k in [first, end): rows l / 16 · 8 …, columns l % 16 · 4 … of the tile. All threads must call it.
fn tile_sums(tile: Tile, l: u32, first: u32, end: u32) -> array<vec4f, 8> {
  var s0 = vec4f();
  var s1 = vec4f();
  var s2 = vec4f();
  var s3 = vec4f();
  var s4 = vec4f();
  var s5 = vec4f();
  var s6 = vec4f();
  var s7 = vec4f();
  for (var k = first; k < end; k += DEPTH) {
    workgroupBarrier();
    load_blocks(tile, l, k);
    workgroupBarrier();
    for (var i = 0u; i < DEPTH; i++) {
      let x = tile_a[i * 16u + l / 16u * 2u];
      let z = tile_a[i * 16u + l / 16u * 2u + 1u];
      let v = tile_b[i * 16u + l % 16u];
      s0 += x.x * v;
      s1 += x.y * v;
      s2 += x.z * v;
      s3 += x.w * v;
      s4 += z.x * v;
      s5 += z.y * v;
      s6 += z.z * v;
      s7 += z.w * v;
    }
  }
  return array<vec4f, 8>(s0, s1, s2, s3, s4, s5, s6, s7);
}

fn store_tile(tile: Tile, l: u32, sums: array<vec4f, 8>) {
  let s = sums;
  let n = tile.n + l % 16u * 4u;
  for (var r = 0u; r < 8u; r++) {
    let m = tile.m + l / 16u * 8u + r;
    for (var c = 0u; c < 4u; c++) {
      if (m < p.M && n + c < p.N) {
        finish((tile.batch * p.M + m) * p.N + n + c, n + c, s[r][c], p.alpha, p.present, p.act, p.beta);
      }
    }
  }
}
