/**
 * A headless Chromium with WebGPU, driven by Playwright: the one that the npm package
 * `@sparticuz/chromium` ships for Linux x64, or the one that TILEGRAD_CHROMIUM names. Nothing is
 * downloaded; what is unpacked (230 MB) stays in $XDG_CACHE_HOME or ~/.cache.
 *
 * TILEGRAD_ADAPTER=software has it use SwiftShader; otherwise it takes a GPU where it finds one.
 */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { delimiter, dirname, extname, join, normalize, sep } from "node:path";
import { promisify } from "node:util";
import type { Browser, Page } from "playwright-core";
import { CHROMIUM_PACKAGE, unpackChromium } from "./chromium-package.ts";

const REMEDY =
  `Name a Chrome or Chromium of this machine by TILEGRAD_CHROMIUM=/path, or on Linux x64 ` +
  `\`npm install ${CHROMIUM_PACKAGE} playwright-core@1.59.1\`.`;

/** Its own libraries beside it, SwiftShader among them, where it looks for them. */
const ARCHIVES = { "chromium.br": [], "al2023.tar.br": [], "swiftshader.tar.br": [] };

/** Starts a browser of its own process tree. Throws, with the reason and a remedy, where none starts. */
export async function launchChromium(): Promise<Browser> {
  try {
    const { chromium } = await import("playwright-core");
    const executablePath = await executable();
    const software = process.env.TILEGRAD_ADAPTER === "software";
    return await chromium.launch({
      executablePath,
      env: { ...process.env, ...(await libraries(executablePath)) } as Record<string, string>,
      args: [
        "--enable-unsafe-webgpu",
        "--enable-features=Vulkan",
        "--ignore-gpu-blocklist",
        ...(software ? ["--use-webgpu-adapter=swiftshader"] : []),
      ],
    });
  } catch (error) {
    throw new Error(`No browser: ${(error as Error).message.split("\n")[0]}. ${REMEDY}`);
  }
}

async function executable(): Promise<string> {
  const named = process.env.TILEGRAD_CHROMIUM;
  if (named && !existsSync(named)) throw new Error(`TILEGRAD_CHROMIUM: there is no ${named}`);
  return named || join(await unpackChromium("chromium", ARCHIVES), "chromium");
}

/** The package's copies of NSS and expat, only where the system has not got them. */
async function libraries(path: string): Promise<NodeJS.ProcessEnv> {
  if (process.platform !== "linux") return {};
  try {
    await promisify(execFile)(path, ["--version"]);
    return {};
  } catch {
    const own = join(dirname(path), "lib");
    return { LD_LIBRARY_PATH: [own, process.env.LD_LIBRARY_PATH].filter(Boolean).join(delimiter) };
  }
}

const TYPES: Record<string, string> = {
  "": "text/html",
  ".js": "text/javascript",
  ".wasm": "application/wasm",
  ".mjs": "text/javascript",
};

/** Files for pages: `texts` by path, then what lies in one of the folders, by path prefix. */
export interface Site {
  readonly texts: Readonly<Record<string, string>>;
  readonly folders: Readonly<Record<string, string>>;
}

/** A site on localhost, where pages are secure contexts, isolated so that memory can be shared. */
export async function serveSite(site: Site): Promise<{ url: string; close(): void }> {
  const server: Server = createServer(async (request, response) => {
    const path = decodeURIComponent(new URL(request.url ?? "/", "http://localhost").pathname);
    const body = await find(site, path);
    response.writeHead(body === undefined ? 404 : 200, {
      "content-type": TYPES[extname(path)] ?? "application/octet-stream",
      "cross-origin-opener-policy": "same-origin",
      "cross-origin-embedder-policy": "require-corp",
    });
    response.end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/`,
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

async function find({ texts, folders }: Site, path: string): Promise<string | Buffer | undefined> {
  if (Object.hasOwn(texts, path)) return texts[path];
  for (const [prefix, folder] of Object.entries(folders)) {
    if (!path.startsWith(prefix)) continue;
    const file = normalize(join(folder, path.slice(prefix.length)));
    if (!file.startsWith(normalize(folder + sep))) return undefined;
    return readFile(file).catch(() => undefined);
  }
  return undefined;
}

/** A page that has run the module `script` of the site; what goes wrong in it goes to `complain`. */
export async function openPage(
  browser: Browser,
  url: string,
  complain: (message: string) => void,
): Promise<Page> {
  const page = await browser.newPage();
  page.on("pageerror", (error) => complain(error.message));
  page.on("crash", () => complain("the page crashed"));
  await page.goto(url);
  return page;
}
