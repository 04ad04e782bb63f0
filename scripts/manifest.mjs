// Writes down how to call every kernel from any language: dist/manifest.json. Everything in it is
// read off the contracts, so there is nothing to keep in step.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { withoutComments } from "./wgsl.mjs";

/**
 * @typedef {import("../core/contract.ts").Spec} Spec
 * @typedef {import("../core/contract.ts").Suite} Suite
 * @typedef {import("../core/contract.ts").Params} Params
 * @typedef {import("../core/webgpu-variant.ts").Capabilities} Capabilities
 * @typedef {(d: Record<string, number>, p: Params, c: Capabilities) => unknown} Formula
 */

/** Counts up when the order or the meaning of parameters changes. */
const ABI = 2;

const CONVENTIONS = [
  "Tensors are contiguous, row-major, 4 bytes an element. A shape lists extents by letter; '*R' is any number of leading axes, whose product is the extent R.",
  "Roles: out is written and never read; acc is out, plus beta times its old content when the scalar beta is not 0; inout is read and written; in is read; opt is read and may be left out.",
  "Order of parameters everywhere: args, extents, present, scalars. 'present' exists where there are opt args: bit i says that the i-th of them is given.",
  "A scalar with choices takes the index of the choice.",
  "wasm: pointers are byte offsets into the memory, 16-byte aligned, 0 for an opt arg left out; addresses below heapBase belong to the module. A call runs the tiles [lo, hi) of 'tiles' many; tiles write disjoint memory, so threads may share them, each with 'scratchBytes' bytes of its own at 'scratch'.",
  "WGSL: group 0, bindings as listed, a small dummy buffer for an opt arg left out. Bind sub-ranges, or whole buffers of exactly the tensor's size. 'grid' is the number of workgroups in x, y, z; launch nothing when one is 0. Of several variants the first applies whose 'requires' the device has and whose 'when' and 'prefer' hold; 'when' says where it is right, 'prefer' where it is faster, c.software being true on a CPU. 'consts' replace the right sides of the constants of those names in the text, and ADDS = 0u or PRESENT = 0u do for calls whose betas, or whose 'present', are 0, which is faster on a CPU; a variant with 'requires' wants `enable f16;` or `enable subgroups;` in front of it. Passes run in order, with the same bindings.",
  "Formulas are JavaScript expressions over the extents d and the scalars p (a choice as its name); every example gives their values for one shape, to check a translation against.",
];

/** @param {string} dist the folder of the built package */
export async function manifest(dist) {
  const load = (/** @type {string} */ path) => import(pathToFileURL(join(dist, path)).href);
  const contract = await load("core/contract.js");
  /** @type {typeof import("../core/webgpu-variant.ts")} */
  const webgpu = await load("core/webgpu-variant.js");
  const exported = Object.values(await load("kernels/index.js"));
  /** @type {Spec[]} */
  const specs = [...new Set(exported.filter(contract.isKernel).map(({ spec }) => spec))];
  /** @type {Suite[]} */
  const suites = exported.flat().filter(contract.isSuite);
  const homes = await kernelModules(dist, contract.isKernel);
  const shaders = new Map(
    textFiles(join(dist, "wgsl"), ".wgsl").map(([file, text]) => [
      withoutComments(text),
      `wgsl/${file}`,
    ]),
  );

  const kernels = specs.map((spec) => {
    const home = homes.get(spec) ?? "";
    const cases = suites.find((suite) => suite.kernel.spec === spec)?.cases() ?? [];
    const samples = cases.map((c) => contract.resolveCase(spec, c));
    const formula = (/** @type {Formula | undefined} */ f) =>
      f && formulaText(spec, f, home, samples, contract.linear);
    const extents = [
      ...contract.extentNames(spec),
      ...(contract.hasOptional(spec) ? ["present"] : []),
    ];
    const scalars = contract.scalarNames(spec).map((/** @type {{ name: string }} */ scalar) => {
      const param = spec.params?.[scalar.name];
      // betas are no declared params; their default is 0
      return { ...scalar, default: param ? param.default : 0, choices: param?.choices };
    });
    /** @type {{ name: string, type: string }[]} */
    const words = [
      ...extents.map((name) => ({ name, type: "u32" })),
      ...contract.scalarNames(spec),
    ];
    const wasmType = (/** @type {string} */ type) => (type === "f32" ? "f32" : "i32");
    return {
      name: spec.name,
      family: spec.family,
      args: spec.args.map((arg) => ({ ...arg, shape: shapes(spec, arg.shape) })),
      extents,
      scalars,
      optional: spec.args.filter((arg) => arg.role === "opt").map((arg) => arg.name),
      wasm: spec.wasm && {
        export: spec.wasm.export ?? `${spec.name}_f32`,
        params: [
          ...spec.args.map(({ name }) => ({ name, type: "i32", is: "pointer" })),
          ...words.map(({ name, type }) => ({ name, type: wasmType(type), is: type })),
          ...(spec.wasm.scratch ? [{ name: "scratch", type: "i32", is: "pointer" }] : []),
          { name: "lo", type: "i32", is: "u32" },
          { name: "hi", type: "i32", is: "u32" },
        ],
        tiles: formula(spec.wasm.tiles) ?? "() => 1",
        scratchBytes: formula(spec.wasm.scratch),
      },
      wgsl: spec.webgpu?.map((variant) => {
        const file = shaders.get(variant.source);
        if (!file) throw new Error(`${spec.name}: its WGSL is the text of no file in wgsl/`);
        return {
          file,
          consts: variant.consts,
          requires: variant.requires,
          when: formula(variant.when),
          prefer: formula(variant.prefer),
          bindings: spec.args.map(({ name, role, dtype }, binding) => ({
            binding,
            name,
            access: role === "in" || role === "opt" ? "read" : "read_write",
            dtype,
          })),
          uniform: {
            binding: spec.args.length,
            bytes: Math.ceil((4 * words.length) / 16) * 16,
            fields: words.map((word, i) => ({ ...word, offset: 4 * i })),
          },
          scratch: variant.scratch && {
            binding: spec.args.length + 1,
            bytes: formula(variant.scratch),
          },
          passes: webgpu.passesOf(variant).map((pass, i) => ({
            entry: i ? pass.entry : webgpu.entryOf(spec, variant),
            constants: pass.constants,
            grid: formula(pass.grid),
          })),
        };
      }),
      examples: samples.slice(0, 3).map(({ dims, params }) => ({
        extents: dims,
        scalars: params,
        tiles: spec.wasm && (spec.wasm.tiles?.(dims, params) ?? 1),
        scratchBytes: spec.wasm?.scratch?.(dims, params),
        grids: spec.webgpu?.map((variant) =>
          webgpu.passesOf(variant).map((pass) => pass.grid(dims, params)),
        ),
      })),
    };
  });

  const builds = readdirSync(join(dist, "wasm")).filter((file) => file.endsWith(".wasm"));
  return {
    abi: ABI,
    conventions: CONVENTIONS,
    functions: { linear: contract.linear.toString() },
    wasm: {
      heapBase: 65536,
      builds: builds.sort().map((file) => ({
        file: `wasm/${file}`,
        relaxedSimd: file.includes("relaxed"),
        memory: file.includes("threads") ? "import env.memory, shared" : "export memory",
      })),
    },
    kernels,
  };
}

