// The little that differs between Node, browsers and a checkout that runs its sources.

interface NodeProcess {
  readonly versions?: { readonly node?: string };
  getBuiltinModule?(id: string): unknown;
}
const proc = (globalThis as { process?: NodeProcess }).process;

export const isNode = typeof proc?.versions?.node === "string";

/** A module of Node itself. Not an import: bundlers for the browser would trip over it. */
export const nodeModule = <T>(id: string): T => proc?.getBuiltinModule?.(id) as T;

/** Where a built file is. Sources (`.ts`, run by the tests) use the files that the build left in dist. */
export function asset(url: URL): URL {
  if (!import.meta.url.endsWith(".ts")) return url;
  return new URL(
    url.href.replace(/\/(wasm|core)\/([^/]+)$/, "/dist/$1/$2").replace(/\.ts$/, ".js"),
  );
}

export async function readBytes(url: URL): Promise<Uint8Array<ArrayBuffer>> {
  if (url.protocol === "file:") {
    const fs = nodeModule<typeof import("node:fs")>("node:fs");
    return new Uint8Array(await fs.promises.readFile(url));
  }
  const r = await fetch(url);
  if (!r.ok) throw new Error(`${url.href}: HTTP ${r.status}`);
  return new Uint8Array(await r.arrayBuffer());
}
