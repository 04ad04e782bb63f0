// Where and at which state of the sources a bench runs.
import { execFile } from "node:child_process";
import { cpus, totalmem } from "node:os";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { type Machine, machineName } from "../bench/store.ts";
import { packageRoot, version } from "./version.ts";

export function machine(): Machine {
  const cpu = cpus()[0]?.model ?? "unknown CPU";
  return {
    name: machineName(cpu, process.platform, process.arch),
    cpu,
    cores: cpus().length,
    memory: totalmem(),
    platform: `${process.platform}-${process.arch}`,
  };
}

async function git(...args: string[]): Promise<string> {
  const cwd = fileURLToPath(packageRoot);
  return (await promisify(execFile)("git", args, { cwd })).stdout.trim();
}

/** The commit of a checkout, the version of an installed package. */
export async function commit(): Promise<string> {
  try {
    // A package inside someone else's checkout must not take that one's commit for its own.
    if ((await git("rev-parse", "--show-prefix")) !== "") throw new Error("not this repository");
    return await git("describe", "--always", "--dirty", "--exclude=*");
  } catch {
    return `v${await version()}`;
  }
}

/** HEAD~1, a branch or a tag as its hash; what git does not know stays as it is. */
export async function resolveCommit(name: string): Promise<string> {
  try {
    return await git("rev-parse", "--verify", "--quiet", "--short", `${name}^{commit}`);
  } catch {
    return name;
  }
}
