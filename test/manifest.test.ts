import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { distFile } from "./support/dist.ts";

interface Kernel {
  name: string;
  args: { name: string; role: string; shape: unknown }[];
  wasm: { export: string; params: { name: string; type: string }[]; tiles: string };
  wgsl: {
    file: string;
    passes: { entry: string }[];
    uniform: { fields: { name: string; offset: number }[] };
  }[];
}
const manifest = JSON.parse(readFileSync(distFile("manifest.json"), "utf8"));
const kernels: Kernel[] = manifest.kernels;
const wasm = (await WebAssembly.instantiate(readFileSync(distFile("wasm/tilegrad.simd.wasm")), {}))
  .instance.exports as Record<string, CallableFunction> & { memory: WebAssembly.Memory };

test("every kernel has its export, with as many parameters as listed", () => {
  const listed = kernels.map((k) => [k.wasm.export, k.wasm.params.length]);
  expect(listed.length).toBeGreaterThan(0);
  expect(listed).toEqual(kernels.map((k) => [k.wasm.export, wasm[k.wasm.export]?.length]));
});

test("every WGSL file has the entry, and a uniform struct in the order listed", () => {
  for (const { name, wgsl } of kernels) {
    for (const { file, passes, uniform } of wgsl) {
      const text = readFileSync(distFile(file), "utf8");
      for (const { entry } of passes) expect(text, name).toMatch(new RegExp(`\\bfn ${entry}\\b`));
      // a stem shared by several kernels has a struct for each; one of them must be this kernel's
      const structs = [...text.matchAll(/struct \w+ \{([^}]*)\}/g)].map(([, body]) =>
        body.split(",").flatMap((field) => /(\w+)\s*:/.exec(field)?.[1] ?? []),
      );
      const fields = uniform.fields.map((field) => field.name);
      expect(structs, `${name}: uniform fields of ${file}`).toContainEqual(fields);
    }
  }
});

test("a kernel runs with nothing but the manifest and the wasm file", () => {
  const add = kernels.find((k) => k.name === "add");
  if (!add) throw new Error("no add in the manifest");
  const n = 5;
  const bytes = 64;
  const pointers = new Map(
    add.args.map((arg, i) => [arg.name, manifest.wasm.heapBase + i * bytes]),
  );
  wasm.memory.grow(1);
  const array = (name: string) => new Float32Array(wasm.memory.buffer, pointers.get(name) ?? 0, n);
  array("a").set([1, 2, 3, 4, 5]);
  array("b").set([10, 20, 30, 40, 50]);
  const words: Record<string, number> = { N: n, A: n, B: n, beta: 0, lo: 0, hi: 1 };
  wasm[add.wasm.export](...add.wasm.params.map(({ name }) => pointers.get(name) ?? words[name]));
  expect([...array("y")]).toEqual([11, 22, 33, 44, 55]);
});
