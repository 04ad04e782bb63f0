import { execFile } from "node:child_process";
import { cpus } from "node:os";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { defineCommand } from "citty";
import type { BackendName } from "../core/backend.ts";
import { BACKENDS, findAdapter, openBackend } from "./backends.ts";
import { didYouMean, EXIT, UsageError } from "./errors.ts";
import { formatNumber, textTable } from "./format.ts";
import { onInterrupt } from "./interrupt.ts";
import { openProgress } from "./progress.ts";
import { suites } from "./registry.ts";
import { packageRoot, version } from "./version.ts";

export const bench = defineCommand({
  meta: {
    name: "bench",
    description: "Time the kernels and hold them against what this machine can do",
  },
  args: {
    filter: {
      type: "string",
      valueHint: "glob",
      default: "*",
      description: "Kernels by name: * and ? as in a shell, several separated by commas",
    },
    backend: {
      type: "enum",
      options: [...BACKENDS],
      default: "wasm",
      description: "Where the kernels run",
    },
    quick: { type: "boolean", description: "Fewer samples, one shape for each kernel" },
    json: { type: "boolean", description: "Print one JSON object instead of the table" },
  },
  async run({ args }) {
    const chosen = suites.filter(globs(args.filter));
    if (chosen.length === 0) {
      const names = suites.map((suite) => suite.kernel.spec.name);
      throw new UsageError(
        `--filter: expected the name of a kernel, got '${args.filter}', which fits none of ` +
          `${names.length}${didYouMean(args.filter, names)}; 'tilegrad list' has them all`,
      );
    }

    const progress = openProgress();
    using backend = await openBackend(args.backend as BackendName);
    if (backend.name === "webgpu" && (await findAdapter()).software) {
      progress.note("This is a software adapter: good for correctness, its times say little.");
    }
    const { runBench } = await import("../bench/run.ts");
    const interrupt = onInterrupt(() => progress.stop());
    const found = await runBench({
      backend,
      suites: chosen,
      quick: args.quick ?? false,
      machine: backend.name === "webgpu" ? `${backend.build}; ${cpu()}` : cpu(),
      commit: await commit(),
      signal: interrupt.signal,
      progress: (label, done, total) => progress.update(label, done, total),
      skipped: (kernel, why) => progress.note(`${kernel}: ${why}`),
    }).catch((error) => {
      if (interrupt.signal.aborted) process.exit(EXIT.interrupted);
      throw error;
    });
    interrupt.off();
    progress.stop();

    if (args.json) {
      console.log(JSON.stringify({ roof: found.roof, rows: found.rows }, null, 2));
      return;
    }
    const head = ["kernel", "shape", "p10 µs", "p50 µs", "p90 µs", "GFLOP/s", "GB/s", "roof %"];
    const rows = found.rows.map((r) => [
      r.variant === "default" ? r.kernel : `${r.kernel}__${r.variant}`,
      r.shape,
      ...[r.p10_us, r.p50_us, r.p90_us, r.gflops, r.gbps].map(formatNumber),
      r.roof_pct.toFixed(1),
    ]);
    console.log(`${backend.name} ${backend.build} on ${cpu()}`);
    const { flopsPerSecond, bandwidth } = found.roof;
    const giga = (v: number) => formatNumber(v / 1e9);
    const steps = bandwidth.map((b) => `${giga(b.bytesPerSecond)} (${size(b.footprint)})`);
    console.log(`roofs: ${giga(flopsPerSecond)} GFLOP/s; GB/s by working set ${steps.join(", ")}`);
    console.log(textTable(head, rows, { right: [2, 3, 4, 5, 6, 7], flexible: [1] }));
  },
});

function globs(text: string): (suite: (typeof suites)[number]) => boolean {
  const patterns = text.split(",").map((glob) => {
    const body = glob.trim().replace(/[.+^${}()|[\]\\]/g, "\\$&");
    return new RegExp(`^${body.replaceAll("*", ".*").replaceAll("?", ".")}$`);
  });
  return (suite) => patterns.some((pattern) => pattern.test(suite.kernel.spec.name));
}

const cpu = (): string => `${cpus()[0]?.model ?? process.arch} (${cpus().length} cores)`;

const size = (bytes: number): string =>
  bytes < 2 ** 20 ? `${bytes / 1024} KiB` : `${bytes / 2 ** 20} MiB`;

/** The commit of a checkout, the version of an installed package. */
async function commit(): Promise<string> {
  const cwd = fileURLToPath(packageRoot);
  try {
    const git = promisify(execFile);
    const top = await git("git", ["rev-parse", "--show-prefix"], { cwd });
    // A package inside someone else's checkout must not take that one's commit for its own.
    if (top.stdout.trim() !== "") throw new Error("not this repository");
    const args = ["describe", "--always", "--dirty", "--exclude=*"];
    return (await git("git", args, { cwd })).stdout.trim();
  } catch {
    return `v${await version()}`;
  }
}
