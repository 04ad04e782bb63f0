import { type Backend, slab } from "../../../core/index.ts";
import type { StudyContext } from "../../../core/study.ts";
import { atMost, type Experiment, experiment, meanOf, spread } from "../../experiments.ts";
import { defaults } from "../config.ts";
import { Stream } from "../random.ts";
import { network, TASKS } from "../teachers.ts";
import { evaluate, train } from "../train.ts";
import { aligned } from "./networks.ts";

/** f_s(θ_s + c d) is looked at for c = 0, 0.05 … 1. */
const GRID = Array.from({ length: 21 }, (_, i) => i / 20);
/** R6 is checked up to here. */
const NEAR = 0.5;

interface Line {
  /** ‖d‖ */
  readonly norm: number;
  /** f_s(θ_s + c d) − f_s(θ_s) over GRID, on the training data of D_s, where θ_s is stationary, and on held-out data. */
  readonly train: number[];
  readonly heldOut: number[];
}

/** A random direction whose filters, the weights into each unit, are as long as those of θ; Li et al., arXiv:1712.09913. */
async function filterNormalised(
  be: Backend,
  theta: Float32Array,
  stream: Stream,
): Promise<Float32Array> {
  using at = slab(be, network.params);
  using d = at.like();
  at.load(theta);
  for (const [name, t] of Object.entries(at.tensors)) {
    const [inputs, units] = t.shape;
    if (units === undefined) continue; // biases stay
    const w = await t.read();
    const random = Float32Array.from(w, () => stream.normal());
    for (let u = 0; u < units; u++) {
      let [long, drawn] = [0, 0];
      for (let i = u; i < inputs * units; i += units) {
        long += w[i] ** 2;
        drawn += random[i] ** 2;
      }
      const by = Math.sqrt(long / drawn);
      for (let i = u; i < inputs * units; i += units) random[i] *= by;
    }
    d.tensors[name].write(random);
  }
  return d.save();
}

/** The parabola a c² nearest to values over c in (0, NEAR], as its second derivative along d/‖d‖: L of the page. */
function fittedCurvature({ norm, train }: Line): number {
  let [over, under] = [0, 0];
  GRID.forEach((c, i) => {
    if (c > NEAR) return;
    over += c ** 2 * train[i];
    under += c ** 4;
  });
  return (2 * over) / under / norm ** 2;
}

/** The largest second difference of values over [0, NEAR], as a second derivative along d/‖d‖: L of R6. */
function largestCurvature({ norm, train }: Line): number {
  const h = GRID[1] * norm;
  return Math.max(
    ...GRID.slice(1, -1).map((c, i) =>
      c > NEAR ? 0 : (train[i] - 2 * train[i + 1] + train[i + 2]) / h ** 2,
    ),
  );
}

/** The most that f_s exceeds (L/2) ‖c d‖² by, as a share of it, over c in (0, NEAR]. */
const excess = ({ norm, train }: Line, L: number): number =>
  Math.max(
    ...GRID.map((c, i) => (c > 0 && c <= NEAR ? train[i] / ((L / 2) * (c * norm) ** 2) - 1 : -1)),
  );

/** S5: f_s around θ_s along the ways that fine-tuning takes, and along random ones. */
export function landscapeExperiments(ctx: StudyContext): Experiment[] {
  const { backend: be, signal } = ctx;
  const seeds = Array.from({ length: ctx.seeds }, (_, k) => ctx.seed + k);
  const cells = Object.fromEntries(
    seeds.map((seed) => [
      `seed ${seed}`,
      async (): Promise<Record<string, Line>> => {
        const { world, theta } = await aligned(ctx, seed);
        const config = { ...defaults, strategy: "plain" } as const;
        const stream = new Stream(seed, 90);
        const directions: Record<string, Float32Array> = {};
        for (const task of TASKS) {
          const o = { steps: 600, seed, signal };
          const tuned = await train(
            be,
            network,
            config,
            theta,
            { task: world.tasks[task].train },
            o,
          );
          directions[`${task} overlap`] = tuned.theta.map((v, i) => v - theta[i]);
        }
        for (const k of [1, 2])
          directions[`random ${k}`] = await filterNormalised(be, theta, stream);
        const lines: Record<string, Line> = {};
        for (const [name, d] of Object.entries(directions)) {
          const along = async (data: typeof world.safety.train) => {
            const f: number[] = [];
            for (const c of GRID) {
              const there = theta.map((v, i) => v + c * d[i]);
              f.push(await evaluate(be, network, there, data));
            }
            return f.map((v) => v - f[0]);
          };
          lines[name] = {
            norm: Math.hypot(...d),
            train: await along(world.safety.train),
            heldOut: await along(world.safety.heldOut),
          };
        }
        return lines;
      },
    ]),
  );
  return [
    experiment("landscape", cells, (results) => {
      const all = [...results.values()];
      const names = Object.keys(all[0]);
      const each = (name: string, f: (line: Line) => number) => all.map((r) => f(r[name]));
      return {
        checks: [
          atMost(
            "S5 R6",
            "f_s(θ_s + c d) − f_s(θ_s) above (L/2)‖c d‖², as a share of it: c <= ½, L the largest curvature on the way",
            Math.max(...names.flatMap((n) => each(n, (l) => excess(l, largestCurvature(l))))),
            // the value at the first points is near the rounding of a mean of 12,000 losses
            0.01,
          ),
        ],
        metrics: { landscape: all },
        charts: [
          {
            title: "S5: f_s around θ_s, training data of D_s",
            x: "‖c d‖",
            y: "f_s − f_s(θ_s)",
            series: names.map((name) => ({
              name,
              points: GRID.filter((c) => c <= NEAR).map(
                (c, i) =>
                  [
                    c * meanOf(each(name, (l) => l.norm)),
                    meanOf(each(name, (l) => l.train[i])),
                  ] as const,
              ),
            })),
          },
        ],
        tables: [
          {
            title: `S5: curvature of f_s along d/‖d‖ for c <= ½, ${all.length} seeds`,
            columns: [
              "d",
              "‖d‖",
              "fitted parabola",
              "largest",
              "f_s above the parabola",
              "held-out gap at c = ½",
            ],
            rows: names.map((name) => [
              name,
              spread(
                each(name, (l) => l.norm),
                1,
              ),
              spread(each(name, fittedCurvature), 5),
              spread(each(name, largestCurvature), 5),
              `${(100 * Math.max(...each(name, (l) => excess(l, fittedCurvature(l))))).toFixed(0)} %`,
              spread(
                each(name, (l) => l.heldOut[GRID.indexOf(NEAR)]),
                3,
              ),
            ]),
          },
        ],
      };
    }),
  ];
}
