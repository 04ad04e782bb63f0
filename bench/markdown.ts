const cell = (v: string | number): string => String(v).replaceAll("|", "\\|");

/** A table of Markdown. */
export const markdown = (
  head: readonly string[],
  rows: readonly (readonly (string | number)[])[],
): string =>
  [head, head.map(() => "---"), ...rows].map((r) => `| ${r.map(cell).join(" | ")} |`).join("\n");
