import { defineCommand } from "citty";
import { studies } from "../algorithms/index.ts";
import type { Spec } from "../core/contract.ts";
import { textTable } from "./format.ts";
import { kernels } from "./registry.ts";

const backendsOf = (spec: Spec): string[] => [
  "ref",
  ...(spec.wasm ? ["wasm"] : []),
  ...(spec.webgpu ? ["webgpu"] : []),
];

function listing() {
  return {
    kernels: kernels.map((spec) => ({
      name: spec.name,
      family: spec.family,
      dtypes: [...new Set(spec.args.map((arg) => arg.dtype))],
      backends: backendsOf(spec),
      vjp: spec.vjp !== undefined,
    })),
    algorithms: studies.map(({ name, paper }) => ({ name, paper })),
  };
}

export const list = defineCommand({
  meta: { name: "list", description: "List the kernels and the algorithms" },
  args: {
    json: { type: "boolean", description: "Print one JSON object" },
  },
  run({ args }) {
    const found = listing();
    if (args.json) {
      console.log(JSON.stringify(found, null, 2));
      return;
    }
    const rows = found.kernels
      .sort((a, b) => a.family.localeCompare(b.family))
      .map((k) => [
        k.family,
        k.name,
        k.dtypes.join(" "),
        k.backends.join(" "),
        k.vjp ? "yes" : "no",
      ]);
    console.log(`Kernels (${found.kernels.length})`);
    console.log(textTable(["family", "name", "dtypes", "backends", "gradient"], rows));
    console.log(`Algorithms (${found.algorithms.length})`);
    const papers = found.algorithms.map((a) => [a.name, a.paper]);
    console.log(textTable(["name", "paper"], papers, { flexible: [1] }));
  },
});
