// What eight pixels of a row, four in `a` and four in `b`, meet at three neighbouring taps: ten numbers of `x`
// from `at` on, zero where the row or its column is outside.
struct Line { a: mat3x4f, b: mat3x4f }
fn line(at: u32, inside: bool, first: vec4<bool>, second: vec4<bool>, third: vec2<bool>) -> Line {
  let l = select(vec4f(), vec4f(x[at], x[at + 1u], x[at + 2u], x[at + 3u]), first & vec4<bool>(inside));
  let m = select(vec4f(), vec4f(x[at + 4u], x[at + 5u], x[at + 6u], x[at + 7u]), second & vec4<bool>(inside));
  let r = select(vec2f(), vec2f(x[at + 8u], x[at + 9u]), third & vec2<bool>(inside));
  return Line(
    mat3x4f(l, vec4f(l.yzw, m.x), vec4f(l.zw, m.xy)),
    mat3x4f(m, vec4f(m.yzw, r.x), vec4f(m.zw, r)),
  );
}
