import type { Backend } from "../../core/backend.ts";
import type { Step } from "../../core/capture.ts";
import type { Tensor } from "../../core/tensor.ts";
import type { Subject } from "../subject.ts";
import { timeRuns } from "../timer.ts";

/** Steps from the start whose losses are the output, for peers to be checked against. */
export const CHECKED = 5;

/** The losses of the first steps of a captured training step that returns its loss. */
export async function losses(step: Step<Tensor>): Promise<Float32Array> {
  const found = new Float32Array(CHECKED);
  for (let i = 0; i < CHECKED; i++) {
    step.run();
    found[i] = (await step.out.read())[0];
  }
  return found;
}

/** A captured step as what is timed; it disposes what it `owns`. */
export const stepSubject = <R>(
  backend: Backend,
  step: Step<R>,
  { shape, flops }: { shape: string; flops: number },
  output: () => Promise<Float32Array>,
  owns: readonly { dispose(): void }[],
): Subject => ({
  variant: "default",
  shape,
  cost: { flops, bytes: 0 },
  memory: { footprint: 0, written: 0 },
  time: (o) => timeRuns(() => step.run(), backend, o),
  replay: () => ({ run: () => step.run(), dispose() {} }),
  output,
  dispose() {
    step.dispose();
    for (const t of owns) t.dispose();
  },
});
