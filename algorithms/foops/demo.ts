import type { Study } from "../../core/study.ts";
import { runExperiments } from "../experiments.ts";
import { analyticExperiments } from "./experiments/analytic.ts";
import { digitExperiments, patchExperiments } from "./experiments/classification.ts";
import { fairnessExperiments } from "./experiments/fairness.ts";

/** `tilegrad run foops`: the pictures and tables of the analytic fronts, then classification and fairness. */
export const study: Study = {
  run: (ctx) =>
    runExperiments(
      ctx,
      [analyticExperiments, patchExperiments, digitExperiments, fairnessExperiments].flatMap(
        (experiments) => experiments(ctx),
      ),
    ),
};
