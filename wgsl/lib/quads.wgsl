// Products for a CPU adapter, whose lanes come four to a vector: there a load is a gather that costs twenty
// multiplications, and barriers cost more still. Each of four threads loads its own row and its own column, and the
// columns are turned within the quad, which is one instruction: four products for two loads. Needs `subgroups`.

// The value of this lane and of its three neighbours: component d is that of lane ^ d. The four must come here
// together; what a compiler can prove is about whole subgroups only.
@diagnostic(off, subgroup_uniformity)
fn turned(v: f32) -> vec4f {
  return vec4f(v, quadSwapX(v), quadSwapY(v), quadSwapDiagonal(v));
}

fn all_turned(v: vec4f) -> mat4x4f {
  return mat4x4f(turned(v.x), turned(v.y), turned(v.z), turned(v.w));
}
