import { loadavg } from "node:os";
import { defineCommand } from "citty";
import type { Change } from "../bench/compare.ts";
import type { PeerCase } from "../bench/peer-cases.ts";
import type { Comparison } from "../bench/peers.ts";
import type { Roof } from "../bench/roof.ts";
import type { BenchRow, Setting } from "../bench/rows.ts";
import type { Watch } from "../bench/run.ts";
import type { TimerOptions } from "../bench/timer.ts";
import type { Backend, BackendName } from "../core/backend.ts";
import type { Suite } from "../core/contract.ts";
import { init } from "../core/index.ts";
import { WasmBackend } from "../core/wasm.ts";
import { WebgpuBackend } from "../core/webgpu.ts";
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
    refuseTogether(args);
    if (args.report) return report(args.out);
    const { quick = false } = args;
    const seed = args.seed === undefined ? newSeed() : integer("--seed", args.seed, 0, 2 ** 32 - 1);
    const threads = integer("--threads", args.threads, 1, 64);
    if (args.backend !== "wasm" && (args.build || threads > 1)) {
      throw new UsageError(
        `${args.build ? "--build" : "--threads"}: is about wasm, not about --backend ${args.backend}`,
      );
    }
    if (args.peers) await checkPeers();
    const explained = args.explain === undefined ? undefined : suiteOf(args.explain);
    const here = machine();
    const before =
      args.compare === undefined ? undefined : await saved(args.compare, args.out, here.name);
    // random shapes have no saved rows to be compared with
    const points =
      explained || args.peers ? [] : await pointsFor(args.filter, quick, before ? undefined : seed);

    const progress = openProgress();
    const [load] = loadavg();
    if (load > 0.5) {
      progress.note(
        `Load average ${load.toFixed(1)}: something else runs here, and times tell of it.`,
      );
    }
    const { buildName, roofRows } = await import("../bench/rows.ts");
    const { runBench, possible, sampling } = await import("../bench/run.ts");
    const interrupt = onInterrupt(() => progress.stop());
    const skipped: { what: string; why: string }[] = [];
    const watch: Watch = {
      signal: interrupt.signal,
      progress: (label, done, total) => progress.update(label, done, total),
      skipped: (what, why) => {
        skipped.push({ what, why });
        progress.note(`${what}: ${why}`);
      },
    };
    const run = {
      threads,
      machine: here.name,
      node: process.versions.node,
      commit: await commit(),
    };
    const options = sampling(quick, interrupt.signal);
    const tellOfSoftware = () =>
      progress.note("This is a software adapter: good for correctness, its times say little.");

    /** Saves what was measured; what is left is to print it. */
    const done = async (setting: Setting, roof: Roof, rows: BenchRow[], told?: Change[]) => {
      if (args.save) {
        const { saveRows } = await import("../bench/store.ts");
        const file = await saveRows(args.out, here, [...roofRows(roof, setting), ...rows]);
        progress.note(`${rows.length} rows appended to ${file}`);
      }
      return () => {
        if (told?.some((c) => c.ratio > 1)) process.exitCode = EXIT.failed;
        if (args.json) {
          const changed = told ? { changes: told } : {};
          console.log(JSON.stringify({ roof, seed, rows, skipped, ...changed }, null, 2));
          return;
        }
        const { backend, build, browser, node } = setting;
        const where = [`${backend} ${build}`, ...(browser ? [browser] : []), `Node ${node}`];
        console.log(`${where.join(", ")}, ${setting.commit}`);
        console.log(`${here.cpu} (${here.cores} cores), ${here.platform}`);
        console.log(roofLine(roof));
        console.log(rowsTable(rows));
        if (rows.some((r) => r.source.startsWith("random"))) {
          console.log(`The random shapes again: --seed ${seed}`);
        }
        if (told) console.log(changesTable(told, args.compare ?? ""));
      };
    };

    const work = async () => {
      if (args.peers && args.backend === "webgpu") {
        const { own, roof, found } = await inPages(args.filter, quick, options, watch);
        if (own.software) tellOfSoftware();
        const setting = { ...run, ...own };
        return done(setting, roof, await toRows(found, setting, roof));
      }
      using backend = await open(args.backend as BackendName, args.build, threads);
      const setting = { ...run, ...(await settingOf(backend)), build: buildName(backend.build) };
      if (setting.software) tellOfSoftware();
      if (explained) {
        const { explain } = await import("../bench/explain.ts");
        const parts = await explain(backend, suites, explained, options, watch);
        return () => console.log(args.json ? JSON.stringify(parts, null, 2) : explainTable(parts));
      }
      const feasible = possible(points, backend, watch);
      const { roof, ...found } = await runBench(backend, feasible, setting, options, watch);
      if (args.peers) {
        const { peerCases } = await import("../bench/peer-cases.ts");
        const { comparePeers } = await import("../bench/peers.ts");
        const cases = filtered(peerCases(suites), args.filter);
        const all = await comparePeers(backend, cases, packageRoot, threads, options, watch);
        return done(setting, roof, await toRows(all, setting, roof));
      }
      let told: Change[] | undefined;
      if (before) {
        const { changes, direction } = await import("../bench/compare.ts");
        // What looks off is looked at again before anything is said about it.
        const moved = found.points.filter((_, i) => direction(found.rows[i], before) !== 0);
        const again = await runBench(backend, moved, setting, options, watch, roof);
        told = changes(before, found.rows, again.rows);
      }
      return done(setting, roof, [...found.rows], told);
    };
    const print = await work().catch((error) => {
      if (interrupt.signal.aborted) process.exit(EXIT.interrupted);
      throw error;
    });
    interrupt.off();
    progress.stop();
    print();
  },
});

