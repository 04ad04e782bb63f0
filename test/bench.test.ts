import { spawn } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { charts } from "../bench/charts.ts";
import { baseline, changes, direction, sameCommit } from "../bench/compare.ts";
import { peerCases } from "../bench/peer-cases.ts";
import { installCommand } from "../bench/peers.ts";
import { latest, writeReport } from "../bench/report.ts";
import { type BenchRow, buildName, rowKey, toRow } from "../bench/rows.ts";
import { randomPoints } from "../bench/shapes.ts";
import { steps, trainingSteps } from "../bench/steps/index.ts";
import { loadMachines, loadRows, type Machine, machineName, saveRows } from "../bench/store.ts";
import { measure } from "../bench/subject.ts";
import { matches, verdicts } from "../bench/verdict.ts";
import { init } from "../core/index.ts";
import { distFile } from "./support/dist.ts";
import { suites } from "./support/registry.ts";

const temp = mkdtempSync(join(tmpdir(), "tilegrad-bench-"));
afterAll(() => rmSync(temp, { recursive: true, force: true }));
let folders = 0;
const newFolder = (): string => join(temp, String(folders++));

const fixture = new URL("fixtures/bench-rows.jsonl", import.meta.url);
const fixtureRows = (): BenchRow[] =>
  readFileSync(fixture, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
const machine: Machine = {
  name: "made-up-cpu-linux-x64",
  cpu: "Made Up CPU",
  cores: 2,
  memory: 2 ** 34,
  platform: "linux-x64",
};

const [template] = fixtureRows().filter((r) => r.kernel === "add");
const row = (p50_us: number, more: Partial<BenchRow> = {}): BenchRow => ({
  ...template,
  p50_us,
  ...more,
});

describe("rows", () => {
  test("keys do not depend on the commit or the times, but on everything else", () => {
    expect(rowKey(row(1, { commit: "a" }))).toBe(rowKey(row(2, { commit: "b" })));
    const others: Partial<BenchRow>[] = [
      { kernel: "mul" },
      { shape: "N=1" },
      { threads: 2 },
      { build: "relaxed" },
      { node: "24.0.0" },
      { peer: "js" },
      { machine: "x" },
      { variant: "v" },
      { adapter: "a" },
      { software: true },
      { browser: "B 1" },
    ];
    for (const other of others) expect(rowKey(row(1, other))).not.toBe(rowKey(row(1)));
  });

  test("rates and the share of the nearer roof come from the median", () => {
    const m = {
      kernel: "k",
      variant: "default",
      shape: "N=1",
      source: "s",
      cost: { flops: 1e6, bytes: 1e6 },
      memory: { footprint: 1e6, written: 0.5 },
      seconds: [1e-3, 2e-3, 4e-3],
    };
    const setting = {
      backend: "wasm",
      build: "simd",
      threads: 1,
      machine: "m",
      node: "20.0.0",
      commit: "c",
    };
    const roof = {
      flopsPerSecond: 1e9,
      bandwidth: [15, 16].map((e) => ({ footprint: 2 ** e, read: 1e9, copy: 2e9, fill: 4e9 })),
    };
    const r = toRow(m, setting, roof);
    expect([r.p10_us, r.p50_us, r.p90_us, r.gflops, r.gbps]).toEqual([1000, 2000, 4000, 0.5, 0.5]);
    expect(r.roof_pct).toBe(50);
    expect(toRow({ ...m, cost: { flops: 0, bytes: 0 } }, setting, roof).roof_pct).toBe(0);
    // a stream that is only read, a third written, only written: 1, 1.5 and 4 GB/s at best
    const share = (written: number) =>
      toRow(
        { ...m, cost: { flops: 0, bytes: 1e6 }, memory: { footprint: 1e6, written } },
        setting,
        roof,
      ).roof_pct;
    expect([0, 1 / 3, 1].map(share)).toEqual([50, 33.33, 12.5]);
  });

  test("a peer that did not measure says why", () => {
    const m = {
      kernel: "k",
      variant: "default",
      shape: "N=1",
      source: "s",
      cost: { flops: 1, bytes: 1 },
      memory: { footprint: 1, written: 0 },
      seconds: [],
    };
    const { machine, node, commit } = template;
    const setting = { backend: "webgpu", build: "b", threads: 1, machine, node, commit };
    const place = { adapter: "A", software: true, browser: "B 1" };
    const by = { ...setting, ...place, peer: "p", native: false, copies: false, why: "no" };
    const r = toRow(m, setting, { flopsPerSecond: 1, bandwidth: [] }, by);
    expect(r).toMatchObject({ peer: "p", why: "no", samples: 0, p50_us: 0, ...place });
    expect(JSON.stringify(r)).not.toContain("null");
  });

  test("a build is named without its threads", () => {
    expect(buildName("relaxed.threads (2 threads)")).toBe("relaxed");
    expect(buildName("simd")).toBe("simd");
    expect(buildName("SwiftShader (software)")).toBe("SwiftShader (software)");
  });
});

describe("store", () => {
  test("rows are appended, never replaced", async () => {
    const folder = newFolder();
    await saveRows(folder, machine, [row(1)]);
    await saveRows(folder, machine, [row(2), row(3)]);
    expect((await loadRows(folder, machine.name)).map((r) => r.p50_us)).toEqual([1, 2, 3]);
    expect(await loadMachines(folder)).toEqual([machine]);
  });

  test("another machine has none", async () => {
    const folder = newFolder();
    await saveRows(folder, machine, [row(1)]);
    expect(await loadRows(folder, "another")).toEqual([]);
  });

  test("a broken line is named", async () => {
    const folder = newFolder();
    const file = await saveRows(folder, machine, [row(1)]);
    writeFileSync(file, "{broken\n", { flag: "a" });
    await expect(loadRows(folder, machine.name)).rejects.toThrow(/line 2: expected a row as JSON/);
  });

  test("machine names are file names", () => {
    expect(machineName("Intel(R) Core(TM) i7-9750H CPU @ 2.60GHz", "darwin", "x64")).toBe(
      "intel-core-i7-9750h-cpu-2-60ghz-darwin-x64",
    );
  });
});

describe("compare", () => {
  const saved = [
    ...[100, 104, 96].map((us) => row(us, { commit: "aaaaaaa" })),
    row(10, { commit: "bbbbbbb" }),
  ];
  const before = baseline(saved, "aaaaaaa");

  test("a commit counts with the median of its rows, and no other's", () => {
    expect([...before.values()]).toEqual([100]);
    expect(baseline(saved, "ccccccc").size).toBe(0);
  });

  test("hashes may be longer or shorter; a changed tree is not its commit", () => {
    expect(sameCommit("aaaaaaa", "aaaaaaa0123456789")).toBe(true);
    expect(sameCommit("aaaaaaa", "aaa")).toBe(false);
    expect(sameCommit("aaaaaaa", "aaaaaaa-dirty")).toBe(false);
    expect(sameCommit("aaaaaaa-dirty", "aaaaaaa-dirty")).toBe(true);
  });

  test.each([
    [109, 0],
    [111, 1],
    [91, 0],
    [89, -1],
  ])("100 µs before, %i now: %i", (now, expected) => {
    expect(direction(row(now), before)).toBe(expected);
  });

  test("unknown points are no change", () => {
    expect(direction(row(1, { shape: "N=3" }), before)).toBe(0);
  });

  test.each([
    ["slower twice", 130, 120, [1.2]],
    ["faster twice", 70, 80, [0.8]],
    ["slower only once", 130, 101, []],
    ["slower, then faster", 130, 70, []],
    ["within the threshold", 105, 130, []],
  ])("%s", (_, first, second, ratios) => {
    const found = changes(before, [row(first)], [row(second)]);
    expect(found.map((c) => c.ratio)).toEqual(ratios);
  });

  test("what was not looked at twice is not told", () => {
    expect(changes(before, [row(130)], [])).toEqual([]);
  });
});

describe("targets", () => {
  test("patterns", () => {
    expect(matches("*", "anything at all")).toBe(true);
    expect(matches("* I=1 * pad=1", "B=1 I=1 R=3 pad=1")).toBe(true);
    expect(matches("* I=1 * pad=1", "B=1 I=16 R=3 pad=1")).toBe(false);
    expect(matches("N=1", "N=16")).toBe(false);
  });

  const aims = (aim: Parameters<typeof verdicts>[1][number]["aim"], more = {}) =>
    verdicts(fixtureRows(), [
      { kernel: "matmul", shape: "M=256 K=256 N=256", aim, source: "", ...more },
    ]);

  test("of the roof, on the build and the Node that are meant", () => {
    const judged = aims({ roof: 84 });
    expect(judged.map((v) => [v.row.build, v.met])).toEqual([
      ["simd", true],
      ["relaxed", false],
    ]);
    expect(aims({ roof: 84 }, { node: { from: 24 } }).map((v) => v.row.build)).toEqual(["relaxed"]);
  });

  test("against a peer, another shape, one thread", () => {
    const [verdict] = aims({ peer: "tfjs-wasm", faster: 1.3 }, { build: "simd" });
    expect(verdict).toMatchObject({ met: true, measured: "1.67 ×" });
    const of = { kernel: "matmul", shape: "M=128 K=128 N=128" };
    expect(aims({ rate: 0.8, of }, { build: "simd" })[0].met).toBe(true);
    expect(aims({ time: 0.6, of }, { build: "simd" })[0].met).toBe(false);
  });

  test("without the other row there is no verdict", () => {
    expect(aims({ peer: "nobody", faster: 1 })).toEqual([]);
    expect(aims({ threads: 1.9 }, { threads: 2 })).toEqual([]);
  });
});

describe("report", () => {
  test("the last row of a key wins", () => {
    const rows = [row(1), row(9, { shape: "N=2" }), row(2, { commit: "later" })];
    expect(latest(rows).map((r) => r.p50_us)).toEqual([9, 2]);
  });

  test("a page and its charts from saved rows", async () => {
    const folder = newFolder();
    await saveRows(folder, machine, fixtureRows());
    await writeReport(folder, await loadMachines(folder));
    const page = readFileSync(join(folder, "REPORT.md"), "utf8");
    expect(page).toContain("## Made Up CPU, linux-x64");
    expect(page).toContain("npm run bench:report");
    for (const [, file] of page.matchAll(/\]\((charts\/[^)]+)\)/g)) {
      expect(existsSync(join(folder, file)), file).toBe(true);
    }
    expect(readdirSync(join(folder, "charts")).length).toBeGreaterThan(0);
    // every row of ours is there, whether it meets its target or not
    const own = fixtureRows().filter((r) => r.peer === "tilegrad" && !r.kernel.startsWith("roof_"));
    const table = page.slice(page.indexOf("### All rows"));
    for (const r of own) expect(table).toContain(`| ${r.kernel} | ${r.shape} | Node`);
    expect(page).toContain("**missed**");
  });

  test("pages: an adapter a section and a chart, reasons for what is missing", async () => {
    const folder = newFolder();
    const page = (us: number, more: Partial<BenchRow>) =>
      row(us, { kernel: "softmax", shape: "R=1", backend: "webgpu", browser: "B 1", ...more });
    const soft = { adapter: "Soft", software: true };
    const hard = { adapter: "Hard", software: false };
    await saveRows(folder, machine, [
      ...fixtureRows(),
      page(9111, { ...soft, browser: "B 0" }),
      page(5111, { ...soft, variant: "old" }),
      page(4111, soft),
      page(8222, { ...soft, peer: "p" }),
      page(0, { ...soft, peer: "q", why: "has no softmax" }),
      page(20, hard),
      page(30, { ...hard, peer: "p" }),
    ]);
    await writeReport(folder, [machine]);
    const report = readFileSync(join(folder, "REPORT.md"), "utf8");
    const [before, software, hardware] = report.split("### WebGPU beside other libraries: ");
    expect(before).not.toContain("softmax");
    expect(software).toMatch(/^Soft \(software\), B 1\n/);
    expect(software).toContain("| softmax | R=1 | 4.111 | 8.222 (2 ×) |  |");
    expect(software).toContain("- q, softmax R=1: has no softmax");
    expect(hardware).toMatch(/^Hard \(hardware\), B 1\n/);
    expect(hardware).toContain("| softmax | R=1 | 0.02 | 0.03 (1.5 ×) |");
    const drawn = (kind: string) =>
      readFileSync(join(folder, "charts", `${machine.name}-webgpu-peers-${kind}.svg`), "utf8");
    expect(drawn("software")).toMatch(/>4\.111<.*>8\.222</);
    expect(drawn("software")).not.toMatch(/>0\.02<|>9\.111<|>5\.111</);
    expect(drawn("hardware-2")).toMatch(/>0.02<.*>0.03</);
  });

  test("a chart of WebGPU holds one adapter and no rows from a browser", () => {
    const series = (p50_us: number, more: Partial<BenchRow>) =>
      [64, 128, 256].map((n) =>
        row(p50_us, {
          kernel: "relu",
          shape: `N=${n}`,
          source: "series",
          backend: "webgpu",
          ...more,
        }),
      );
    const on = (adapter: string, software: boolean) => {
      const place = { adapter, software };
      const roof = row(1, { kernel: "roof_memory", backend: "webgpu", gbps: 100, ...place });
      return [roof, ...series(1, place), ...series(1, { ...place, browser: "B 1" })];
    };
    const found = charts([...on("Soft", true), ...on("Hard", false)]);
    expect(found.map((c) => c.title.replace(/^.*?, .*?, /, ""))).toEqual([
      "Soft (software)",
      "Hard (hardware)",
    ]);
    expect(new Set(found.map((c) => c.name)).size).toBe(2);
    for (const { svg } of found) {
      const dots = svg.split('aria-label="dot"')[1].split("aria-label=")[0];
      expect(dots.match(/<path /g)).toHaveLength(3);
    }
  });

  test("the top edge of a chart is the roof, and what is above it sits on the edge", () => {
    const [chart] = charts(fixtureRows()).filter((c) => c.name === "matmul-node20-1");
    expect(chart.svg).toMatch(/^<svg [^>]*xmlns="http:\/\/www.w3.org\/2000\/svg"/);
    expect(chart.svg).toContain("GFLOP/s; top edge: roof, 63");
    expect(chart.svg).toContain("ort-node");
    expect(chart.svg).toContain("#9498a0");
    expect(chart.svg).not.toContain("NaN");
  });
});

