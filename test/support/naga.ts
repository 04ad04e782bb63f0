import { execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { constants, setPriority } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { cacheFolder } from "../../cli/chromium-package.ts";

/** The WGSL front end of Firefox and wgpu, beside Tint, which is that of Chromium and Dawn. */
export const NAGA = "30.0.1";

const run = promisify(execFile);

/**
 * The command of that version: the one on PATH, the one built before, or built now by cargo (a
 * minute on two cores, once per user). Throws with the reason where there is none.
 */
export async function findNaga(): Promise<string> {
  const folder = cacheFolder(`naga-${NAGA}`);
  const built = join(folder, "bin", process.platform === "win32" ? "naga.exe" : "naga");
  for (const command of ["naga", built]) if (await isVersion(command)) return command;
  await cargo("install", "naga-cli", "--version", NAGA, "--locked", "--root", folder);
  if (!existsSync(built)) throw new Error("cargo built no naga");
  return built;
}

const isVersion = (command: string): Promise<boolean> =>
  run(command, ["--version"]).then(
    ({ stdout }) => stdout.trim() === NAGA,
    () => false,
  );

function cargo(...args: string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn("cargo", args, { stdio: ["ignore", "ignore", "pipe"] });
    // other tests run meanwhile, and some look at the time
    if (child.pid) setPriority(child.pid, constants.priority.PRIORITY_LOW);
    let said = "";
    child.stderr.on("data", (text) => {
      said = `${said}${text}`.slice(-2000);
    });
    child.on("error", (error) => reject(new Error(`cargo does not run (${error.message})`)));
    child.on("close", (code) => {
      if (code === 0) return resolve();
      const why = said.split("\n").find((line) => line.startsWith("error"));
      reject(new Error(`cargo ${args.join(" ")}: ${why ?? `exit code ${code}`}`));
    });
  });
}
