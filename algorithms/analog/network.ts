import { type Backend, type Scalar, type Tensor, ValueError } from "../../core/index.ts";
import { threefry2x32, uniformOf } from "../../core/threefry.ts";
import {
  add,
  analog_mvm,
  gather,
  matmul,
  mean_field_outer,
  mean_field_update,
  mul,
  scale,
  softmax_xent,
  softmax_xent_bwd,
  sum_leading,
  tanh,
  tanh_bwd,
  threshold_transfer,
} from "../../kernels/index.ts";
import { type Config, checkConfig, device, dwMin } from "./config.ts";
import { apparent, type Pulses, pulseEach, pulseOuter } from "./crossbar.ts";
import { sampleDevices, sampleRetention } from "./devices.ts";

/** Where the rows of a convolution come from and go to, for one batch. */
interface Windows {
  /** Channels of the image that comes in, and its number of pixels in the batch. */
  readonly C: number;
  readonly pixels: number;
  /** (B·P·conv²) pixel of each tap of each window. */
  readonly taps: Tensor;
  /** (conv²·pixels) the other way round: where each pixel went as tap 0, 1, …, or −1. */
  readonly uses: Tensor;
  /** (B·P) cell of the 2×2 mean that each window belongs to. */
  readonly cells: Tensor;
  /** (4·pooled) the other way round: the four windows of each cell. */
  readonly members: Tensor;
  readonly pooled: number;
}

interface Layer {
  readonly I: number;
  readonly O: number;
  /** W⁽⁰⁾ = W, then the residual arrays, finest last: P of Residual Learning is tiles[1]. */
  readonly tiles: readonly Tensor[];
  /** Parameters of the devices of each tile, pulse mode. */
  readonly devices: readonly Tensor[];
  /** What the devices of each tile keep of their weight over a mini-batch, if they have a lifetime. */
  readonly retention: readonly Tensor[];
  readonly b: Tensor;
  /** W̄ = Σ γⁿ W⁽ⁿ⁾, where gradients are taken. */
  readonly Wbar?: Tensor;
  /** Digital buffer and gradient, as the method needs them. */
  readonly H?: Tensor;
  readonly grad?: Tensor;
  readonly windows?: Windows;
}

export interface State extends Disposable {
  readonly config: Config;
  readonly layers: readonly Layer[];
  /** 1/B for each sample of a batch: the loss is a mean. */
  readonly share: Tensor;
}

const buffers = (c: Config) =>
  c.method === "ttv2" || c.method === "residual-v2" || c.method === "mixed-precision";
const single = (c: Config) =>
  c.method === "digital" || c.method === "analog-sgd" || c.method === "mixed-precision";
const tilesOf = (c: Config) => (single(c) ? 1 : c.method === "multi-tile" ? c.tiles : 2);
/** γ of W̄; both Tiki-Taka versions read W alone. */
const gammaOf = (c: Config) => (c.method === "ttv1" || c.method === "ttv2" ? 0 : c.gamma);

/**
 * Weights U(±1/√in) inside the bounds in W, everything else 0.
 * @throws ValueError for a field of the configuration out of its range, or an image that does not fit
 */
