import Table from "cli-table3";
import pc from "picocolors";

/** Colours where a person looks at stdout, none in files and pipes. */
export const colours = pc.createColors(Boolean(process.stdout.isTTY) && pc.isColorSupported);

/** Four significant digits, without the noise of trailing zeros. */
export function formatNumber(v: number): string {
  if (!Number.isFinite(v)) return String(v);
  if (Number.isInteger(v) && Math.abs(v) < 1e6) return String(v);
  const size = Math.abs(v);
  if (size >= 1e6 || (size < 1e-3 && size > 0)) return v.toExponential(3);
  return String(Number(v.toPrecision(4)));
}

interface TableStyle {
  /** Columns of numbers. */
  readonly right?: readonly number[];
  /** Columns that share what width is left, and wrap. */
  readonly flexible?: readonly number[];
  /** A line between rows, for those that take several lines each. */
  readonly ruled?: boolean;
}

/** A table for the terminal. */
export function textTable(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  { right = [], flexible = [], ruled = false }: TableStyle = {},
): string {
  const natural = head.map((h, i) => 2 + Math.max(h.length, ...rows.map((r) => width(r[i]))));
  const total = natural.reduce((n, w) => n + w + 1, 1);
  let excess = Math.max(0, total - (process.stdout.columns || 120));
  const widths = [...natural];
  // The widest gives first: a short column that shares the loss would only wrap for nothing.
  while (excess > 0) {
    const widest = flexible.reduce((a, b) => (widths[b] > widths[a] ? b : a), flexible[0]);
    if (widest === undefined || widths[widest] <= 14) break;
    widths[widest]--;
    excess--;
  }
  const table = new Table({
    head: head.map((h) => colours.bold(h)),
    colWidths: widths,
    colAligns: head.map((_, i) => (right.includes(i) ? "right" : "left")),
    wordWrap: true,
    style: { head: [], border: [], compact: !ruled },
  });
  table.push(...rows.map((row) => [...row]));
  return table.toString();
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: colour codes take no room
const width = (text: string): number => text.replace(/\x1b\[\d+m/g, "").length;
