import { exponentialNorm, moved } from "./lib/response";

// The mean-field analog update: w ← w + Δ·q±(w). Elementwise over tiles of 1024, or for each element
// of a crossbar the rank-1 updates of a batch in sample order (a tile is 4 rows).

const TILE: u32 = 1024;
const ROWS: u32 = 4;

export function mean_field_update_f32(
  w: usize, dw: usize, N: u32,
  model: u32, tau: f32, g: f32, c: f32, alpha: f32, lo: u32, hi: u32,
): void {
  const norm = exponentialNorm(g);
  const end = min(hi * TILE, N);
  const va = f32x4.splat(alpha);
  let i = lo * TILE;
  let p = (<usize>i) << 2;
  for (; i + 4 <= end; i += 4) {
    v128.store(w + p, moved(model, v128.load(w + p), f32x4.mul(va, v128.load(dw + p)), tau, g, c, norm));
    p += 16;
  }
  for (; i < end; i++) {
    const v = moved(model, v128.load32_splat(w + p), f32x4.mul(va, v128.load32_splat(dw + p)), tau, g, c, norm);
    store<f32>(w + p, f32x4.extract_lane(v, 0));
    p += 4;
  }
}

export function mean_field_outer_f32(
  w: usize, x: usize, d: usize, O: u32, I: u32, S: u32,
  model: u32, tau: f32, g: f32, c: f32, alpha: f32, lo: u32, hi: u32,
): void {
  const norm = exponentialNorm(g);
  const end = min(hi * ROWS, O);
  const xs = (<usize>I) << 2;
  const ds = (<usize>O) << 2;
  for (let o = lo * ROWS; o < end; o++) {
    const row = w + ((<usize>o * I) << 2);
    let i: u32 = 0;
    for (; i < I; i += 4) {
      // The last columns go one by one through the same code.
      const whole = i + 4 <= I;
      const lanes: u32 = whole ? 1 : I - i;
      for (let k: u32 = 0; k < lanes; k++) {
        const at = (<usize>(i + k)) << 2;
        let v = whole ? v128.load(row + at) : v128.load32_splat(row + at);
        let px = x + at;
        let pd = d + ((<usize>o) << 2);
        for (let s: u32 = 0; s < S; s++) {
          const e = alpha * load<f32>(pd);
          // Silent errors and inputs move nothing; skipping them keeps sparse samples cheap.
          if (e != 0) {
            const xv = whole ? v128.load(px) : v128.load32_splat(px);
            if (v128.any_true(f32x4.ne(xv, f32x4.splat(0)))) {
              v = moved(model, v, f32x4.mul(f32x4.splat(e), xv), tau, g, c, norm);
            }
          }
          px += xs;
          pd += ds;
        }
        if (whole) v128.store(row + at, v);
        else store<f32>(row + at, f32x4.extract_lane(v, 0));
      }
    }
  }
}
