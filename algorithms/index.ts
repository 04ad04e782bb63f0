import type { StudyEntry } from "../core/study.ts";

/** The papers that `tilegrad run` knows; a study's code is loaded only when it is run. */
export const studies: readonly StudyEntry[] = [
  {
    name: "analog",
    paper:
      "Wu et al., Analog In-memory Training on General Non-ideal Resistive Elements: " +
      "The Impact of Response Functions, arXiv:2502.06309",
    load: () => import("./analog/demo.ts").then((m) => m.study),
  },
];
