// A row per workgroup of 64: reductions over its threads. All threads must call them.
var<workgroup> row_part: array<f32, 64>;

fn row_all_sum(v: f32, l: u32) -> f32 {
  workgroupBarrier();
  row_part[l] = v;
  workgroupBarrier();
  for (var s = 32u; s > 0u; s >>= 1u) {
    if (l < s) { row_part[l] += row_part[l + s]; }
    workgroupBarrier();
  }
  return row_part[0];
}

// max() may drop a NaN; this keeps it.
fn max_nan(a: f32, b: f32) -> f32 {
  return select(select(a, b, b > a || is_nan(b)), a, is_nan(a));
}

fn row_all_max(v: f32, l: u32) -> f32 {
  workgroupBarrier();
  row_part[l] = v;
  workgroupBarrier();
  for (var s = 32u; s > 0u; s >>= 1u) {
    if (l < s) { row_part[l] = max_nan(row_part[l], row_part[l + s]); }
    workgroupBarrier();
  }
  return row_part[0];
}

const LOWEST = -3.4028234e38;