export function init(be: Backend, config: Config): State {
  checkConfig(config);
  const { layers: specs, batch, mode, method, response, device: given, seed } = config;
  const reach = given ? Math.min(given.wMax, -given.wMin) : response.tau;
  let [features, side, C] = [specs[0], Math.sqrt(specs[0]), 1];
  const layers = specs.slice(1).map((spec, l): Layer => {
    const windows = typeof spec === "number" ? undefined : slide(be, batch, side, C, spec.conv);
    const I = typeof spec === "number" ? features : spec.conv ** 2 * C;
    const O = typeof spec === "number" ? spec : spec.channels;
    if (windows && typeof spec !== "number") {
      [side, C] = [(side - spec.conv + 1) / 2, O];
      features = side * side * C;
    } else {
      [features, side] = [O, Number.NaN];
    }
    const bound = Math.min(1 / Math.sqrt(I), reach);
    const draw = (e: number) => bound * (2 * uniformOf(threefry2x32(seed, 0x11 + l, e, 0)[0]) - 1);
    const zeros = () => be.tensor([O, I]);
    const n = tilesOf(config);
    const pulsed = mode === "pulse" && method !== "digital";
    const perTile = (make: (stream: number) => Tensor) =>
      pulsed ? Array.from({ length: n }, (_, k) => make(0x40 + 16 * l + k)) : [];
    const type = device(config);
    return {
      I,
      O,
      tiles: Array.from({ length: n }, (_, k) =>
        k === 0
          ? be.tensor(
              [O, I],
              Float32Array.from({ length: O * I }, (_, e) => draw(e)),
            )
          : zeros(),
      ),
      devices: perTile((k) => be.tensor([7, O, I], sampleDevices(type, O * I, seed, k))),
      retention: type.lifetime
        ? perTile((k) => be.tensor([O, I], sampleRetention(type, O * I, seed, k)))
        : [],
      b: be.tensor([O]),
      ...(n > 1 && gammaOf(config) > 0 ? { Wbar: zeros() } : {}),
      ...(buffers(config) ? { H: zeros() } : {}),
      ...(method === "mixed-precision" ? { grad: zeros() } : {}),
      ...(windows ? { windows } : {}),
    };
  });
  const share = be.tensor([batch], new Float32Array(batch).fill(1 / batch));
  return {
    config,
    layers,
    share,
    [Symbol.dispose]() {
      share.dispose();
      for (const { tiles, devices, retention, b, Wbar, H, grad, windows } of layers)
        for (const t of [
          ...tiles,
          ...devices,
          ...retention,
          b,
          Wbar,
          H,
          grad,
          windows?.taps,
          windows?.uses,
          windows?.cells,
          windows?.members,
        ])
          t?.dispose();
    },
  };
}

/** The windows of a K×K convolution over B images of side², without padding, and their 2×2 cells. */
function slide(be: Backend, B: number, side: number, C: number, K: number): Windows {
  const out = side - K + 1;
  if (!(Number.isInteger(side) && out >= 2 && out % 2 === 0)) {
    throw new ValueError(
      "config",
      `analog: layers: a ${K}×${K} convolution and its 2×2 mean need a square image whose side less ${K - 1} is even, got a side of ${side}`,
    );
  }
  const half = out / 2;
  const [taps, cells] = [new Int32Array(B * out * out * K * K), new Int32Array(B * out * out)];
  const uses = new Int32Array(K * K * B * side * side).fill(-1);
  const members = new Int32Array(4 * B * half * half);
  const [pixels, pooled] = [B * side * side, B * half * half];
  for (let window = 0; window < cells.length; window++) {
    const q = window % out;
    const r = Math.floor(window / out) % out;
    const s = Math.floor(window / (out * out));
    cells[window] = (s * half + (r >> 1)) * half + (q >> 1);
    members[(2 * (r & 1) + (q & 1)) * pooled + cells[window]] = window;
    for (let i = 0; i < K * K; i++) {
      const pixel = (s * side + r + Math.floor(i / K)) * side + q + (i % K);
      taps[window * K * K + i] = pixel;
      uses[i * pixels + pixel] = window * K * K + i;
    }
  }
  const index = (data: Int32Array) => be.tensor([data.length], data);
  return {
    C,
    pixels,
    taps: index(taps),
    uses: index(uses),
    cells: index(cells),
    members: index(members),
    pooled,
  };
}

/** y (n, D): the sum of the rows of x (·, D) that index (k·n) names, k for each; −1 names none. */
function gatherSum(x: Tensor, index: Tensor, n: number): Tensor {
  const D = x.shape[1];
  const rows = gather(x, index, { outside: "zero" });
  return sum_leading(rows.reshape([index.size / n, n * D])).reshape([n, D]);
}

