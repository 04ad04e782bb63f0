import type { Backend } from "../../core/backend.ts";
import type { Step } from "../../core/capture.ts";
import type { Tensor } from "../../core/tensor.ts";
import type { Subject } from "../subject.ts";
import { timeRuns } from "../timer.ts";

/** Steps from the start whose losses are the output, for peers to be checked against. */
export const CHECKED = 5;

/** A captured training step that returns its loss, as what is timed; it disposes what it `owns`. */
export const stepSubject = (
  backend: Backend,
  step: Step<Tensor>,
  { shape, flops }: { shape: string; flops: number },
  owns: readonly { dispose(): void }[],
): Subject => ({
  variant: "default",
  shape,
  cost: { flops, bytes: 0 },
  memory: { footprint: 0, written: 0 },
  time: (o) => timeRuns(() => step.run(), backend, o),
  async output() {
    const losses = new Float32Array(CHECKED);
    for (let i = 0; i < CHECKED; i++) {
      step.run();
      losses[i] = (await step.out.read())[0];
    }
    return losses;
  },
  dispose() {
    step.dispose();
    for (const t of owns) t.dispose();
  },
});
