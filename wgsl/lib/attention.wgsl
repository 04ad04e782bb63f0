// Keys [x, y) that query i sees.
fn keys_of(i: u32, S: u32, T: u32, causal: u32, window: u32) -> vec2u {
  let at = i32(i + T) - i32(S);
  let reach = i32(min(window, S + T));
  let lo = select(0, max(at - reach + 1, 0), window != 0u);
  let hi = select(select(i32(T), at + reach, window != 0u), at + 1, causal != 0u);
  return vec2u(u32(lo), u32(clamp(hi, lo, max(i32(T), lo))));
}

// First row of k and v that belongs to a head of q, both counted through the batch.
fn kv_of(head: u32, H: u32, G: u32, T: u32) -> u32 {
  return ((head / H) * G + (head % H) / (H / G)) * T;
}

fn scale_of(scale: f32, D: u32) -> f32 {
  return select(scale, 1.0 / sqrt(f32(max(D, 1u))), scale == 0.0);
}

// softcap·tanh(s / softcap), or s where softcap is 0.
fn capped(s: f32, softcap: f32) -> f32 {
  if (softcap == 0.0) { return s; }
  return softcap * tanh_f(s / softcap);
}

// The derivative of a capped score by what the cap was put on.
fn slope_of(score: f32, softcap: f32) -> f32 {
  if (softcap == 0.0) { return 1.0; }
  let t = score / softcap;
  return 1.0 - t * t;
}

const LOG2E = 1.4426950408889634;
const LN2 = 0.6931471805599453;

// Stands for -Inf, which arithmetic on the device may not survive, in scores and in their maximum: what is
// hidden lies below the first maximum, and its weight is 0 even in a row where all is hidden.
const HIDDEN = -3e38;
const FIRST_TOP = -1e38;

// 2^x for x < 127, relative error < 2e-7, 0 below -126, NaN for NaN; the polynomial of wasm/lib/flash.ts.
fn exp2_4(x: vec4f) -> vec4f {
  let n = round(x);
  let f = x - n;
  var y = vec4f(0.001326472731307149);
  y = fma(y, f, vec4f(0.009671512991189957));
  y = fma(y, f, vec4f(0.05550733581185341));
  y = fma(y, f, vec4f(0.24022242426872253));
  y = fma(y, f, vec4f(0.6931470036506653));
  y = fma(y, f, vec4f(1.0));
  return select(y * bitcast<vec4f>((vec4i(n) + 127) << vec4u(23u)), vec4f(), x < vec4f(-126.0));
}

// tanh x, absolute error < 2e-7, which is what a score needs.
fn tanh_4(x: vec4f) -> vec4f {
  let a = abs(x);
  let y = 1.0 - 2.0 / (exp2_4((2.0 * LOG2E) * select(a, vec4f(20.0), a > vec4f(20.0))) + 1.0);
  return select(y, -y, x < vec4f());
}

// max() costs more where it has to sort out NaN; this passes over a NaN in b.
fn top_4(a: vec4f, b: vec4f) -> vec4f {
  return select(a, b, b > a);
}

// Scores in units of ln 2 are q·k times `factor`; or, with a cap, `most` times tanh of that.
struct Score { factor: f32, most: f32 }

fn score_of(scale: f32, D: u32, softcap: f32) -> Score {
  let s = scale_of(scale, D);
  if (softcap > 0.0) { return Score(s / softcap, softcap * LOG2E); }
  return Score(s * LOG2E, 0.0);
}

// A tile of scores is a matrix of four columns, the items that stream by, over four rows that a thread keeps.

// Column i times factor[i].
fn columns_times(a: mat4x4f, factor: vec4f) -> mat4x4f {
  return mat4x4f(a[0] * factor.x, a[1] * factor.y, a[2] * factor.z, a[3] * factor.w);
}

// What decides which keys a query sees.
struct View { S: u32, T: u32, causal: u32, window: u32 }

// The keys that four rows see, from lo up to hi.
struct Seen { lo: vec4u, hi: vec4u }

fn seen_by(rows: vec4u, view: View) -> Seen {
  let i = rows % view.S;
  let x = keys_of(i.x, view.S, view.T, view.causal, view.window);
  let y = keys_of(i.y, view.S, view.T, view.causal, view.window);
  let z = keys_of(i.z, view.S, view.T, view.causal, view.window);
  let w = keys_of(i.w, view.S, view.T, view.causal, view.window);
  return Seen(vec4u(x.x, y.x, z.x, w.x), vec4u(x.y, y.y, z.y, w.y));
}

// The keys that one of rows [row0, row0 + n) sees: later queries of a head see later keys.
fn keys_of_rows(row0: u32, n: u32, view: View) -> vec2u {
  let whole = row0 / view.S != (row0 + n - 1u) / view.S;
  let i = select(row0 % view.S, 0u, whole);
  let last = select((row0 + n - 1u) % view.S, view.S - 1u, whole);
  let begin = keys_of(i, view.S, view.T, view.causal, view.window).x;
  return vec2u(begin, keys_of(last, view.S, view.T, view.causal, view.window).y);
}

fn sees(s: Seen, j: u32) -> vec4<bool> {
  return (vec4u(j) >= s.lo) & (vec4u(j) < s.hi);
}
