//! use online
// What threads see of a row of logits. The file that uses this has at(o, i, to): number i of the row at o, LOWEST from
// `to` on.

// A thread's share of a row of logits: every 64th of the numbers from `first` on, below `to`.
fn share(o: u32, first: u32, to: u32) -> vec2f {
  var a = NOTHING;
  for (var c = first; c < to; c += 1024u) {
    a = online_block(a, mat4x4f(
      at(o, c, to), at(o, c + 64u, to), at(o, c + 128u, to), at(o, c + 192u, to),
      at(o, c + 256u, to), at(o, c + 320u, to), at(o, c + 384u, to), at(o, c + 448u, to),
      at(o, c + 512u, to), at(o, c + 576u, to), at(o, c + 640u, to), at(o, c + 704u, to),
      at(o, c + 768u, to), at(o, c + 832u, to), at(o, c + 896u, to), at(o, c + 960u, to),
    ));
  }
  return a;
}

// All of a short row, by a thread alone; four sums lose fewer digits than one.
fn own(o: u32, to: u32) -> vec2f {
  var m = NOTHING.x;
  for (var c = 0u; c < to; c++) { m = max_nan(m, at(o, c, to)); }
  var s = vec4f();
  for (var c = 0u; c < to; c += 4u) {
    s += exp_4(vec4f(at(o, c, to), at(o, c + 1u, to), at(o, c + 2u, to), at(o, c + 3u, to)) - m);
  }
  return vec2f(m, (s.x + s.y) + (s.z + s.w));
}
