// The part of the report about WebGPU in a browser: tilegrad and its peers, a page each.
import * as Plot from "@observablehq/plot";
import { parseHTML } from "linkedom";
import { type Chart, COLOURS, PEER } from "./charts.ts";
import { markdown } from "./markdown.ts";
import { type BenchRow, round, samePlace } from "./rows.ts";

export interface PageSection {
  readonly chart: Chart;
  readonly text: string;
}

const OWN = "tilegrad";

/** A section for each adapter, software never beside hardware; of the browser that ran last. */
export function pageSections(machine: string, rows: readonly BenchRow[]): PageSection[] {
  const paged = rows.filter((r) => r.browser !== undefined && !r.kernel.startsWith("roof_"));
  const adapters = new Map<string, BenchRow[]>();
  for (const row of paged) {
    const key = `${row.adapter}|${row.software}`;
    adapters.set(key, [...(adapters.get(key) ?? []), row]);
  }
  return [...adapters.values()].map((group, i) => {
    const last = group.at(-1) as BenchRow;
    return section(machine, newest(group.filter((r) => samePlace(r, last))), i);
  });
}

/** The last row of each library at each point, whatever its version or variant was before. */
function newest(rows: readonly BenchRow[]): BenchRow[] {
  const last = new Map(rows.map((r) => [`${r.peer}|${r.kernel}|${r.shape}`, r]));
  return rows.filter((r) => [...last.values()].includes(r));
}

const title = ({ adapter, software, browser }: BenchRow): string =>
  `WebGPU beside other libraries: ${adapter} (${software ? "software" : "hardware"}), ${browser}`;

function section(machine: string, rows: readonly BenchRow[], index: number): PageSection {
  const own = rows.filter((r) => r.peer === OWN);
  const peers = [...new Set(rows.map((r) => r.peer))].filter((p) => p !== OWN).sort();
  const kind = rows[0].software ? "software" : "hardware";
  const chart = {
    name: `webgpu-peers-${kind}${index ? `-${index + 1}` : ""}`,
    title: title(rows[0]),
    svg: draw(own, rows, title(rows[0])),
  };
  const builds = peers.map((p) => rows.find((r) => r.peer === p)?.build).join(", ");
  const commits = [...new Set(own.map((r) => r.commit))].sort().join(", ");
  const notes = rows.flatMap((r) =>
    r.why === undefined ? [] : [`- ${r.peer}, ${r.kernel} ${r.shape}: ${r.why}`],
  );
  const text = [
    `### ${chart.title}`,
    `Milliseconds; in brackets how many times the time of tilegrad. Each library in a page of its own
browser, in rounds, its inputs on the device; runs are put into the queue one after another and the
queue is waited for once. ${builds}. Commits ${commits}.${
      rows[0].software
        ? " The adapter is SwiftShader, which computes on the CPU: it says how well the kernels suit such an adapter, and nothing about a GPU."
        : ""
    }`,
    "```\nnpm ci && npm run bench:peers-install\nnpm run bench -- --save --peers --backend webgpu\nnpm run bench:report\n```",
    `![${chart.title}](charts/${machine}-${chart.name}.svg)`,
    markdown(
      ["kernel", "shape", OWN, ...peers],
      own.map((r) => [
        r.variant === "default" ? r.kernel : `${r.kernel}__${r.variant}`,
        r.shape,
        milliseconds(r),
        ...peers.map((p) => beside(r, twin(r, p, rows))),
      ]),
    ),
    ...(notes.length ? [`Not measured:\n\n${notes.join("\n")}`] : []),
  ].join("\n\n");
  return { chart, text };
}

const twin = (row: BenchRow, peer: string, rows: readonly BenchRow[]): BenchRow | undefined =>
  rows.find((r) => r.peer === peer && r.kernel === row.kernel && r.shape === row.shape);

const milliseconds = (r: BenchRow): string => String(round(r.p50_us / 1000));

function beside(own: BenchRow, peer: BenchRow | undefined): string {
  if (!peer || peer.why !== undefined) return "";
  return `${milliseconds(peer)} (${round(peer.p50_us / own.p50_us)} ×)`;
}

const ROW = 18;

/** A panel a case, a line a library: the time, on one logarithmic axis for all. */
function draw(own: readonly BenchRow[], rows: readonly BenchRow[], label: string): string {
  const { document } = parseHTML("<!doctype html><html><body></body></html>");
  const name = (r: BenchRow) => `${r.kernel} ${r.shape}`;
  const timed = rows.filter((r) => r.why === undefined && own.some((o) => name(o) === name(r)));
  const points = timed.map((r) => ({ case: name(r), by: r.peer, ms: r.p50_us / 1000 }));
  const by = [OWN, ...new Set(points.map((p) => p.by).filter((p) => p !== OWN))];
  const colour = (p: { by: string }) => (p.by === OWN ? COLOURS[0] : PEER);
  const svg = Plot.plot({
    document: document as unknown as Document,
    width: 640,
    height: 60 + own.length * (ROW * by.length + 26),
    marginLeft: 90,
    marginRight: 70,
    marginTop: 24,
    marginBottom: 40,
    style: { background: "white", color: "#1b1e23", fontSize: "12px" },
    x: { label: "ms", type: "log", grid: true },
    y: { label: null, domain: by, padding: 0.4 },
    fy: { label: null, domain: own.map(name), axis: null, padding: 0.25 },
    marks: [
      Plot.text(own, {
        fy: name,
        text: name,
        frameAnchor: "top-left",
        dy: -14,
        fontWeight: "bold",
      }),
      Plot.ruleY(points, { fy: "case", y: "by", stroke: "#1b1e23", strokeOpacity: 0.15 }),
      Plot.dot(points, { fy: "case", y: "by", x: "ms", fill: colour, r: 4 }),
      Plot.text(points, {
        fy: "case",
        y: "by",
        x: "ms",
        text: (p: (typeof points)[number]) => String(round(p.ms)),
        dx: 8,
        textAnchor: "start",
      }),
    ],
  });
  svg.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", label);
  return `${svg.outerHTML}\n`;
}
