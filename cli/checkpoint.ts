import { readFile, rm } from "node:fs/promises";
import { FormatError } from "../core/errors.ts";
import { writeAtomic } from "./files.ts";

const FORMAT = "tilegrad-checkpoint";
const VERSION = 1;

/** What a study's numbers depend on; a run can only go on with the same ones. */
export interface RunOptions {
  readonly algorithm: string;
  readonly backend: string;
  /** Builds round differently, so they are not interchangeable in the middle of a run. */
  readonly build: string;
  readonly seed: number;
  readonly seeds: number;
  readonly size: string;
}

/** A run that was interrupted: the results of its finished cells, as JSON text. */
export interface Checkpoint {
  readonly options: RunOptions;
  /** Time spent so far. */
  readonly seconds: number;
  readonly cells: ReadonlyMap<string, string>;
}

export async function saveCheckpoint(path: string, c: Checkpoint): Promise<void> {
  const cells = Object.fromEntries([...c.cells].map(([key, text]) => [key, JSON.parse(text)]));
  const content = { format: FORMAT, version: VERSION, ...c.options, seconds: c.seconds, cells };
  await writeAtomic(path, `${JSON.stringify(content)}\n`);
}

export const removeCheckpoint = (path: string): Promise<void> => rm(path, { force: true });

/**
 * The checkpoint at `path`, or undefined where there is no file.
 * @throws FormatError for anything that is not a checkpoint of this version.
 */
export async function loadCheckpoint(path: string): Promise<Checkpoint | undefined> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new FormatError("unreadable", `${path}: cannot be read: ${(error as Error).message}`);
  }
  let content: Record<string, unknown> | null;
  try {
    content = JSON.parse(text);
  } catch {
    throw new FormatError(
      "truncated",
      `${path}: expected JSON, got ${text.length} characters that are not; delete the file`,
    );
  }
  if (content?.format !== FORMAT) {
    throw new FormatError(
      "foreign",
      `${path}: format: expected "${FORMAT}", got ${JSON.stringify(content?.format) ?? "none"}`,
    );
  }
  if (content.version !== VERSION) {
    throw new FormatError(
      "version",
      `${path}: version: expected ${VERSION}, got ${JSON.stringify(content.version) ?? "none"}`,
    );
  }
  const field = <T>(name: string, type: "string" | "number" | "object"): T => {
    const value = (content as Record<string, unknown>)[name];
    if (typeof value !== type || value === null) {
      throw new FormatError(
        "field",
        `${path}: ${name}: expected ${type}, got ${JSON.stringify(value) ?? "none"}`,
      );
    }
    return value as T;
  };
  return {
    options: {
      algorithm: field("algorithm", "string"),
      backend: field("backend", "string"),
      build: field("build", "string"),
      seed: field("seed", "number"),
      seeds: field("seeds", "number"),
      size: field("size", "string"),
    },
    seconds: field("seconds", "number"),
    cells: new Map(
      Object.entries(field<object>("cells", "object")).map(([k, v]) => [k, JSON.stringify(v)]),
    ),
  };
}

/** @throws FormatError naming the first option in which the two runs differ. */
export function assertSameRun(path: string, interrupted: RunOptions, now: RunOptions): void {
  for (const name of Object.keys(now) as (keyof RunOptions)[]) {
    if (interrupted[name] !== now[name]) {
      throw new FormatError(
        "mismatch",
        `${path}: ${name}: expected ${now[name]} as in this command, got ${interrupted[name]} from the interrupted run; repeat its options, or start over without --resume`,
      );
    }
  }
}
