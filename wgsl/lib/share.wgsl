//! use online
// A thread's share of a row of logits: every 64th of the numbers from `first` on, below `to`. The file that uses it
// has at(o, i, to): number i of the row at o, LOWEST from `to` on.
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
