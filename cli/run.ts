import { join, relative } from "node:path";
import { defineCommand } from "citty";
import { studies } from "../algorithms/index.ts";
import type { BackendName } from "../core/backend.ts";
import { integer } from "./args.ts";
import { BACKENDS, openBackend } from "./backends.ts";
import { didYouMean, EXIT, UsageError } from "./errors.ts";
import { colours, formatNumber, textTable } from "./format.ts";
import { onInterrupt } from "./interrupt.ts";
import { openProgress } from "./progress.ts";
import { checkpointPath, Interrupted, parts, type RunReport, runStudy } from "./run-study.ts";

const MAX_SEED = 2 ** 32 - 1;

export const run = defineCommand({
  meta: {
    name: "run",
    description: "Run an algorithm and check what its paper claims",
  },
  args: {
    algorithm: {
      type: "positional",
      required: true,
      description: "One of those that 'tilegrad list' shows",
    },
    backend: {
      type: "enum",
      options: [...BACKENDS],
      default: "wasm",
      description: "Where the kernels run",
    },
    seed: { type: "string", valueHint: "n", default: "1", description: "First seed" },
    seeds: {
      type: "string",
      valueHint: "k",
      description:
        "Number of seeds, each of which must bear the claims out; default 3, with --quick 1",
    },
    quick: { type: "boolean", description: "Small sizes, for a first look" },
    full: { type: "boolean", description: "The sizes of the paper" },
    out: {
      type: "string",
      valueHint: "dir",
      default: "report",
      description: "Folder for index.html, its charts and result.json",
    },
    resume: { type: "boolean", description: "Go on from the checkpoint of an interrupted run" },
    json: { type: "boolean", description: "Print one JSON object instead of the table" },
  },
  async run({ args }) {
    const names = studies.map((study) => study.name);
    const entry = studies.find((study) => study.name === args.algorithm);
    if (!entry) {
      throw new UsageError(
        `run: unknown algorithm '${args.algorithm}'${didYouMean(args.algorithm, names)}; ` +
          `there are ${names.join(", ") || "none yet"}`,
      );
    }
    if (args.quick && args.full) {
      throw new UsageError("run: --quick and --full exclude each other, got both");
    }
    const size = args.quick ? "quick" : args.full ? "full" : "default";
    const seed = integer("--seed", args.seed, 0, MAX_SEED);
    const seeds = integer("--seeds", args.seeds ?? (args.quick ? "1" : "3"), 1, 1000);

    const { renderReport } = await import("./report.ts");
    const progress = openProgress();
    using backend = await openBackend(args.backend as BackendName);
    const interrupt = onInterrupt(() => {
      progress.note("Stopping. Ctrl-C once more ends it at once.");
    });
    let report: RunReport;
    try {
      report = await runStudy({
        entry,
        backend,
        seed,
        seeds,
        size,
        out: args.out,
        resume: args.resume ?? false,
        signal: interrupt.signal,
        progress,
        render: renderReport,
      });
    } catch (error) {
      if (!(error instanceof Interrupted)) throw error;
      progress.note(
        error.cells === 0
          ? "Nothing was finished, so there is nothing to resume."
          : `${parts(error.cells)} finished, kept in ${checkpointPath(args.out)}.\n` +
              `Go on with: ${invocation()} run ${entry.name} --backend ${backend.name} --seed ${seed} ` +
              `--seeds ${seeds}${size === "default" ? "" : ` --${size}`} --out ${args.out} --resume`,
      );
      // The study may be in the middle of something; nothing of it is needed any more.
      process.exit(EXIT.interrupted);
    } finally {
      interrupt.off();
    }

    if (args.json) console.log(JSON.stringify(report, null, 2));
    else printChecks(report, args.out);
    if (report.checks.some((check) => !check.pass)) process.exitCode = EXIT.failed;
  },
});

/** How this command was started: in a checkout it is a script of npm. */
const invocation = (): string =>
  ["start", "tilegrad"].includes(process.env.npm_lifecycle_event ?? "")
    ? "npm run -s tilegrad --"
    : "tilegrad";

function printChecks(report: RunReport, out: string): void {
  const rows = report.checks.map((check) => [
    check.name,
    check.claim,
    formatNumber(check.value),
    check.bound,
    check.pass ? colours.green("pass") : colours.red("FAIL"),
  ]);
  const head = ["check", "paper claim", "measured", "bound", "result"];
  const passed = report.checks.filter((check) => check.pass).length;
  console.log(`${colours.bold(report.algorithm)}: ${report.paper}`);
  console.log(textTable(head, rows, { right: [2, 3], flexible: [0, 1, 3], ruled: true }));
  console.log(
    `${passed} of ${rows.length} checks pass on ${report.backend} in ${formatNumber(report.seconds)} s; ` +
      `details in ${relative("", join(out, "index.html"))}`,
  );
}
