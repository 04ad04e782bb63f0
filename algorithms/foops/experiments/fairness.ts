import { slab } from "../../../core/index.ts";
import type { StudyContext } from "../../../core/study.ts";
import { atLeast, atMost, type Experiment, experiment } from "../../experiments.ts";
import { runBaseline } from "../baselines.ts";
import { defaults } from "../config.ts";
import { penguinProblem, penguins, SPECIES } from "../penguins.ts";
import { fairness, objectives } from "../problem.ts";
import { solve } from "../solve.ts";

/** The two groups that are to be served alike. */
const [A, B] = [1, 2];
const zero = { w: new Float32Array(8), b: new Float32Array(2) };

/** T9: the sex of penguins, one logistic model for three species, whose losses it leaves far apart. */
export function fairnessExperiments({ backend: be, size, signal }: StudyContext): Experiment[] {
  const problem = () => penguinProblem(penguins(), fairness(A, B));
  const steps = size === "full" ? 20000 : 3000;
  const at = async (x: Readonly<Record<string, ArrayLike<number>>>): Promise<number[]> => {
    const p = problem();
    using w = slab(be, p.params, x);
    const F = objectives(p, w.tensors, {});
    const values = Array.from(await F.read());
    F.dispose();
    return values;
  };
  return [
    experiment(
      "fairness",
      {
        "uniform average": async () =>
          at(
            await runBaseline(be, problem(), zero, {
              rule: () => ({ beta: [1 / 3, 1 / 3, 1 / 3] }),
              preferences: [[1, 1, 1]],
              steps: Math.min(steps, 1000),
              alpha: () => 0.5,
              signal,
            }),
          ),
        FOOPS: async () => {
          const config = { ...defaults, tau: 0.02, alpha: 0.2, beta: 0.5 };
          const o = { steps, every: 100, signal, warn: () => {} };
          return at((await solve(be, problem(), config, zero, o)).x);
        },
      },
      (r) => {
        const uniform = r.get("uniform average") as number[];
        const fair = r.get("FOOPS") as number[];
        const gap = (F: number[]) => (F[A] - F[B]) ** 2;
        return {
          checks: [
            atLeast(
              "T9 gap",
              `FOOPS takes this share off (f_${SPECIES[A]} − f_${SPECIES[B]})² of the uniform average`,
              1 - gap(fair) / gap(uniform),
              0.5,
            ),
            atMost(
              "T9 price",
              "rise of the largest loss",
              Math.max(...fair) / Math.max(...uniform) - 1,
              0.1,
            ),
          ],
          metrics: { fairness: Object.fromEntries(r) },
          tables: [
            {
              title: "Fairness on penguins: logistic losses by species",
              columns: ["method", ...SPECIES, "(f₂ − f₃)²"],
              rows: [...r].map(([name, F]) => [
                name,
                ...(F as number[]).map((f) => Number(f.toFixed(4))),
                Number(gap(F as number[]).toPrecision(2)),
              ]),
            },
          ],
        };
      },
    ),
  ];
}
