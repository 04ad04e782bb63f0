// bench/REPORT.md from saved rows: charts, targets, every row.
import { mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Chart, charts } from "./charts.ts";
import { markdown } from "./markdown.ts";
import { pageSections } from "./page-report.ts";
import { type BenchRow, rowKey } from "./rows.ts";
import { loadRows, type Machine } from "./store.ts";
import { targets } from "./targets.ts";
import { peerTwin, type Verdict, verdicts } from "./verdict.ts";

const REPEAT = `\`\`\`
npm ci && npm run bench:peers-install
npm run bench -- --save                              # all kernels, one thread
npm run bench -- --save --threads 2
npm run bench -- --save --build simd                 # where the default is relaxed
npm run bench -- --save --peers                      # beside other libraries
npm run bench -- --save --peers --threads 2
npm run bench -- --save --peers --backend webgpu     # on WebGPU, in headless Chromiums
npm run bench:report                                 # this page, from what was saved
\`\`\``;

/** Writes REPORT.md and charts/ of a bench folder; returns what it wrote. */
export async function writeReport(folder: string, machines: readonly Machine[]): Promise<string> {
  const drawn = join(folder, "charts");
  await mkdir(drawn, { recursive: true });
  for (const file of await readdir(drawn)) if (file.endsWith(".svg")) await rm(join(drawn, file));
  const parts: string[] = [];
  let count = 0;
  for (const machine of machines) {
    const rows = latest(await loadRows(folder, machine.name));
    const pictures = charts(rows);
    const pages = pageSections(machine.name, rows);
    const all = [...pictures, ...pages.map((p) => p.chart)];
    for (const { name, svg } of all) {
      await writeFile(join(drawn, `${machine.name}-${name}.svg`), svg);
    }
    count += all.length;
    const sections = pages.map((p) => p.text);
    parts.push(machineSection(machine, rows, pictures, sections));
  }
  const file = join(folder, "REPORT.md");
  await writeFile(file, page(parts));
  return `${file} and ${count} charts`;
}

/** The last saved row of every key. */
export function latest(rows: readonly BenchRow[]): BenchRow[] {
  const last = new Map<string, BenchRow>();
  for (const row of rows) {
    // set anew, so that rows stay in the order of their last run
    last.delete(rowKey(row));
    last.set(rowKey(row), row);
  }
  return [...last.values()];
}

const page = (parts: readonly string[]): string => `# Benchmarks

Medians of at least 30 samples of at least 1 ms, after warming up; what is timed is the replay of a
captured call over resident data. The roofs are measured in the same run, for the very build and
number of threads: multiplications and additions in registers, and sweeps through working sets of
the kernel's size. Peers take turns with tilegrad in rounds, a process each, after their result was
checked against ours; "copies" marks those that copy inputs or outputs at every call, which is part
of their time. Native peers use all of the CPU's instructions, which wasm has not got: a triangle on
the top edge of a chart is above that roof.

To repeat it:

${REPEAT}

${parts.join("\n\n")}
`;

export function machineSection(
  machine: Machine,
  rows: readonly BenchRow[],
  pictures: readonly Chart[],
  pages: readonly string[],
): string {
  const here = rows.filter((r) => r.browser === undefined);
  const unique = (of: (r: BenchRow) => string) => [...new Set(rows.map(of))].sort().join(", ");
  const judged = verdicts(here, targets);
  const met = judged.filter((v) => v.met).length;
  return [
    `## ${machine.cpu}, ${machine.platform}`,
    `${machine.cores} cores, ${(machine.memory / 2 ** 30).toFixed(1)} GiB. Node ${unique((r) => r.node)}. Commits ${unique((r) => r.commit)}. Rows: [${machine.name}.jsonl](results/${machine.name}.jsonl).`,
    roofTable(here),
    ...pictures.map((c) => `![${c.title}](charts/${machine.name}-${c.name}.svg)`),
    `### Targets: ${met} of ${judged.length} met`,
    targetTable(judged),
    ...pages,
    "### All rows",
    rowTable(here),
  ].join("\n\n");
}

const setting = (r: BenchRow): string =>
  [`Node ${Number.parseInt(r.node, 10)}`, r.build, r.threads > 1 ? `${r.threads} threads` : ""]
    .filter(Boolean)
    .join(", ");

function roofTable(rows: readonly BenchRow[]): string {
  const flops = rows.filter((r) => r.kernel === "roof_flops");
  const body = flops.map((r) => {
    const memory = rows.filter(
      (m) =>
        m.kernel === "roof_memory" &&
        [m.backend, m.build, m.node, m.threads].join() ===
          [r.backend, r.build, r.node, r.threads].join(),
    );
    const out = memory.at(-1);
    return [setting(r), r.gflops, out ? out.gbps : "", out?.shape ?? "", r.commit];
  });
  return markdown(["roofs", "GFLOP/s", "GB/s", "of a working set", "commit"], body);
}

const targetTable = (judged: readonly Verdict[]): string =>
  markdown(
    ["kernel", "shape", "setting", "target", "measured", "", "source of the target", "reason"],
    judged.map(({ row, target, aim, measured, met }) => [
      row.kernel,
      row.shape,
      setting(row),
      aim,
      measured,
      met ? "met" : "**missed**",
      target.source,
      met ? "" : (target.reason ?? "not looked into yet"),
    ]),
  );

function rowTable(rows: readonly BenchRow[]): string {
  const kernels = rows.filter((r) => !r.kernel.startsWith("roof_"));
  const peers = [...new Set(kernels.map((r) => r.peer))].filter((p) => p !== "tilegrad").sort();
  const own = kernels.filter((r) => r.peer === "tilegrad");
  const ratio = (r: BenchRow, peer: string) => {
    const twin = peerTwin(r, peer, rows);
    if (!twin) return "";
    const threads = twin.threads === r.threads ? "" : `, ${twin.threads} thread`;
    return `${(twin.p50_us / r.p50_us).toFixed(2)}${twin.copies || threads ? ` (${twin.copies ? "copies" : ""}${threads})`.replace("(, ", "(") : ""}`;
  };
  return [
    markdown(
      [
        "kernel",
        "shape",
        "setting",
        "p10 µs",
        "p50 µs",
        "p90 µs",
        "GFLOP/s",
        "GB/s",
        "roof %",
        ...peers.map((p) => `× ${p}`),
        "source",
        "commit",
      ],
      own.map((r) => [
        r.variant === "default" ? r.kernel : `${r.kernel}__${r.variant}`,
        r.shape,
        setting(r),
        r.p10_us,
        r.p50_us,
        r.p90_us,
        r.gflops,
        r.gbps,
        r.roof_pct,
        ...peers.map((p) => ratio(r, p)),
        r.source,
        r.commit,
      ]),
    ),
    ...(peers.length
      ? [
          "Peers themselves:",
          markdown(
            ["peer", "kernel", "shape", "build", "threads", "p50 µs", "copies", "native", "Node"],
            kernels
              .filter((r) => r.peer !== "tilegrad")
              .map((r) => [
                r.peer,
                r.kernel,
                r.shape,
                r.build,
                r.threads,
                r.p50_us,
                r.copies ? "yes" : "",
                r.native ? "yes" : "",
                r.node,
              ]),
          ),
        ]
      : []),
  ].join("\n\n");
}
