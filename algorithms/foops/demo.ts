import type { Study } from "../../core/study.ts";
import { runExperiments } from "../experiments.ts";
import { analyticExperiments } from "./experiments/analytic.ts";

/** `tilegrad run foops`: the pictures and tables of the analytic fronts, then classification and fairness. */
export const study: Study = {
  run: (ctx) =>
    runExperiments(
      ctx,
      [analyticExperiments].flatMap((experiments) => experiments(ctx)),
    ),
};
