import * as Plot from "@observablehq/plot";
import { parseHTML } from "linkedom";
import type { Chart, StudyResult, Table } from "../core/study.ts";
import type { RunOptions } from "./checkpoint.ts";
import { formatNumber } from "./format.ts";
import type { RunReport } from "./run-study.ts";

/** Observable's ten, which hold up on white and on near-black. */
const COLOURS = [
  "#4269d0",
  "#efb118",
  "#ff725c",
  "#6cc5b0",
  "#3ca951",
  "#ff8ab7",
  "#a463f2",
  "#97bbf5",
  "#9c6b4e",
  "#9498a0",
];
/** The second and third ten series are told apart by their dashes. */
const DASHES = ["none", "6 3", "2 3"];

const STYLE = `
:root { color-scheme: light dark; --ink: #1b1e23; --soft: #626a75; --line: #d9dde3; --paper: #fff;
  --good: #1a7f37; --bad: #c62828; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --soft: #9aa3ae; --line: #363c45;
  --paper: #15181c; --good: #57c778; --bad: #ff7b72; } }
body { margin: 2rem auto; max-width: 62rem; padding: 0 1rem; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0; }
h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; }
.sub { color: var(--soft); margin: .2rem 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .8rem .35rem 0; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; }
th { color: var(--soft); font-weight: 600; }
td.n, th.n { text-align: right; white-space: nowrap; }
.pass { color: var(--good); font-weight: 600; white-space: nowrap; }
.fail { color: var(--bad); font-weight: 600; white-space: nowrap; }
figure { margin: 0; }
figure > svg { display: block; width: 100%; height: auto; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(26rem, 1fr)); gap: 0 2rem; }
.charts section { max-width: 38rem; }
@media (max-width: 30rem) { .charts { grid-template-columns: 1fr; } }
pre { overflow-x: auto; font-size: 13px; }
`;

