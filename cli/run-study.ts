import { join } from "node:path";
import type { Backend } from "../core/backend.ts";
import { FormatError } from "../core/errors.ts";
import type { Check, StudyContext, StudyEntry, StudyResult } from "../core/study.ts";
import {
  assertSameRun,
  loadCheckpoint,
  type RunOptions,
  removeCheckpoint,
  saveCheckpoint,
} from "./checkpoint.ts";
import { makeFolder, writeAtomic } from "./files.ts";
import type { Progress } from "./progress.ts";

/** What `run --json` prints and result.json holds. */
export interface RunReport {
  readonly algorithm: string;
  readonly paper: string;
  readonly backend: string;
  readonly seed: number;
  readonly seconds: number;
  readonly checks: readonly Check[];
  readonly metrics: Readonly<Record<string, unknown>>;
}

export interface RunRequest {
  readonly entry: StudyEntry;
  readonly backend: Backend;
  readonly seed: number;
  readonly seeds: number;
  readonly size: StudyContext["size"];
  /** Folder of the report and the checkpoint. */
  readonly out: string;
  readonly resume: boolean;
  readonly signal: AbortSignal;
  readonly progress: Progress;
  /** Makes the files of the report, by name. */
  readonly render: (
    report: RunReport,
    result: StudyResult,
    options: RunOptions,
  ) => Readonly<Record<string, string>>;
}

/** The run was stopped through its signal; what had been finished by then is in the checkpoint. */
export class Interrupted extends Error {
  readonly cells: number;
  constructor(cells: number) {
    super("interrupted");
    this.cells = cells;
  }
}

export const checkpointPath = (out: string): string => join(out, "checkpoint.json");

/**
 * Runs a study, keeping the result of every finished cell on disk. Leaves result.json and
 * the report when it is through, the checkpoint when it is not.
 * @throws Interrupted when the signal is raised, FormatError for a checkpoint that does not fit.
 */
export async function runStudy(request: RunRequest): Promise<RunReport> {
  const { entry, backend, seed, seeds, size, out, signal, progress } = request;
  const path = checkpointPath(out);
  const options: RunOptions = {
    algorithm: entry.name,
    backend: backend.name,
    build: backend.build,
    seed,
    seeds,
    size,
  };
  const earlier = await earlierRun(path, options, request);

  const cells = new Map(earlier?.cells);
  const asked = new Set<string>();
  const start = performance.now();
  const seconds = () => (earlier?.seconds ?? 0) + (performance.now() - start) / 1000;
  let saved = Promise.resolve();

  const context: StudyContext = {
    backend,
    seed,
    seeds,
    size,
    signal,
    progress: (label, done, total) => progress.update(label, done, total),
    async cell<T>(key: string, body: () => Promise<T>): Promise<T> {
      if (asked.has(key)) throw new Error(`${entry.name}: two cells are called '${key}'`);
      asked.add(key);
      let text = cells.get(key);
      if (text === undefined) {
        // Ctrl-C is only heard between turns of the event loop, and a study may never wait.
        await new Promise((resolve) => setImmediate(resolve));
        signal.throwIfAborted();
        text = encode(await body());
        cells.set(key, text);
        saved = saved.then(() => saveCheckpoint(path, { options, seconds: seconds(), cells }));
        await saved;
      }
      // Fresh results take the way over the text as well: a resumed run sees exactly the same.
      return decode(text) as T;
    },
  };

  let result: StudyResult;
  try {
    const study = await entry.load();
    result = await Promise.race([study.run(context), whenAborted(signal)]);
  } catch (error) {
    await saved;
    throw signal.aborted ? new Interrupted(cells.size) : error;
  } finally {
    progress.stop();
  }

  const report: RunReport = {
    algorithm: entry.name,
    paper: entry.paper,
    backend: backend.name,
    seed,
    seconds: Math.round(seconds() * 100) / 100,
    checks: result.checks,
    metrics: result.metrics,
  };
  const files = request.render(report, result, options);
  await writeAtomic(join(out, "result.json"), `${JSON.stringify(report, null, 2)}\n`);
  for (const [name, text] of Object.entries(files)) await writeAtomic(join(out, name), text);
  await removeCheckpoint(path);
  return report;
}

/** What an interrupted run has left that this one goes on from; and a folder to write to. */
async function earlierRun(path: string, options: RunOptions, request: RunRequest) {
  const { resume, progress, out } = request;
  if (resume) {
    const found = await loadCheckpoint(path);
    if (!found) {
      throw new FormatError("missing", `--resume: expected a checkpoint at ${path}, got no file`);
    }
    assertSameRun(path, found.options, options);
    await makeFolder(out);
    progress.note(`Going on from ${path}: ${parts(found.cells.size)} finished.`);
    return found;
  }
  await makeFolder(out);
  const found = await loadCheckpoint(path).catch(() => "unreadable" as const);
  if (found) {
    const what = found === "unreadable" ? "an unreadable one" : parts(found.cells.size);
    progress.note(
      `${path} of an interrupted run (${what}) is being replaced; --resume would go on from it.`,
    );
  }
  return undefined;
}

export const parts = (n: number): string => `${n} ${n === 1 ? "part" : "parts"}`;

function whenAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}

// JSON, with the numbers it lacks: a diverged loss is a result too.
const SPECIAL: Record<string, number> = {
  NaN: Number.NaN,
  Infinity: Number.POSITIVE_INFINITY,
  "-Infinity": Number.NEGATIVE_INFINITY,
};
const encode = (value: unknown): string =>
  JSON.stringify(value ?? null, (_, v) =>
    typeof v === "number" && !Number.isFinite(v) ? { $number: String(v) } : v,
  );
const decode = (text: string): unknown =>
  JSON.parse(text, (_, v) =>
    v && typeof v === "object" && v.$number in SPECIAL ? SPECIAL[v.$number] : v,
  );