describe("shapes", () => {
  test("random shapes repeat with their seed, and only with it", async () => {
    const texts = async (seed: number) => {
      using backend = await init("ref");
      const small = suites.filter((s) => ["add", "softmax"].includes(s.kernel.spec.name));
      const found: string[] = [];
      for (const point of randomPoints(small, seed, 4)) {
        const subject = await point.prepare(backend);
        found.push(`${point.kernel} ${subject.shape}`);
        subject.dispose();
      }
      return found;
    };
    const first = await texts(7);
    expect(first).toHaveLength(4);
    expect(await texts(7)).toEqual(first);
    expect(await texts(8)).not.toEqual(first);
  });

  test("cases for peers run here", async () => {
    using backend = await init("wasm");
    const cases = peerCases(suites).filter((c) => /add 1048576|step|backward/.test(c.name));
    expect(cases.length).toBe(1 + steps.length);
    for (const { point } of cases) {
      const subject = await point.prepare(backend);
      const output = await subject.output?.();
      expect(output?.every(Number.isFinite)).toBe(true);
      subject.dispose();
    }
  });

  test.each(trainingSteps)("the loss of the $name falls", async ({ point }) => {
    using backend = await init("wasm");
    const subject = await point.prepare(backend);
    const losses = [...((await subject.output?.()) ?? [])];
    expect(losses).toHaveLength(5);
    for (let i = 1; i < losses.length; i++) expect(losses[i]).toBeLessThan(losses[i - 1]);
    subject.dispose();
  });

  test("a measurement counts samples and keeps them ascending", async () => {
    using backend = await init("wasm");
    const [point] = randomPoints(
      suites.filter((s) => s.kernel.spec.name === "relu"),
      1,
      1,
    );
    const options = { minSamples: 10, maxSeconds: 0.02, signal: new AbortController().signal };
    const m = await measure(point, backend, options);
    expect(m.seconds.length).toBeGreaterThanOrEqual(10);
    expect([...m.seconds].sort((a, b) => a - b)).toEqual(m.seconds);
    expect(m.source).toBe("random, seed 1");
  });
});

