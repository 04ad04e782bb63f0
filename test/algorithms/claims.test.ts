import { describe, expect, test } from "vitest";
import { pulseExperiments } from "../../algorithms/analog/experiments/pulses.ts";
import { quadraticExperiments } from "../../algorithms/analog/experiments/quadratic.ts";
import { tileExperiments } from "../../algorithms/analog/experiments/tiles.ts";
import { toyExperiments } from "../../algorithms/analog/experiments/toy.ts";
import {
  digitExperiments,
  segmentExperiments,
} from "../../algorithms/analog/experiments/training.ts";
import { type Experiment, runExperiments } from "../../algorithms/experiments.ts";
import { analyticExperiments } from "../../algorithms/foops/experiments/analytic.ts";
import {
  patchExperiments,
  digitExperiments as twoDigits,
} from "../../algorithms/foops/experiments/classification.ts";
import { fairnessExperiments } from "../../algorithms/foops/experiments/fairness.ts";
import { convexExperiments } from "../../algorithms/safety-capability/experiments/convex.ts";
import { landscapeExperiments } from "../../algorithms/safety-capability/experiments/landscape.ts";
import { loraExperiments } from "../../algorithms/safety-capability/experiments/lora.ts";
import { networkExperiments } from "../../algorithms/safety-capability/experiments/networks.ts";
import { tabularExperiments } from "../../algorithms/safety-capability/experiments/tabular.ts";
import type { BackendName } from "../../core/index.ts";
import type { StudyContext } from "../../core/study.ts";
import { openBackend } from "../support/backends.ts";

// What `tilegrad run` checks, as tests: the quick form here, all of it with TILEGRAD_FULL=1.

const full = process.env.TILEGRAD_FULL === "1";
type Experiments = (ctx: StudyContext) => Experiment[];

const papers: Record<string, { all: Record<string, Experiments>; webgpu: string[] }> = {
  analog: {
    all: {
      digits: digitExperiments,
      segments: segmentExperiments,
      toy: toyExperiments,
      tiles: tileExperiments,
      quadratic: quadraticExperiments,
      pulses: pulseExperiments,
    },
    // The rest takes minutes on a software adapter; the step itself is compared in analog.test.ts.
    webgpu: ["tiles", "quadratic", "pulses"],
  },
  foops: {
    all: {
      analytic: analyticExperiments,
      patches: patchExperiments,
      "two digits": twoDigits,
      fairness: fairnessExperiments,
    },
    webgpu: ["analytic", "patches", "two digits", "fairness"],
  },
  "safety-capability": {
    all: {
      tables: tabularExperiments,
      "softmax regression": convexExperiments,
      teachers: networkExperiments,
      landscape: landscapeExperiments,
      LoRA: loraExperiments,
    },
    // tables are not of tensors; the rest takes two minutes each and more
    webgpu: ["softmax regression", "landscape"],
  },
};

async function claims(backend: BackendName, experiments: Experiments): Promise<void> {
  using be = await openBackend(backend);
  const ctx: StudyContext = {
    backend: be,
    seed: 1,
    seeds: full ? 3 : 1,
    size: full ? "full" : "quick",
    signal: new AbortController().signal,
    progress: () => {},
    cell: (_key, body) => body(),
  };
  const { checks } = await runExperiments(ctx, experiments(ctx));
  expect(checks.length).toBeGreaterThan(0);
  expect(checks.filter((c) => !c.pass)).toEqual([]);
}

for (const [paper, { all, webgpu }] of Object.entries(papers)) {
  describe(`claims of ${paper}`, () => {
    const limit = full ? 3_600_000 : 600_000;
    test.each(Object.entries(all))("%s on wasm", (_, e) => claims("wasm", e), limit);
    const onGpu = Object.entries(all).filter(([name]) => full || webgpu.includes(name));
    if (onGpu.length) test.each(onGpu)("%s on webgpu", (_, e) => claims("webgpu", e), limit);
  });
}
