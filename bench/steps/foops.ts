// A step of FOOPS (algorithms/foops) on two objectives of 20 parameters: 5 inner steps, then the outer one.

import { defaults } from "../../algorithms/foops/config.ts";
import { init, step } from "../../algorithms/foops/foops.ts";
import { ratio } from "../../algorithms/foops/problem.ts";
import { exponential, toyProblem } from "../../algorithms/foops/toys.ts";
import { capture } from "../../core/capture.ts";
import type { Point } from "../subject.ts";
import { inputData } from "../uniform.ts";
import { CHECKED, losses, stepSubject } from "./subject.ts";

const Q = 20;
const { tau, gamma, alpha, beta, innerSteps } = defaults;

/** x_0 from `inputData`; F_m = 1 − e^(−‖x ∓ 1/√q‖²), f₀ = (5f₁ − 4f₂)²/41, θ = 2, l = 0. */
export const foopsCase = {
  op: "step_foops",
  inputs: [[Q]],
  params: { scale: 0.4, tau, gamma, alpha, beta, inner: innerSteps, checked: CHECKED },
};

export const foopsStep: Point = {
  kernel: "step_foops",
  source: "FOOPS, 2 objectives, q = 20, K = 5",
  async prepare(backend) {
    const [x] = inputData(foopsCase.inputs).map((v) => v.map((e) => foopsCase.params.scale * e));
    const problem = toyProblem(exponential(Q), ratio([4, 5]));
    const state = init(backend, problem, defaults, { x }, { warn: () => {} });
    const captured = await capture(backend, () => step(state).F);
    // 2 products of (1,q) by (q,M), and twice that for their gradients, at K + 1 points
    const flops = (innerSteps + 1) * 3 * 2 * 2 * Q * 2;
    const shape = `q=${Q} M=2 K=${innerSteps}`;
    return stepSubject(backend, captured, { shape, flops }, () => losses(captured), [
      { dispose: () => state[Symbol.dispose]() },
    ]);
  },
};
