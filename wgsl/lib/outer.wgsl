// sums + x wᵀ: column j of the result belongs to w[j], row i to x[i].
fn outer(x: vec4f, w: vec4f, sums: mat4x4f) -> mat4x4f {
  return mat4x4f(
    fma(x, vec4f(w.x), sums[0]), fma(x, vec4f(w.y), sums[1]), fma(x, vec4f(w.z), sums[2]), fma(x, vec4f(w.w), sums[3]),
  );
}
