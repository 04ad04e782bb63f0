// What `diffusion_step` is told to do: noise schedules and the coefficients of one sampler step, worked
// out on the host in f64. Symbols: ᾱ_t is the share of signal in the variance of z_t, z_t = √ᾱ_t z_0 +
// √(1−ᾱ_t) ε; λ = ½ ln(ᾱ/(1−ᾱ)) is half the log of the signal-to-noise ratio.

/** ᾱ_t for t = 0 … length−1 from the variances β_t of the single steps. */
export function alphaBars(betas: ArrayLike<number>): Float64Array {
  let product = 1;
  return Float64Array.from(betas, (beta) => {
    product *= 1 - beta;
    return product;
  });
}

/**
 * β_t of a schedule over T steps. `linear` in β from 1e-4 to 0.02 (Ho et al. 2020); `scaled_linear` in
 * √β from 0.00085 to 0.012 (latent diffusion); `cosine` in ᾱ, β at most 0.999 (Nichol and Dhariwal 2021, Eq. 17).
 */
export function betas(
  schedule: "linear" | "scaled_linear" | "cosine",
  T = 1000,
  [first, last]: readonly [number, number] = schedule === "linear" ? [1e-4, 0.02] : [8.5e-4, 0.012],
): Float64Array {
  const part = (t: number) => (T > 1 ? t / (T - 1) : 0);
  return Float64Array.from({ length: T }, (_, t) => {
    if (schedule === "linear") return first + part(t) * (last - first);
    if (schedule === "scaled_linear")
      return (Math.sqrt(first) + part(t) * (Math.sqrt(last) - Math.sqrt(first))) ** 2;
    const bar = (s: number) => Math.cos((((s / T + 0.008) / 1.008) * Math.PI) / 2) ** 2;
    return Math.min(0.999, 1 - bar(t + 1) / bar(t));
  });
}

/** Which quantity the network predicts: the noise ε, the clean z_0, or v = √ᾱ ε − √(1−ᾱ) z_0. */
export type Prediction = "eps" | "x0" | "v";

/** Coefficients of `diffusion_step`, as its options. */
export interface StepCoefficients {
  /** ẑ_0 = x0_z · z + x0_e · ê */
  readonly x0_z: number;
  readonly x0_e: number;
  /** z' = a · ẑ_0 + b · z + c · ẑ_0,prev + sigma · noise */
  readonly a: number;
  readonly b: number;
  readonly c: number;
  readonly sigma: number;
}

/** ẑ_0 from z and the prediction at ᾱ. */
function clean(alphaBar: number, prediction: Prediction): Pick<StepCoefficients, "x0_z" | "x0_e"> {
  const [signal, noise] = [Math.sqrt(alphaBar), Math.sqrt(1 - alphaBar)];
  if (prediction === "x0") return { x0_z: 0, x0_e: 1 };
  if (prediction === "v") return { x0_z: signal, x0_e: -noise };
  return { x0_z: 1 / signal, x0_e: -noise / signal };
}

/**
 * DDIM from ᾱ to ᾱ_prev (Song et al. 2021, Eq. 12 and 16): η = 0 deterministic, η = 1 as noisy as DDPM. ε
 * is taken back from ẑ_0, so that clipping ẑ_0 moves it along.
 */
export function ddim(
  alphaBar: number,
  alphaBarPrev: number,
  eta = 0,
  prediction: Prediction = "eps",
): StepCoefficients {
  const sigma =
    eta *
    Math.sqrt((1 - alphaBarPrev) / (1 - alphaBar)) *
    Math.sqrt(Math.max(0, 1 - alphaBar / alphaBarPrev));
  const b = Math.sqrt(Math.max(0, 1 - alphaBarPrev - sigma ** 2)) / Math.sqrt(1 - alphaBar);
  const a = Math.sqrt(alphaBarPrev) - b * Math.sqrt(alphaBar);
  return { ...clean(alphaBar, prediction), a, b, c: 0, sigma };
}

/** DDPM's ancestral step from ᾱ to ᾱ_prev (Ho et al. 2020, Eq. 6–7), variance β̃; ᾱ_prev = 1 is the last, without noise. */
export function ddpm(
  alphaBar: number,
  alphaBarPrev: number,
  prediction: Prediction = "eps",
): StepCoefficients {
  const alpha = alphaBar / alphaBarPrev;
  const a = (Math.sqrt(alphaBarPrev) * (1 - alpha)) / (1 - alphaBar);
  const b = (Math.sqrt(alpha) * (1 - alphaBarPrev)) / (1 - alphaBar);
  const sigma = Math.sqrt(((1 - alpha) * (1 - alphaBarPrev)) / (1 - alphaBar));
  return { ...clean(alphaBar, prediction), a, b, c: 0, sigma };
}

/**
 * DPM-Solver++(2M) from ᾱ to ᾱ_prev, after a step that began at ᾱ_before (Lu et al. 2022, Alg. 2); without it,
 * the first step, which is of first order. Steps of about equal length in λ keep its second order.
 */
export function dpm_solver(
  alphaBar: number,
  alphaBarPrev: number,
  alphaBarBefore?: number,
  prediction: Prediction = "eps",
): StepCoefficients {
  const lambda = (v: number) => 0.5 * Math.log(v / (1 - v));
  const h = lambda(alphaBarPrev) - lambda(alphaBar);
  const d = -Math.sqrt(alphaBarPrev) * Math.expm1(-h);
  const half =
    alphaBarBefore === undefined ? 0 : h / (lambda(alphaBar) - lambda(alphaBarBefore)) / 2;
  return {
    ...clean(alphaBar, prediction),
    a: d * (1 + half),
    b: Math.sqrt((1 - alphaBarPrev) / (1 - alphaBar)),
    c: -d * half,
    sigma: 0,
  };
}
