// One thread per element, workgroups of 64 laid out in two dimensions: `linear(n)` of a contract.
fn linear_index(wid: vec3u, groups: vec3u, lid: u32) -> u32 {
  return (wid.y * groups.x + wid.x) * 64u + lid;
}
