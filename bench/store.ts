// Saved results: bench/results/<machine>.jsonl, one row a line, only ever appended to.
import { appendFile, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { FormatError } from "../core/errors.ts";
import type { BenchRow } from "./rows.ts";

/** What a report says about a machine beside its numbers; results/<machine>.json. */
export interface Machine {
  readonly name: string;
  readonly cpu: string;
  readonly cores: number;
  readonly memory: number;
  readonly platform: string;
}

/** A file name for a kind of machine: CPU model, system, architecture. */
export const machineName = (cpu: string, platform: string, arch: string): string =>
  `${cpu} ${platform} ${arch}`
    .toLowerCase()
    .replace(/\((r|tm|c)\)/g, "")
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-|-$/g, "");

const rowsFile = (folder: string, machine: string) => join(folder, "results", `${machine}.jsonl`);

export async function saveRows(
  folder: string,
  machine: Machine,
  rows: readonly BenchRow[],
): Promise<string> {
  await mkdir(join(folder, "results"), { recursive: true });
  await writeFile(
    join(folder, "results", `${machine.name}.json`),
    `${JSON.stringify(machine, null, 2)}\n`,
  );
  const file = rowsFile(folder, machine.name);
  await appendFile(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  return file;
}

/** All rows of a machine in the order they were saved; none where nothing was saved. */
export async function loadRows(folder: string, machine: string): Promise<BenchRow[]> {
  const file = rowsFile(folder, machine);
  const text = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return "";
    throw error;
  });
  return text.split("\n").flatMap((line, i) => {
    if (line.trim() === "") return [];
    try {
      return [JSON.parse(line) as BenchRow];
    } catch {
      throw new FormatError("syntax", `${file}: line ${i + 1}: expected a row as JSON`);
    }
  });
}

export async function loadMachines(folder: string): Promise<Machine[]> {
  const results = join(folder, "results");
  const files = await readdir(results).catch(() => []);
  const machines = files.filter((f) => f.endsWith(".json")).sort();
  return Promise.all(
    machines.map(async (f) => JSON.parse(await readFile(join(results, f), "utf8")) as Machine),
  );
}