/** Streams of random numbers of layer l: 0 gradient pulses, 1 + n writes of tile n, 14 and 15 reads. */
const streamOf = (l: number, use: number) => 0x100 + 64 * l + 4 * use;
/** Those of the write noise of tile n. */
const writeNoiseStreamOf = (l: number, n: number) => 0x8000 + 16 * l + n;

/** The weight that forward and backward read: W̄ = Σ γⁿ W⁽ⁿ⁾, or W. */
function weight({ config }: State, l: number, { tiles, Wbar }: Layer, t: number | Scalar): Tensor {
  const seen = (n: number) =>
    config.device
      ? apparent(tiles[n], {
          type: config.device,
          seed: config.seed,
          stream: writeNoiseStreamOf(l, n),
          t,
        })
      : tiles[n];
  if (!Wbar) return seen(0);
  tiles.forEach((_, n) => {
    scale.into({ y: Wbar }, { x: seen(n) }, { by: gammaOf(config) ** n, beta: n === 0 ? 0 : 1 });
  });
  return Wbar;
}

/** What backward needs of a layer: its weight, its input rows x and what it put out before the mean. */
interface Trace {
  readonly weight: Tensor;
  readonly x: Tensor;
  readonly a: Tensor;
}

/** Logits (B, classes) of x (B, features), and a trace of each layer; t counts analog reads. */
export function forward(
  s: State,
  x: Tensor,
  t: number | Scalar = 0,
): { logits: Tensor; traces: Trace[] } {
  const { io, seed } = s.config;
  const traces: Trace[] = [];
  let h = x;
  s.layers.forEach((layer, l) => {
    const { I, b, windows } = layer;
    const W = weight(s, l, layer, t);
    const rows = windows ? gather(h.reshape([windows.pixels, windows.C]), windows.taps) : h;
    const input = rows.reshape([rows.size / I, I]);
    const hidden = l + 1 < s.layers.length;
    let a: Tensor;
    if (io === "float") a = matmul(input, W, { tb: 1, bias: b, act: hidden ? "tanh" : "none" });
    else {
      const z = add(analog_mvm(input, W, { seed, stream: streamOf(l, 14), t }), b);
      a = hidden ? tanh(z) : z;
    }
    traces.push({ weight: W, x: input, a });
    h = windows ? scale(gatherSum(a, windows.members, windows.pooled), { by: 1 / 4 }) : a;
    h = h.reshape([x.shape[0], h.size / x.shape[0]]);
  });
  return { logits: h, traces };
}

/**
 * One training step on a batch x (B, features), labels (B, i32); t is its number, the counter of all
 * draws. `due` are the tiles that are written from the next finer one after the gradient (see
 * `transfersDue`). Returns the loss of each sample before the step. Capture it, or run it in a scope.
 */
export function step(
  s: State,
  x: Tensor,
  labels: Tensor,
  t: number | Scalar,
  due: readonly number[],
): Tensor {
  const { config, layers } = s;
  const { logits, traces } = forward(s, x, t);
  const { loss, lse } = softmax_xent(logits, labels);
  // Each sample's own error, divided by the batch: updates are per sample, never of their mean.
  let dh = softmax_xent_bwd(s.share, logits, lse, labels);
  for (let l = layers.length - 1; l >= 0; l--) {
    const { windows, O, b } = layers[l];
    const { weight, x: input, a } = traces[l];
    const da = windows
      ? scale(gather(dh.reshape([windows.pooled, O]), windows.cells), { by: 1 / 4 })
      : dh;
    const delta = l + 1 < layers.length ? tanh_bwd(da, a) : da;
    if (l > 0) {
      const dx =
        config.io === "float"
          ? matmul(delta, weight)
          : analog_mvm(delta, weight, {
              tr: 1,
              bm: "none",
              seed: config.seed,
              stream: streamOf(l, 15),
              t,
            });
      dh = windows
        ? gatherSum(dx.reshape([windows.taps.size, windows.C]), windows.uses, windows.pixels)
        : dx;
    }
    writeGradient(s, l, input, delta, t);
    scale.into({ y: b }, { x: sum_leading(delta) }, { by: -config.lr, beta: 1 });
    for (const n of due) transfer(s, l, n, t);
    layers[l].retention.forEach((keep, n) => {
      const tile = layers[l].tiles[n];
      tile.backend.copy(tile, mul(tile, keep));
    });
  }
  return loss;
}

