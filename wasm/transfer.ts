// Threshold transfer from a fast array P through a digital buffer H to the pulses of a slow array:
// H ← (1 − b_H) H + b·P, or H + b·P; n = clip(trunc(H / threshold), ±n_max), and H gives up what it fires.
// Tiles of 1024; `n` receives the pulse counts.

const TILE: u32 = 1024;

export function threshold_transfer_f32(
  n: usize, h: usize, p: usize, N: u32,
  keep: f32, rate: f32, threshold: f32, most: f32, forget: f32, lo: u32, hi: u32,
): void {
  const end = min(hi * TILE, N);
  const vkeep = f32x4.splat(keep);
  const vrate = f32x4.splat(rate);
  const vthreshold = f32x4.splat(threshold);
  const vmost = f32x4.splat(most);
  for (let i = lo * TILE; i < end; i += 4) {
    const o = (<usize>i) << 2;
    const whole = i + 4 <= end;
    const lanes: u32 = whole ? 1 : end - i;
    for (let k: u32 = 0; k < lanes; k++) {
      const at = o + ((<usize>k) << 2);
      const vh = whole ? v128.load(h + at) : v128.load32_splat(h + at);
      const vp = whole ? v128.load(p + at) : v128.load32_splat(p + at);
      const sum = f32x4.add(f32x4.mul(vkeep, vh), f32x4.mul(vrate, vp));
      let c = f32x4.trunc(f32x4.div(sum, vthreshold));
      c = f32x4.min(vmost, f32x4.max(f32x4.neg(vmost), c));
      const fired = f32x4.ne(c, f32x4.splat(0));
      const less = forget >= 0 ? f32x4.mul(sum, f32x4.splat(forget)) : f32x4.sub(sum, f32x4.mul(c, vthreshold));
      const rest = v128.bitselect(less, sum, fired);
      if (whole) {
        v128.store(n + at, c);
        v128.store(h + at, rest);
      } else {
        store<f32>(n + at, f32x4.extract_lane(c, 0));
        store<f32>(h + at, f32x4.extract_lane(rest, 0));
      }
    }
  }
}