const ENTITIES: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
const html = (text: unknown): string => String(text).replace(/[&<>"]/g, (c) => ENTITIES[c]);

/** The files of a report by name: the page, and each chart as a picture of its own. */
export function renderReport(
  report: RunReport,
  result: StudyResult,
  options: RunOptions,
): Record<string, string> {
  const charts = (result.charts ?? []).map((c) => ({ title: c.title, svg: chartSvg(c) }));
  const pictures = charts.flatMap(({ title, svg }) => {
    const name = title
      .toLowerCase()
      .replace(/[^a-z0-9]+/g, "-")
      .replace(/^-|-$/g, "");
    return svg ? [[`${name}.svg`, `${svg}\n`]] : [];
  });
  return { "index.html": page(report, result, options, charts), ...Object.fromEntries(pictures) };
}

/** A drawn chart; without a finite point there is nothing to draw. */
interface Picture {
  readonly title: string;
  readonly svg: string | undefined;
}

/** A page that needs nothing but itself: no script, no font, no network. */
function page(
  report: RunReport,
  result: StudyResult,
  options: RunOptions,
  charts: readonly Picture[],
): string {
  const passed = report.checks.filter((check) => check.pass).length;
  const all = report.checks.length;
  const seeds =
    options.seeds > 1 ? `seeds ${options.seed}–${options.seed + options.seeds - 1}` : "";
  const facts = [
    `backend ${options.backend} (${options.build})`,
    seeds || `seed ${options.seed}`,
    `${options.size} size`,
    `${formatNumber(report.seconds)} s`,
  ];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${html(report.algorithm)} · tilegrad</title>
<style>${STYLE}</style>
</head>
<body>
<h1>${html(report.algorithm)}</h1>
<p class="sub">${html(report.paper)}</p>
<p class="sub">${html(facts.join(" · "))}</p>
<h2>Claims of the paper: <span class="${passed === all ? "pass" : "fail"}">${passed} of ${all} hold</span></h2>
${checksTable(report)}
${(result.tables ?? []).map((t) => `<h2>${html(t.title)}</h2>\n${table(t)}`).join("\n")}
<div class="charts">
${charts.map(section).join("\n")}
</div>
<h2>Metrics</h2>
<details><summary>as JSON</summary>
<pre>${html(JSON.stringify(report.metrics, null, 2))}</pre></details>
</body>
</html>
`;
}

function checksTable({ checks }: RunReport): string {
  const rows = checks.map(
    (c) =>
      `<tr><td>${html(c.name)}</td><td>${html(c.claim)}</td>` +
      `<td class="n">${formatNumber(c.value)}</td><td class="n">${html(c.bound)}</td>` +
      `<td class="${c.pass ? "pass" : "fail"}">${c.pass ? "✓ pass" : "✗ fail"}</td></tr>`,
  );
  return `<div class="scroll"><table>
<thead><tr><th>check</th><th>paper claim</th><th class="n">measured</th><th class="n">bound</th><th>result</th></tr></thead>
<tbody>${rows.join("\n")}</tbody></table></div>`;
}

function table({ columns, rows }: Table): string {
  const numeric = columns.map((_, i) => rows.every((row) => typeof row[i] === "number"));
  const cell = (tag: string, text: string, i: number) =>
    `<${tag}${numeric[i] ? ' class="n"' : ""}>${html(text)}</${tag}>`;
  const body = rows.map(
    (row) =>
      `<tr>${row.map((v, i) => cell("td", typeof v === "number" ? formatNumber(v) : v, i)).join("")}</tr>`,
  );
  return `<div class="scroll"><table>
<thead><tr>${columns.map((c, i) => cell("th", c, i)).join("")}</tr></thead>
<tbody>${body.join("\n")}</tbody></table></div>`;
}

const section = ({ title, svg }: Picture): string =>
  `<section><h2>${html(title)}</h2>` +
  (svg ? `<figure>${svg}</figure></section>` : '<p class="sub">No finite points.</p></section>');

const [WIDTH, HEIGHT] = [520, 330];
/** Of the legend: height of a row, and what a row of two holds in width. */
const [ROW, COLUMN] = [18, WIDTH / 2];

/**
 * The chart with its legend below: a picture that stands alone, on white, or takes the paper of the page
 * that it is in. Undefined without a finite point.
 */
function chartSvg({ title, x, y, series }: Chart): string | undefined {
  const drawn = series.map((s) => ({
    name: s.name,
    // A diverged run ends where its numbers end.
    points: s.points.filter(([a, b]) => Number.isFinite(a) && Number.isFinite(b)),
  }));
  if (drawn.every((s) => s.points.length === 0)) return undefined;
  const { document } = parseHTML("<!doctype html><html><body></body></html>");
  const svg = Plot.plot({
    document: document as unknown as Document,
    width: WIDTH,
    height: HEIGHT,
    marginTop: 30,
    marginLeft: 56,
    marginBottom: 40,
    grid: true,
    style: { background: "transparent", color: "currentColor", fontSize: "13px" },
    x: { label: x, nice: true },
    y: { label: y, nice: true },
    marks: [
      Plot.frame({ strokeOpacity: 0.25 }),
      ...drawn.map(({ points }, i) =>
        points.length === 1
          ? Plot.dot(points, { x: "0", y: "1", fill: colour(i), r: 4 })
          : Plot.line(points, {
              x: "0",
              y: "1",
              stroke: colour(i),
              strokeWidth: 2,
              strokeDasharray: dash(i),
            }),
      ),
    ],
  });
  const legend = drawn.map(({ name }, i) => {
    const [left, top] = [8 + COLUMN * (i % 2), HEIGHT + ROW * (Math.floor(i / 2) + 0.5)];
    return (
      `<line x1="${left}" x2="${left + 26}" y1="${top}" y2="${top}" stroke="${colour(i)}" ` +
      `stroke-width="3" stroke-dasharray="${dash(i)}"/>` +
      `<text x="${left + 34}" y="${top + 4}">${html(name)}</text>`
    );
  });
  const height = HEIGHT + ROW * Math.ceil(drawn.length / 2) + 8;
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img" ` +
    `aria-label="${html(title)}" style="background: var(--paper, white)">${svg.outerHTML}` +
    `<g fill="currentColor" font-family="system-ui, sans-serif" font-size="13">${legend.join("")}</g></svg>`
  );
}

const colour = (i: number): string => COLOURS[i % COLOURS.length];
const dash = (i: number): string => DASHES[Math.floor(i / COLOURS.length) % DASHES.length];