/** The built command in a folder of its own. */
function bench(cwd: string, ...args: string[]) {
  mkdirSync(cwd, { recursive: true });
  const command = [distFile("cli/tilegrad.js"), "bench", ...args];
  return new Promise<{ code: number | null; out: string; err: string }>((resolve) => {
    const child = spawn(process.execPath, command, { cwd });
    let [out, err] = ["", ""];
    child.stdout.on("data", (chunk) => {
      out += chunk;
    });
    child.stderr.on("data", (chunk) => {
      err += chunk;
    });
    child.on("close", (code) => resolve({ code, out, err }));
  });
}

describe("tilegrad bench", () => {
  const here = machineName(cpus()[0]?.model ?? "unknown CPU", process.platform, process.arch);

  test("--save, --compare, --report", async () => {
    const cwd = newFolder();
    const quick = ["--filter", "relu,call_replayed", "--quick"];
    const first = await bench(cwd, ...quick, "--save", "--json");
    expect(first).toMatchObject({ code: 0 });
    const { rows } = JSON.parse(first.out);
    expect(rows.map((r: BenchRow) => r.kernel)).toEqual(["relu", "call_replayed"]);
    expect(rows[1].bytes).toBe(0);
    const saved = await loadRows(join(cwd, "bench"), here);
    expect(saved.filter((r) => !r.kernel.startsWith("roof_"))).toEqual(rows);
    expect(saved.find((r) => r.kernel === "roof_flops")?.gflops).toBeGreaterThan(0);

    // slower than ever possible before: flagged in both looks, and the exit code says so
    const commit = "1234567";
    const slow = saved.map((r) => ({ ...r, commit, p50_us: r.p50_us / 100 }));
    await saveRows(join(cwd, "bench"), { ...machine, name: here }, slow);
    const second = await bench(cwd, ...quick, "--compare", commit, "--json");
    expect(second.code).toBe(1);
    const { changes: told } = JSON.parse(second.out);
    expect(told.map((c: { kernel: string }) => c.kernel)).toEqual(["relu", "call_replayed"]);
    for (const { ratio } of told) expect(ratio).toBeGreaterThan(10);

    const report = await bench(cwd, "--report");
    expect(report).toMatchObject({ code: 0, err: "" });
    expect(readFileSync(join(cwd, "bench", "REPORT.md"), "utf8")).toContain("| relu |");
  }, 120_000);

  test("--build and --threads", async () => {
    const run = await bench(
      newFolder(),
      "--filter",
      "relu",
      "--quick",
      "--json",
      "--build",
      "simd",
      "--threads",
      "2",
    );
    expect(run.code).toBe(0);
    expect(JSON.parse(run.out).rows[0]).toMatchObject({ build: "simd", threads: 2 });
  }, 60_000);

  test("--explain tells parts apart and says how it knows", async () => {
    const { code, out } = await bench(newFolder(), "--explain", "sgd", "--json");
    expect(code).toBe(0);
    const [part] = JSON.parse(out);
    expect(part).toMatchObject({ binds: "memory", dispatch: { how: "measured" } });
    expect(part.dispatch.us).toBeLessThan(part.p50_us);
    expect(part.edges).toMatchObject({ how: "measured", at: "N=235152 lr=0.1" });
    expect(part.packing).toBeUndefined();
  }, 60_000);

  test.each([
    ["--threads 0", "--threads: expected an integer in 1 … 64, got '0'"],
    ["--threads two", "--threads: expected an integer in 1 … 64, got 'two'"],
    ["--build fast", "--build: expected one of simd, relaxed, got 'fast'"],
    ["--backend ref --build simd", "--build: is about wasm, not about --backend ref"],
    ["--backend ref --threads 2", "--threads: is about wasm, not about --backend ref"],
    ["--seed -1", "--seed: expected an integer in 0 … 4294967295, got '-1'"],
    ["--peers --compare abcdef1", "--compare: does not go with --peers; run them one by one"],
    ["--explain matmul --save", "--save: does not go with --explain; run them one by one"],
    ["--explain matmull", "--explain: unknown kernel 'matmull' (did you mean matmul?)"],
    ["--report", "--report: bench/results has no saved rows; run 'tilegrad bench --save' first"],
    [
      "--compare abcdef1",
      `has no rows of commit 'abcdef1' for this machine (${here}); saved are none`,
    ],
  ])("%s", async (line, message) => {
    const { code, out, err } = await bench(newFolder(), ...line.split(" "));
    expect(err).toContain(message);
    expect(err).not.toMatch(/^\s+at /m);
    expect({ code, out }).toEqual({ code: 2, out: "" });
  });

  test("--compare knows the rows of another machine only as another machine's", async () => {
    const cwd = newFolder();
    await saveRows(join(cwd, "bench"), machine, [row(1, { commit: "1234567" })]);
    const { code, err } = await bench(cwd, "--filter", "relu", "--quick", "--compare", "1234567");
    expect(code).toBe(2);
    expect(err).toContain("saved are none");
  });

  test("peers that are not installed: the command that installs them", () => {
    const root = new URL(`file://${newFolder()}/`);
    mkdirSync(new URL("bench/peers/", root), { recursive: true });
    expect(installCommand(root)).toBe("npm run bench:peers-install");
    mkdirSync(new URL("bench/peers/node_modules/", root));
    expect(installCommand(root)).toBeUndefined();
    const { scripts } = JSON.parse(
      readFileSync(new URL("../package.json", import.meta.url), "utf8"),
    );
    expect(scripts["bench:peers-install"]).toMatch(
      /^npm ci --prefix bench\/peers --ignore-scripts/,
    );
  });
});