/** What one run cannot do at once. */
function refuseTogether(args: Record<string, unknown>): void {
  const apart = [
    ["report", "explain", "peers", "save", "compare", "json"],
    ["explain", "peers", "save", "compare"],
    ["peers", "compare"],
  ];
  for (const [mode, ...others] of apart) {
    const other = args[mode] ? others.find((name) => args[name]) : undefined;
    if (other) throw new UsageError(`--${other}: does not go with --${mode}; run them one by one`);
  }
}

/** What the filter lets through: kernels at their shapes, overheads, whole steps. */
async function pointsFor(filter: string, quick: boolean, seed: number | undefined) {
  const { overheads } = await import("../bench/overheads.ts");
  const { pointsOf } = await import("../bench/run.ts");
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
  return [...pointsOf(chosen, quick, seed), ...others];
}

/** Saved times of a commit on this machine. */
async function saved(
  named: string,
  folder: string,
  machine: string,
): Promise<ReadonlyMap<string, number>> {
  const { baseline, commitsOf } = await import("../bench/compare.ts");
  const { loadRows } = await import("../bench/store.ts");
  const rows = await loadRows(folder, machine);
  const known = baseline(rows, await resolveCommit(named));
  if (known.size > 0) return known;
  const commits = commitsOf(rows).join(", ") || "none: run 'tilegrad bench --save' first";
  throw new UsageError(
    `--compare: ${folder}/results has no rows of commit '${named}' for this machine (${machine}); ` +
      `saved are ${commits}`,
  );
}

/** Backend and, on WebGPU, adapter. */
async function settingOf(backend: Backend) {
  if (!(backend instanceof WebgpuBackend)) return { backend: backend.name };
  const { software, description } = await findAdapter();
  return { backend: backend.name, adapter: description, software };
}

function filtered(cases: readonly PeerCase[], filter: string): PeerCase[] {
  const fits = globs(filter);
  const chosen = cases.filter((c) => fits(c.point.kernel));
  if (chosen.length > 0) return chosen;
  const names = [...new Set(cases.map((c) => c.point.kernel))].join(", ");
  throw new UsageError(`--filter: peers are compared on ${names}; '${filter}' fits none of them`);
}

async function toRows(
  found: readonly Comparison[],
  setting: Setting,
  roof: Roof,
): Promise<BenchRow[]> {
  const { toRow } = await import("../bench/rows.ts");
  return found.map(({ m, by }) => toRow(m, setting, roof, by));
}

async function inPages(filter: string, quick: boolean, options: TimerOptions, watch: Watch) {
  const { gpuCases } = await import("../bench/peer-cases.ts");
  const { comparePages } = await import("../bench/peer-pages.ts");
  const { openPeerPage } = await import("./peer-page.ts");
  const rounds = quick ? 3 : 5;
  const cases = filtered(gpuCases(suites), filter);
  return comparePages(openPeerPage, cases, { ...options, rounds }, watch);
}

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

async function checkPeers(): Promise<void> {
  const { hasPeers, installCommand } = await import("../bench/peers.ts");
  if (!hasPeers(packageRoot)) {
    throw new UsageError("--peers: needs a checkout of the repository; the package has no peers");
  }
  const install = installCommand(packageRoot);
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
