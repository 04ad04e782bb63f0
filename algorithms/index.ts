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
  {
    name: "foops",
    paper:
      "Chen et al., Efficient First-Order Optimization on the Pareto Set for Multi-Objective Learning " +
      "under Preference Guidance, arXiv:2504.02854",
    load: () => import("./foops/demo.ts").then((m) => m.study),
  },
  {
    name: "safety-capability",
    paper:
      "Chen, Shen, Das, Chen, Fundamental Safety-Capability Trade-offs in Fine-tuning Large Language Models, " +
      "arXiv:2503.20807",
    load: () => import("./safety-capability/demo.ts").then((m) => m.study),
  },
];
