import { nodeModule } from "../../core/runtime.ts";
import { matmul, softmax_xent } from "../../kernels/index.ts";
import { packageFile } from "../packages.ts";
import type { Problem } from "./problem.ts";

/** Palmer penguins: four measurements each, scaled to mean 0 and variance 1, sex as label, species as group. */
export interface Penguins {
  readonly x: Float32Array;
  readonly y: Int32Array;
  readonly group: Int32Array;
}

const MEASURED = ["Beak Length (mm)", "Beak Depth (mm)", "Flipper Length (mm)", "Body Mass (g)"];
export const SPECIES = ["Adelie", "Chinstrap", "Gentoo"];

/**
 * The 333 whole rows of the penguins in the npm package `vega-datasets`.
 * @throws BackendError when that is not installed
 */
export function penguins(): Penguins {
  const fs = nodeModule<typeof import("node:fs")>("node:fs");
  const file = packageFile("penguins", "vega-datasets", "2.11.0", "data/penguins.json");
  type Row = Record<string, string | number | null>;
  const rows = (JSON.parse(fs.readFileSync(file, "utf8")) as Row[]).filter(
    (r) => (r.Sex === "MALE" || r.Sex === "FEMALE") && MEASURED.every((m) => r[m] !== null),
  );
  const x = new Float32Array(rows.length * MEASURED.length);
  MEASURED.forEach((name, k) => {
    const values = rows.map((r) => Number(r[name]));
    const mean = values.reduce((a, b) => a + b) / values.length;
    const sd = Math.sqrt(values.reduce((s, v) => s + (v - mean) ** 2, 0) / values.length);
    values.forEach((v, i) => {
      x[i * MEASURED.length + k] = (v - mean) / sd;
    });
  });
  return {
    x,
    y: Int32Array.from(rows, (r) => Number(r.Sex === "MALE")),
    group: Int32Array.from(rows, (r) => SPECIES.indexOf(String(r.Species))),
  };
}

/** F = the logistic losses of the three species, one model for all. */
export function penguinProblem(data: Penguins, preference: Problem["preference"]): Problem {
  const n = data.y.length;
  const counts = SPECIES.map((_, g) => data.group.filter((k) => k === g).length);
  const share = Float32Array.from({ length: 3 * n }, (_, e) => {
    const [i, g] = [Math.floor(e / 3), e % 3];
    return data.group[i] === g ? 1 / counts[g] : 0;
  });
  return {
    M: 3,
    params: { w: [MEASURED.length, 2], b: [2] },
    losses: ({ w, b }) => {
      const be = w.backend;
      const x = be.tensor([n, MEASURED.length], data.x);
      const { loss } = softmax_xent(matmul(x, w, { bias: b }), be.tensor([n], data.y, "i32"));
      return matmul(loss.reshape([1, n]), be.tensor([n, 3], share));
    },
    preference,
    modulus: 0,
  };
}
