const ASCENDING = 0u;
const DESCENDING = 1u;
const LARGEST = 2u; // descending, and NaN before all others

// Orders as the numbers do, with -0 as 0; NaN after all others.
fn key_of(v: f32, mode: u32) -> u32 {
  var bits = bitcast<u32>(v);
  if ((bits & 0x7fffffffu) > 0x7f800000u) { return select(0xffffffffu, 0u, mode == LARGEST); }
  if (bits == 0x80000000u) { bits = 0u; }
  let key = select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
  return select(~key, key, mode == ASCENDING);
}