/** Tiles that are written after batch t, finer ones first: n from n + 1 (Eq. 11; §2.9 for several). */
export function transfersDue(c: Config, t: number): number[] {
  if (c.method === "mixed-precision") return [0];
  const due: number[] = [];
  for (let n = tilesOf(c) - 2, every = c.transferEvery; n >= 0; n--, every *= c.everyGrowth)
    if ((t + 1) % every === 0) due.push(n);
  return due;
}

function pulses(
  s: State,
  l: number,
  n: number,
  use: number,
  bl: number,
  t: number | Scalar,
): Pulses {
  const { config, layers } = s;
  const { seed } = config;
  return { type: device(config), dev: layers[l].devices[n], bl, seed, stream: streamOf(l, use), t };
}

/** The finest array takes −α Σ_s δ_s x_sᵀ, as the crossbar does it: Eq. 5 per sample, or pulse trains. */
function writeGradient(s: State, l: number, x: Tensor, d: Tensor, t: number | Scalar): void {
  const { method, lr, fastLr, bl, mode, response } = s.config;
  const { tiles, grad } = s.layers[l];
  const finest = tiles.length - 1;
  const A = tiles[finest];
  if (method === "digital") {
    matmul.into({ y: A }, { a: d, b: x }, { ta: 1, alpha: -lr, beta: 1 });
  } else if (grad) {
    matmul.into({ y: grad }, { a: d, b: x }, { ta: 1 });
  } else {
    // Eq. 10: the gradient at W̄ goes to P alone, without a factor γ.
    const alpha = finest === 0 ? lr : fastLr;
    if (mode === "mean-field")
      mean_field_outer.into({ w: A }, { x, d }, { ...response, alpha: -alpha });
    else
      pulseOuter(A, x, d, pulses(s, l, finest, 0, bl, t), {
        lr: alpha,
        granularity: dwMin(s.config),
      });
  }
}

/** Tile n takes what the next finer one, or the gradient, has gathered. */
function transfer(s: State, l: number, n: number, t: number | Scalar): void {
  const { config } = s;
  const { method, lr, transferLr, bufferRate, response, bl, mode } = config;
  const { tiles, H, grad } = s.layers[l];
  const threshold = dwMin(config);
  const W = tiles[n];
  const from = grad ?? tiles[n + 1];
  if (!H) {
    // Eq. 11: W ← W + βP⊙F − β|P|⊙G.
    if (mode === "mean-field")
      mean_field_update.into({ w: W }, { dw: from }, { ...response, alpha: transferLr });
    else pulseEach(W, from, pulses(s, l, n, 1 + n, bl, t), transferLr / threshold);
    return;
  }
  // Pulses due, one at a time (Eq. 14–15): H ← (1 − β_H)H + β_H P; TTv2 H ← H + βP; χ ← χ − α∇f.
  const most = method === "mixed-precision" ? bl : 1;
  const rates =
    method === "mixed-precision"
      ? { keep: 1, rate: -lr }
      : method === "ttv2"
        ? { keep: 1, rate: transferLr }
        : { keep: 1 - bufferRate, rate: bufferRate };
  const due = threshold_transfer(H, from, { ...rates, threshold, most });
  if (mode === "mean-field")
    mean_field_update.into({ w: W }, { dw: due }, { ...response, alpha: threshold });
  else pulseEach(W, due, pulses(s, l, n, 1 + n, most, t));
}
