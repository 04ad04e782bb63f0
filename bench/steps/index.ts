// Whole steps: tilegrad's as a point, and the problem that peers do as well. A step is a file here, a
// line in a list, and an operation of its name in the adapters of bench/peers/.
import type { PeerCase } from "../peer-cases.ts";
import { attentionCase, attentionStep } from "./attention.ts";
import { foopsCase, foopsStep } from "./foops.ts";
import { mlpCase, mlpStep } from "./mlp.ts";
import { loraCase, loraStep, networkCase, networkStep } from "./safety.ts";
import { transformerCase, transformerStep } from "./transformer.ts";

export const trainingSteps: readonly PeerCase[] = [
  { name: "step MLP", problem: mlpCase, point: mlpStep },
  { name: "step transformer", problem: transformerCase, point: transformerStep },
  { name: "step safety network", problem: networkCase, point: networkStep },
  { name: "step safety LoRA", problem: loraCase, point: loraStep },
];
export const steps: readonly PeerCase[] = [
  ...trainingSteps,
  { name: "step FOOPS", problem: foopsCase, point: foopsStep },
  { name: "attention 1024 backward", problem: attentionCase, point: attentionStep },
];
