import { randomBytes } from "node:crypto";
import { access, constants, mkdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { UsageError } from "./errors.ts";

/** The whole file or no change: written beside its place, then moved there. */
export async function writeAtomic(path: string, text: string): Promise<void> {
  const partial = `${path}.${randomBytes(4).toString("hex")}.tmp`;
  try {
    await writeFile(partial, text, { flush: true });
    await rename(partial, path);
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  }
}

/** Makes the folder of the results, before hours of work and not after them. */
export async function makeFolder(path: string): Promise<void> {
  try {
    if ((await stat(path).catch(() => undefined))?.isFile()) {
      throw new UsageError(`--out: expected a folder, got the file ${path}`);
    }
    await mkdir(path, { recursive: true });
    await access(path, constants.W_OK);
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new UsageError(`--out: cannot write to ${path}: ${(error as Error).message}`);
  }
}
