// Order as the order of integers. An element becomes one word of 64 bits: a key that orders as the numbers
// do, above its index. No two words are equal, so there is one right order, the stable one.

/** -0 as 0; ascending, or descending; NaN last. */
// @ts-ignore: decorator
@inline
export function keyOf(bits: u32, descending: bool): u32 {
  if ((bits & 0x7fffffff) > 0x7f800000) return 0xffffffff;
  if (bits == 0x80000000) bits = 0;
  const key = bits & 0x80000000 ? ~bits : bits | 0x80000000;
  return descending ? ~key : key;
}

// @ts-ignore: decorator
@inline
export function word(key: u32, i: u32): u64 {
  return ((<u64>key) << 32) | <u64>i;
}