/** A shape text, or for a shape that depends on scalars one text for each of their values. */
function shapes(/** @type {Spec} */ spec, /** @type {string | ((p: Params) => string)} */ shape) {
  if (typeof shape === "string") return shape;
  const params = Object.entries(spec.params ?? {});
  /** @type {Set<string>} */
  const read = new Set();
  const defaults = Object.fromEntries(params.map(([name, p]) => [name, p.default ?? 0]));
  shape(
    new Proxy(defaults, {
      get: (target, name) => {
        read.add(String(name));
        return target[String(name)];
      },
    }),
  );
  let all = [/** @type {Params} */ ({})];
  for (const [name, param] of params.filter(([name]) => read.has(name))) {
    const values = param.choices ?? [0, 1];
    all = all.flatMap((when) => values.map((value) => ({ ...when, [name]: value })));
  }
  return all.map((when) => ({ when, shape: shape({ ...defaults, ...when }) }));
}

/**
 * The text of a formula with the constants of its module put in. Evaluated again on every test
 * case: a formula that leans on more than that would be of no use to a reader of the manifest.
 *
 * @param {Spec} spec @param {Formula} f @param {string} home
 * @param {{ dims: Record<string, number>, params: Params }[]} samples @param {unknown} linear
 */
function formulaText(spec, f, home, samples, linear) {
  const constants = new Map(
    [...home.matchAll(/^(?:export )?const ([A-Z][A-Z0-9_]*) = ([\d_.*+ -]+);/gm)].map((m) => [
      m[1],
      m[2],
    ]),
  );
  const text = f
    .toString()
    .replace(/\b[A-Z][A-Z0-9_]+\b/g, (name) => constants.get(name) ?? name)
    .replace(/\s+/g, " ");
  try {
    const copy = new Function("linear", `return (${text});`)(linear);
    for (const { dims, params } of samples) {
      for (const software of [true, false]) {
        const c = { software, features: new Set(["subgroups"]) };
        const [got, want] = [copy, f].map((g) => JSON.stringify(g(dims, params, c)));
        if (got !== want) throw new Error(`gives ${got} instead of ${want}`);
      }
    }
  } catch (error) {
    throw new Error(
      `${spec.name}: the formula ${text} does not stand alone (${/** @type {Error} */ (error).message}); ` +
        "use extents, params, Math, linear and numeric constants of its module",
    );
  }
  return text;
}

/** The text of the module that defines each kernel. */
async function kernelModules(
  /** @type {string} */ dist,
  /** @type {(x: unknown) => boolean} */ isKernel,
) {
  /** @type {Map<Spec, string>} */
  const homes = new Map();
  for (const [file, text] of textFiles(join(dist, "kernels"), ".js")) {
    if (file === "index.js") continue;
    const module = await import(pathToFileURL(join(dist, "kernels", file)).href);
    for (const value of Object.values(module)) if (isKernel(value)) homes.set(value.spec, text);
  }
  return homes;
}

/** @returns {[file: string, text: string][]} */
function textFiles(/** @type {string} */ folder, /** @type {string} */ ending) {
  return readdirSync(folder)
    .filter((file) => file.endsWith(ending))
    .map((file) => [file, readFileSync(join(folder, file), "utf8")]);
}
