// Charts in the manner of BLIS: rate over size, and the top edge is the roof.
import * as Plot from "@observablehq/plot";
import { parseHTML } from "linkedom";
import { type BenchRow, samePlace } from "./rows.ts";

export interface Chart {
  readonly name: string;
  readonly title: string;
  readonly svg: string;
}

/** Legible on white, which the charts bring along. */
export const COLOURS = ["#4269d0", "#ff725c", "#3ca951", "#a463f2", "#9c6b4e", "#efb118"];
export const PEER = "#9498a0";
const DASHES = ["none", "6 3", "2 3", "8 3 2 3", "1 3"];

interface Line {
  readonly label: string;
  readonly peer: boolean;
  readonly points: { x: number; y: number; over: boolean }[];
}

/** Extents of a shape text, by letter. */
const extents = (shape: string): Record<string, number> =>
  Object.fromEntries([...shape.matchAll(/\b([A-Z]\w*)=(\d+)/g)].map(([, k, v]) => [k, Number(v)]));

/**
 * One chart for each kernel with a series, Node version and number of threads. Rows are the latest
 * of one machine, roofs among them.
 */
export function charts(rows: readonly BenchRow[]): Chart[] {
  const settings = new Map<string, BenchRow[]>();
  for (const row of rows) {
    if (row.source !== "series" || row.browser !== undefined) continue;
    const key = [row.kernel, row.backend, row.node, row.threads, row.adapter, row.software].join(
      "|",
    );
    settings.set(key, [...(settings.get(key) ?? []), row]);
  }
  return [...settings.values()].flatMap((series) => chart(series, rows) ?? []);
}

function chart(series: readonly BenchRow[], all: readonly BenchRow[]): Chart | undefined {
  const { kernel, backend, node, threads } = series[0];
  const shapes = new Set(series.map((r) => r.shape));
  if (shapes.size < 3) return undefined;
  // The extent that the series runs over: the last of those that take most values.
  const values = new Map<string, Set<number>>();
  for (const shape of shapes) {
    for (const [name, v] of Object.entries(extents(shape)))
      values.set(name, (values.get(name) ?? new Set()).add(v));
  }
  const [axis] = [...values].reverse().sort(([, a], [, b]) => b.size - a.size)[0];

  const largest = series.reduce((a, b) =>
    extents(b.shape)[axis] > extents(a.shape)[axis] ? b : a,
  );
  const unit = largest.gflops > largest.gbps ? "gflops" : "gbps";
  const roofs = all.filter(
    (r) =>
      r.kernel === (unit === "gflops" ? "roof_flops" : "roof_memory") &&
      r.backend === backend &&
      r.node === node &&
      r.threads === threads &&
      samePlace(r, series[0]),
  );
  const roof = Math.max(...roofs.map((r) => r[unit]));
  if (!Number.isFinite(roof)) return undefined;

  const drawn = all.filter(
    (r) =>
      r.kernel === kernel &&
      shapes.has(r.shape) &&
      r.node === node &&
      r.backend !== "ref" &&
      samePlace(r, series[0]),
  );
  const lines = new Map<string, Line>();
  for (const r of drawn) {
    const peer = r.peer !== "tilegrad";
    if (!peer && (r.backend !== backend || r.threads !== threads)) continue;
    if (peer && r.threads !== threads) continue;
    const label = peer
      ? r.peer
      : [r.build, r.variant === "default" ? "" : r.variant].join(" ").trim();
    const line = lines.get(label) ?? { label, peer, points: [] };
    const over = r[unit] > roof;
    line.points.push({ x: extents(r.shape)[axis], y: Math.min(roof, r[unit]), over });
    lines.set(label, line);
  }
  const ordered = [...lines.values()];
  for (const line of ordered) line.points.sort((a, b) => a.x - b.x);
  const { adapter, software } = series[0];
  const kind = software ? "software" : "hardware";
  const on = adapter
    ? `${adapter} (${kind})`
    : `${threads} ${threads === 1 ? "thread" : "threads"}`;
  const title = `${kernel}, Node ${node}, ${on}`;
  return {
    name: `${kernel}-node${Number.parseInt(node, 10)}-${adapter ? `webgpu-${kind}` : threads}`,
    title,
    svg: draw(ordered, title, axis, unit === "gflops" ? "GFLOP/s" : "GB/s", roof),
  };
}

function draw(lines: readonly Line[], title: string, x: string, y: string, roof: number): string {
  const { document } = parseHTML("<!doctype html><html><body></body></html>");
  const own = lines.filter((l) => !l.peer);
  const colour = (l: Line) => (l.peer ? PEER : COLOURS[own.indexOf(l) % COLOURS.length]);
  const peers = lines.filter((l) => l.peer);
  const dash = (l: Line) => (l.peer ? DASHES[peers.indexOf(l) % DASHES.length] : "none");
  const svg = Plot.plot({
    document: document as unknown as Document,
    width: 640,
    height: 380,
    marginTop: 28,
    marginRight: 110,
    marginBottom: 42,
    grid: true,
    style: { background: "white", color: "#1b1e23", fontSize: "12px" },
    x: { label: x, type: "log", base: 2, tickFormat: (v: number) => v.toLocaleString("en") },
    y: { label: `${y}; top edge: roof, ${roof}`, domain: [0, roof] },
    marks: [
      Plot.frame({ strokeOpacity: 0.3 }),
      ...lines.flatMap((l) => [
        Plot.line(l.points, {
          x: "x",
          y: "y",
          stroke: colour(l),
          strokeWidth: l.peer ? 1.5 : 2,
          strokeDasharray: dash(l),
        }),
        // what is faster than the roof of this build, such as native code, sits on the edge
        Plot.dot(l.points, {
          x: "x",
          y: "y",
          fill: colour(l),
          r: 3,
          symbol: (p: Line["points"][number]) => (p.over ? "triangle" : "circle"),
        }),
        Plot.text(l.points.slice(-1), {
          x: "x",
          y: "y",
          text: () => l.label,
          fill: colour(l),
          dx: 8,
          textAnchor: "start",
        }),
      ]),
    ],
  });
  svg.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", title);
  return `${svg.outerHTML}\n`;
}
