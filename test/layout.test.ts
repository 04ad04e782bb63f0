import { readdirSync, readFileSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import wabt from "wabt";
import { scalarNames } from "../core/contract.ts";
import type { WebgpuBackend } from "../core/webgpu.ts";
import { entryOf, textOf } from "../core/webgpu-variant.ts";
import { checkWasm } from "../scripts/wasm-check.mjs";
import { openBackend } from "./support/backends.ts";
import { distFile } from "./support/dist.ts";
import { kernels } from "./support/registry.ts";

// What a reader of the tree relies on: names, the order of arguments in every layer, nothing left over.

const root = fileURLToPath(new URL("..", import.meta.url));
const stems = (folder: string, ext: string) =>
  readdirSync(join(root, folder))
    .filter((f) => f.endsWith(ext) && !f.endsWith(`.d${ext}`) && f !== `index${ext}`)
    .map((f) => basename(f, ext))
    .sort();

/** Every TypeScript file of a folder, from the root of the project. */
const sources = (folder: string): string[] =>
  readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((f) => f.endsWith(".ts") && !f.includes("node_modules"))
    .map((f) => join(folder, f));
const text = (file: string) => readFileSync(join(root, file), "utf8");

describe("kernels", () => {
  test("a stem has a contract, a wasm file and a WGSL file", () => {
    const contracts = stems("kernels", ".ts");
    expect(contracts.length).toBeGreaterThan(10);
    // <stem>__<how>.wgsl: what does not compile without a feature, or binds vectors throughout
    const shaders = stems("wgsl", ".wgsl");
    expect(shaders.filter((s) => !s.includes("__"))).toEqual(contracts);
    for (const s of shaders) expect(contracts).toContain(s.split("__")[0]);
    // roof measures the machine, it is no kernel
    expect(stems("wasm", ".ts").filter((s) => s !== "roof" && s !== "globals")).toEqual(contracts);
  });

  test("names are snake_case, and there is one of each", () => {
    const names = kernels.map((k) => k.spec.name);
    expect(new Set(names).size).toBe(names.length);
    for (const name of names) expect(name).toMatch(/^[a-z][a-z0-9]*(_[a-z0-9]+)*$/);
  });

  test("outputs come first in every contract", () => {
    for (const { spec } of kernels) {
      const reads = spec.args.map((a) => a.role === "in" || a.role === "opt");
      expect(reads, spec.name).toEqual([...reads].sort());
    }
  });

  test("index.ts exports every stem, and nothing else", () => {
    const exported = [...text("kernels/index.ts").matchAll(/from "\.\/(\w+)\.ts"/g)].map(
      (m) => m[1],
    );
    expect(exported).toEqual(stems("kernels", ".ts"));
  });
});

describe("wasm", () => {
  const builds = ["simd", "simd.threads", "relaxed", "relaxed.threads"];
  test.each(builds)("%s keeps the promises of its build", async (build) => {
    checkWasm(build, readFileSync(distFile(`wasm/tilegrad.${build}.wasm`)), await wabt());
  });

  test("the baseline holds no relaxed opcode, the relaxed build does", async () => {
    const { readWasm } = await wabt();
    const read = (build: string) =>
      readWasm(readFileSync(distFile(`wasm/tilegrad.${build}.wasm`)), { relaxed_simd: true });
    const [baseline, relaxed] = ["simd", "relaxed"].map((b) =>
      read(b).toText({ foldExprs: false, inlineExport: false }),
    );
    expect(baseline).not.toMatch(/relaxed/);
    expect(relaxed).toMatch(/f32x4\.relaxed_madd/);
  });

  test("an export belongs to a kernel, under its name", async () => {
    const module = await WebAssembly.compile(readFileSync(distFile("wasm/tilegrad.simd.wasm")));
    const found = WebAssembly.Module.exports(module)
      .filter((e) => e.kind === "function" && !e.name.startsWith("roof_"))
      .map((e) => e.name);
    expect(found.sort()).toEqual(
      kernels.map((k) => k.spec.wasm?.export ?? `${k.spec.name}_f32`).sort(),
    );
  });
});

describe("wgsl", () => {
  test("bindings are the arguments in order, then the uniform", () => {
    for (const { spec } of kernels) {
      for (const { source } of spec.webgpu ?? []) {
        const bindings = [...source.matchAll(/@binding\((\d+)\) var<([^>]*)> \w+: (\w+)/g)];
        spec.args.forEach((a, i) => {
          const access =
            a.role === "in" || a.role === "opt" ? "storage, read" : "storage, read_write";
          const declared = bindings.filter((b) => Number(b[1]) === i).map((b) => b[2]);
          expect(declared, `${spec.name}: ${a.name}`).toContain(access);
        });
        const uniforms = bindings.filter((b) => b[2] === "uniform").map((b) => Number(b[1]));
        expect(uniforms, `${spec.name}: uniform`).toContain(spec.args.length);
      }
    }
  });

  test("scalars of a contract are fields of its uniform", () => {
    for (const { spec } of kernels) {
      const fields = scalarNames(spec).map((s) => s.name);
      for (const { source } of spec.webgpu ?? []) {
        for (const f of fields)
          expect(source, `${spec.name}: ${f}`).toMatch(new RegExp(`\\b${f}: [uf]32`));
      }
    }
  });

  test("every text compiles without a warning; the walker runs its entries", async () => {
    using be = await openBackend("webgpu");
    const { device, capabilities } = be as WebgpuBackend;
    const seen = new Set<string>();
    const compiled = new Set<string>();
    for (const { spec } of kernels) {
      for (const v of spec.webgpu ?? []) {
        seen.add(v.source);
        const code = textOf(v);
        // what this adapter cannot compile, naga reads
        if (compiled.has(code) || v.requires?.some((f) => !capabilities.features.has(f))) continue;
        compiled.add(code);
        const { messages } = await device.createShaderModule({ code }).getCompilationInfo();
        expect(messages.map((m) => `${spec.name}:${m.lineNum} ${m.message}`)).toEqual([]);
      }
    }
    expect(seen.size).toBe(stems("wgsl", ".wgsl").length);
  });

  test("an entry belongs to a kernel", () => {
    const entries = kernels.flatMap((k) =>
      (k.spec.webgpu ?? []).flatMap((v) => [
        entryOf(k.spec, v),
        ...(v.further ?? []).map((pass) => pass.entry),
      ]),
    );
    const found = stems("wgsl", ".wgsl").flatMap((s) =>
      [...text(`wgsl/${s}.wgsl`).matchAll(/@compute[^{]*?fn (\w+)/g)].map((m) => m[1]),
    );
    expect(found.sort()).toEqual([...new Set(entries)].sort());
  });
});

describe("modules", () => {
  /** What a layer may import, besides itself. */
  const layers: Record<string, string[]> = {
    core: [],
    kernels: ["core", "wgsl"],
    algorithms: ["core", "kernels"],
    bench: ["core", "kernels", "algorithms"],
    cli: ["core", "kernels", "algorithms", "bench"],
  };

  test.each(Object.entries(layers))("%s imports only what lies below it", (folder, below) => {
    for (const file of sources(folder)) {
      for (const [, path] of text(file).matchAll(/(?:from|import\()\s*"(\.[^"]+)"/g)) {
        const target = relative(root, join(root, dirname(file), path)).split("/")[0];
        expect([folder, ...below], `${file} imports ${path}`).toContain(target);
      }
    }
  });

  test("the library imports no package", () => {
    for (const file of ["core", "kernels", "algorithms"].flatMap(sources)) {
      for (const [line, name] of text(file).matchAll(/^import .*?from "([^".][^"]*)";/gms)) {
        // types vanish; Dawn is an optional peer that core/webgpu.ts asks for by name
        if (!/^import type/.test(line)) expect.fail(`${file} imports ${name}`);
      }
    }
  });

  test("a file is no longer than 700 lines", () => {
    for (const file of ["core", "kernels", "algorithms", "bench", "cli", "wasm", "test"].flatMap(
      sources,
    )) {
      expect(text(file).split("\n").length, file).toBeLessThanOrEqual(700);
    }
  });

  test("tape, slab and random numbers stay within 600 lines", () => {
    const lines = ["core/tape.ts", "core/slab.ts", "core/threefry.ts"].map(
      (f) => text(f).trimEnd().split("\n").length,
    );
    expect(lines.reduce((a, b) => a + b)).toBeLessThanOrEqual(600);
  });
});

describe("READMEs of the algorithms", () => {
  const readmes = readdirSync(join(root, "algorithms"), { withFileTypes: true })
    .filter((d) => d.isDirectory())
    .map((d) => join("algorithms", d.name, "README.md"));

  test.each(readmes)("%s points at the lines it quotes", (readme) => {
    const rows = [...text(readme).matchAll(/\]\((\S+\.ts)#L(\d+)\) \| `(.+)` \|/g)];
    expect(rows.length).toBeGreaterThan(5);
    for (const [, file, line, code] of rows) {
      const lines = text(join(dirname(readme), file)).split("\n");
      expect(lines[Number(line) - 1], `${file}:${line}`).toContain(code.replaceAll("&#124;", "|"));
    }
  });
});
