// Register tiles over workgroup memory, for D a multiple of 4: 64 threads keep 32 rows and meet 32 items of
// the other side at a time. Thread (y, x) has a tile of rows 4y … 4y + 3 and items 4x … 4x + 3, whose
// products it takes 32 columns at a time; then, of what is summed over the items, the same rows and
// columns 4x … 4x + 3 of each 32. Rows of nine vectors: eight threads read from eight banks.
const PITCH = 9u;
var<workgroup> own: array<vec4f, 288>;    // (32, 8): rows
var<workgroup> other: array<vec4f, 288>;  // (32, 8): items
var<workgroup> weight4: array<vec4f, 288>; // (32, 8): items, by four rows

// s + own · otherᵀ; a column an item.
fn tile_dots(s: mat4x4f, y: u32, x: u32) -> mat4x4f {
  var t = s;
  let a = 4u * y * PITCH;
  let b = 4u * x * PITCH;
  for (var d = 0u; d < 8u; d++) {
    let rows = mat4x4f(own[a + d], own[a + PITCH + d], own[a + 2u * PITCH + d], own[a + 3u * PITCH + d]);
    let items = mat4x4f(other[b + d], other[b + PITCH + d], other[b + 2u * PITCH + d], other[b + 3u * PITCH + d]);
    t += transpose(rows) * items;
  }
  return t;
}

fn tile_keep(s: mat4x4f, y: u32, x: u32) {
  for (var i = 0u; i < 4u; i++) { weight4[(4u * x + i) * PITCH + y] = s[i]; }
}

// a + weightsᵀ · other; a column a row.
fn tile_sums(a: mat4x4f, y: u32, x: u32) -> mat4x4f {
  var t = a;
  for (var j = 0u; j < 32u; j++) {
    let w = weight4[j * PITCH + y];
    let item = other[j * PITCH + x];
    t += mat4x4f(w.x * item, w.y * item, w.z * item, w.w * item);
  }
  return t;
}
