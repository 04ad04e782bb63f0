// Lines of source per folder: the budgets of a library that wants to be read.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";

const files = execFileSync("git", ["ls-files", "-co", "--exclude-standard"], { encoding: "utf8" })
  .split("\n")
  .filter((file) => /\.(ts|mjs|wgsl)$/.test(file));
/** @type {Map<string, { files: number, lines: number }>} */
const folders = new Map();
for (const file of files) {
  const parts = file.split("/");
  // a paper's folder is counted by itself, like wgsl/lib
  const folder = parts.slice(0, Math.min(2, parts.length - 1)).join("/") || ".";
  const row = folders.get(folder) ?? { files: 0, lines: 0 };
  row.files++;
  row.lines += readFileSync(file, "utf8").split("\n").length - 1;
  folders.set(folder, row);
}
for (const [folder, { files, lines }] of [...folders].sort()) {
  console.log(
    `${folder.padEnd(32)}${String(files).padStart(5)} files${String(lines).padStart(8)} lines`,
  );
}
