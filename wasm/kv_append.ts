// Rows put into a cache of keys and values, at positions that are read from memory: the bounds are
// checked here, and what lies outside of them is dropped.

export function kv_append_f32(
  k: usize, v: usize, kn: usize, vn: usize, length: usize,
  B: u32, G: u32, T: u32, D: u32, N: u32, lo: u32, hi: u32,
): void {
  const row = (<usize>D) << 2;
  for (let t = lo; t < hi; t++) {
    const at = load<i32>(length + ((<usize>(t / G)) << 2));
    // The rows that fit are those with 0 <= at + n < T; at may be anything.
    const from = <u32>min<i64>(max<i64>(-<i64>at, 0), N);
    const past = <u32>min<i64>(max<i64>(<i64>T - at, from), N);
    if (past <= from) continue;
    const to = (<usize>(t * T + (at + from))) * row;
    const src = (<usize>(t * N + from)) * row;
    memory.copy(k + to, kn + src, (<usize>(past - from)) * row);
    memory.copy(v + to, vn + src, (<usize>(past - from)) * row);
  }
}
