import { loadavg } from "node:os";
import { defineCommand } from "citty";
import type { Backend, BackendName } from "../core/backend.ts";
import type { Suite } from "../core/contract.ts";
import { init } from "../core/index.ts";
import { WasmBackend } from "../core/wasm.ts";
import { integer } from "./args.ts";
import { BACKENDS, findAdapter, openBackend } from "./backends.ts";
import { changesTable, explainTable, roofLine, rowsTable } from "./bench-output.ts";
import { commit, machine, resolveCommit } from "./bench-setting.ts";
import { didYouMean, EXIT, UsageError } from "./errors.ts";
import { onInterrupt } from "./interrupt.ts";
import { openProgress } from "./progress.ts";
import { suites } from "./registry.ts";
import { packageRoot } from "./version.ts";

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
    build: {
      type: "enum",
      options: ["simd", "relaxed"],
      description: "The wasm build; default: relaxed where the host takes it",
    },
    threads: { type: "string", valueHint: "n", default: "1", description: "Threads of wasm" },
    quick: { type: "boolean", description: "Fewer samples, one shape for each kernel" },
    seed: {
      type: "string",
      valueHint: "n",
      description: "Draw the ten random shapes of a full run again; default: a new seed",
    },
    json: { type: "boolean", description: "Print one JSON object instead of the table" },
    save: { type: "boolean", description: "Append the rows to <out>/results/<machine>.jsonl" },
    compare: {
      type: "string",
      valueHint: "commit",
      description: "Tell what is over 10 % off the saved rows of that commit, seen twice",
    },
    peers: {
      type: "boolean",
      description:
        "Measure other libraries in turns with tilegrad (a checkout with peers installed)",
    },
    explain: {
      type: "string",
      valueHint: "kernel",
      description: "Where the time of one kernel goes",
    },
    report: {
      type: "boolean",
      description: "Write <out>/REPORT.md and its charts from saved rows",
    },
    out: {
      type: "string",
      valueHint: "folder",
      default: "bench",
      description: "Where results, report and charts are",
    },
  },
  async run({ args }) {
    if (args.report) return report(args.out);
    const { quick = false, peers = false } = args;
    const seed = args.seed === undefined ? newSeed() : integer("--seed", args.seed, 0, 2 ** 32 - 1);
    const threads = integer("--threads", args.threads, 1, 64);
    if (args.backend !== "wasm" && (args.build || threads > 1)) {
      throw new UsageError(
        `${args.build ? "--build" : "--threads"}: is about wasm, not about --backend ${args.backend}`,
      );
    }
    const explained = args.explain === undefined ? undefined : suiteOf(args.explain);
    const { installCommand, hasPeers, comparePeers } = await import("../bench/peers.ts");
    if (peers) checkPeers(hasPeers(packageRoot), installCommand(packageRoot));

    const { loadRows, saveRows } = await import("../bench/store.ts");
    const { baseline, changes, commitsOf, direction } = await import("../bench/compare.ts");
    const here = machine();
    const before = args.compare === undefined ? undefined : await saved(args.compare, args.out);

    async function saved(named: string, folder: string): Promise<Map<string, number>> {
      const rows = await loadRows(folder, here.name);
      const known = baseline(rows, await resolveCommit(named));
      if (known.size > 0) return known;
      const commits = commitsOf(rows).join(", ") || "none: run 'tilegrad bench --save' first";
      throw new UsageError(
        `--compare: ${folder}/results has no rows of commit '${named}' for this machine (${here.name}); saved are ${commits}`,
      );
    }

    const progress = openProgress();
    using backend = await open(args.backend as BackendName, args.build, threads);
    const [load] = loadavg();
    if (load > 0.5) {
      progress.note(
        `Load average ${load.toFixed(1)}: something else runs here, and times tell of it.`,
      );
    }
    if (backend.name === "webgpu" && (await findAdapter()).software) {
      progress.note("This is a software adapter: good for correctness, its times say little.");
    }
    const { buildName, roofRows, toRow } = await import("../bench/rows.ts");
    const { runBench, pointsOf, possible, sampling } = await import("../bench/run.ts");
    const interrupt = onInterrupt(() => progress.stop());
    const skipped: { what: string; why: string }[] = [];
    const watch = {
      signal: interrupt.signal,
      progress: (label: string, done: number, total: number) => progress.update(label, done, total),
      skipped: (what: string, why: string) => {
        skipped.push({ what, why });
        progress.note(`${what}: ${why}`);
      },
    };
    const setting = {
      backend: backend.name,
      build: buildName(backend.build),
      threads,
      machine: here.name,
      node: process.versions.node,
      commit: await commit(),
    };
    const options = sampling(quick, interrupt.signal);

    const work = async () => {
      if (explained) {
        const { explain } = await import("../bench/explain.ts");
        const parts = await explain(backend, suites, explained, options, watch);
        progress.stop();
        console.log(args.json ? JSON.stringify(parts, null, 2) : explainTable(parts));
        return;
      }
      const points = possible(
        peers ? [] : await pointsFor(args.filter, quick, seed, before !== undefined),
        backend,
        watch,
      );
      const found = await runBench(backend, points, setting, options, watch);
      const rows = [...found.rows];
      if (peers) {
        const { peerCases } = await import("../bench/peer-cases.ts");
        const cases = peerCases(suites).filter((c) => globs(args.filter)(c.point.kernel));
        const compared = await comparePeers(backend, cases, packageRoot, threads, options, watch);
        rows.push(...compared.map(({ m, by }) => toRow(m, setting, found.roof, by)));
      }
      // What looks off is looked at again before anything is said about it.
      const moved = before
        ? found.points.filter((_, i) => direction(found.rows[i], before) !== 0)
        : [];
      const again = moved.length
        ? (await runBench(backend, moved, setting, options, watch)).rows
        : [];
      const told = before ? changes(before, found.rows, again) : undefined;
      interrupt.off();
      progress.stop();
      if (args.save) {
        const file = await saveRows(args.out, here, [...roofRows(found.roof, setting), ...rows]);
        progress.note(`${rows.length} rows appended to ${file}`);
      }
      if (args.json) {
        const result = {
          roof: found.roof,
          seed,
          rows,
          skipped,
          ...(told ? { changes: told } : {}),
        };
        console.log(JSON.stringify(result, null, 2));
      } else {
        console.log(`${backend.name} ${backend.build}, Node ${setting.node}, ${setting.commit}`);
        console.log(
          `${here.cpu} (${here.cores} cores), ${here.platform}; random shapes: --seed ${seed}`,
        );
        console.log(roofLine(found.roof));
        console.log(rowsTable(rows));
        if (told) console.log(changesTable(told, args.compare ?? ""));
      }
      if (told?.some((c) => c.ratio > 1)) process.exitCode = EXIT.failed;
    };
    await work().catch((error) => {
      if (interrupt.signal.aborted) process.exit(EXIT.interrupted);
      throw error;
    });
    interrupt.off();
    progress.stop();

    async function pointsFor(filter: string, quick: boolean, seed: number, comparing: boolean) {
      const { overheads } = await import("../bench/overheads.ts");
      const { steps } = await import("../bench/steps/index.ts");
      const fits = globs(filter);
      const chosen = suites.filter((suite) => fits(suite.kernel.spec.name));
      const whole = [...overheads(packageRoot), ...steps.map((step) => step.point)];
      const others = whole.filter((point) => fits(point.kernel));
      if (chosen.length + others.length === 0) {
        const names = [...suites.map((s) => s.kernel.spec.name), ...whole.map((p) => p.kernel)];
        throw new UsageError(
          `--filter: expected the name of a kernel, got '${filter}', which fits none of ` +
            `${names.length}${didYouMean(filter, names)}; 'tilegrad list' has them all`,
        );
      }
      // random shapes have no saved rows to be compared with
      return [...pointsOf(chosen, quick, comparing ? undefined : seed), ...others];
    }
  },
});

