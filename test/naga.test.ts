import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { entryOf, passesOf, textOf } from "../core/webgpu-variant.ts";
import { findNaga, NAGA } from "./support/naga.ts";
import { kernels } from "./support/registry.ts";

// Every WGSL text passes naga as well; layout.test.ts has Tint compile them. What a variant puts in
// for constants is in: a register tile may be out of bounds at one value and not at another.

const run = promisify(execFile);
let naga: string | undefined;
let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "tilegrad-naga-"));
  naga = await findNaga().catch((error: Error) => {
    console.warn(`naga ${NAGA}: not run, the WGSL was read by Tint alone: ${error.message}`);
    return undefined;
  });
}, 600_000);
afterAll(() => rmSync(folder, { recursive: true }));

/** Every text with its file name, and its passes. */
const shaders = kernels.flatMap(({ spec }) =>
  (spec.webgpu ?? []).map((v) => ({
    name: entryOf(spec, v),
    // naga has subgroups, and no word for it yet
    text: textOf(v).replace(/^enable subgroups;\n/m, ""),
    passes: passesOf(v).map((pass, i) => ({
      entry: i ? (pass.entry as string) : entryOf(spec, v),
      constants: pass.constants ?? {},
    })),
  })),
);

/** What naga complains of, an empty text where it does not. With flags it also writes SPIR-V. */
async function complaint(name: string, text: string, ...flags: string[]): Promise<string> {
  const file = join(folder, `${name}.wgsl`);
  writeFileSync(file, text);
  const output = flags.length ? [join(folder, `${name}.spv`)] : [];
  return run(naga as string, [...flags, file, ...output]).then(
    () => "",
    ({ stderr }: { stderr: string }) => `${name}: ${stderr}`,
  );
}

test("a faulty text is complained of", async ({ skip }) => {
  if (!naga) return skip();
  const faulty = "fn f() -> f32 { return 1u; }";
  expect(await complaint("faulty", faulty)).toContain("faulty: ");
  const zero =
    "override N: u32 = 4; var<workgroup> a: array<f32, N>; @compute @workgroup_size(N) fn f() { a[0] = 1; }";
  expect(await complaint("zero", zero)).toBe("");
  expect(await complaint("zero", zero, "--entry-point", "f", "--override", "N=0")).toContain(
    "zero: ",
  );
});

test("every variant passes", async ({ skip }) => {
  if (!naga) return skip();
  expect(shaders.length).toBeGreaterThan(80);
  for (const { name, text } of shaders) expect(await complaint(name, text)).toBe("");
}, 120_000);

test("every pass translates with the constants of its pipeline", async ({ skip }) => {
  if (!naga) return skip();
  for (const { name, text, passes } of shaders) {
    for (const { entry, constants } of passes) {
      const given = Object.entries(constants).flatMap(([k, v]) => ["--override", `${k}=${v}`]);
      const flags = ["--entry-point", entry, ...given];
      if (given.length) expect(await complaint(name, text, ...flags)).toBe("");
    }
  }
}, 120_000);
