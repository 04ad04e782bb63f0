import { readFile } from "node:fs/promises";

/** The package's folder, seen from dist/cli or from the sources. */
export const packageRoot = new URL(
  import.meta.url.endsWith(".ts") ? "../" : "../../",
  import.meta.url,
);

export async function version(): Promise<string> {
  return JSON.parse(await readFile(new URL("package.json", packageRoot), "utf8")).version;
}