async function report(folder: string): Promise<void> {
  const { loadMachines } = await import("../bench/store.ts");
  const machines = await loadMachines(folder);
  if (machines.length === 0) {
    throw new UsageError(
      `--report: ${folder}/results has no saved rows; run 'tilegrad bench --save' first`,
    );
  }
  const { writeReport } = await import("../bench/report.ts");
  console.log(await writeReport(folder, machines));
}

function checkPeers(inCheckout: boolean, install: string | undefined): void {
  if (!inCheckout) {
    throw new UsageError("--peers: needs a checkout of the repository; the package has no peers");
  }
  if (install) throw new UsageError(`--peers: the peers are not installed; run '${install}' first`);
}

async function open(
  name: BackendName,
  build: string | undefined,
  threads: number,
): Promise<Backend> {
  if (name !== "wasm") return openBackend(name);
  const wasm = { threads, ...(build ? { build: build as "simd" | "relaxed" } : {}) };
  const backend = await init("wasm", { wasm });
  // a plan made before the pool is up would run on one thread
  if (backend instanceof WasmBackend) await backend.startThreads();
  return backend;
}

function suiteOf(name: string): Suite {
  const suite = suites.find((s) => s.kernel.spec.name === name);
  if (suite) return suite;
  const names = suites.map((s) => s.kernel.spec.name);
  throw new UsageError(`--explain: unknown kernel '${name}'${didYouMean(name, names)}`);
}

function globs(text: string): (name: string) => boolean {
  const patterns = text.split(",").map((glob) => {
    const body = glob.trim().replace(/[.+^${}()|[\]\\]/g, "\\$&");
    return new RegExp(`^${body.replaceAll("*", ".*").replaceAll("?", ".")}$`);
  });
  return (name) => patterns.some((pattern) => pattern.test(name));
}

const newSeed = (): number => Math.floor(Math.random() * 2 ** 32);
