import type { Study } from "../../core/study.ts";
import { runExperiments } from "../experiments.ts";
import { convexExperiments } from "./experiments/convex.ts";
import { landscapeExperiments } from "./experiments/landscape.ts";
import { loraExperiments } from "./experiments/lora.ts";
import { networkExperiments } from "./experiments/networks.ts";
import { tabularExperiments } from "./experiments/tabular.ts";
import { textExperiments } from "./experiments/text.ts";

/** `tilegrad run safety-capability`: the theory where it is exact, then networks, then text. */
export const study: Study = {
  run: (ctx) =>
    runExperiments(
      ctx,
      [
        tabularExperiments,
        convexExperiments,
        networkExperiments,
        landscapeExperiments,
        loraExperiments,
        textExperiments,
      ].flatMap((experiments) => experiments(ctx)),
    ),
};
