import type { Study } from "../../core/study.ts";
import { runExperiments } from "../experiments.ts";
import { pulseExperiments } from "./experiments/pulses.ts";
import { quadraticExperiments } from "./experiments/quadratic.ts";
import { tileExperiments } from "./experiments/tiles.ts";
import { toyExperiments } from "./experiments/toy.ts";
import { digitExperiments, segmentExperiments } from "./experiments/training.ts";

/** `tilegrad run analog`: digits first, then the claims one by one. */
export const study: Study = {
  run: (ctx) =>
    runExperiments(
      ctx,
      [
        digitExperiments,
        segmentExperiments,
        toyExperiments,
        tileExperiments,
        quadraticExperiments,
        pulseExperiments,
      ].flatMap((experiments) => experiments(ctx)),
    ),
};
