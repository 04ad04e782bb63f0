/** Four neighbours, or with stride 2 every other number: nothing past the last one wanted is read. */
// @ts-ignore: decorator
@inline
export function four(from: usize, stride: u32): v128 {
  const v = v128.load(from);
  if (stride == 1) return v;
  return i8x16.shuffle(v, v128.load(from, 12), 0, 1, 2, 3, 8, 9, 10, 11, 20, 21, 22, 23, 28, 29, 30, 31);
}
