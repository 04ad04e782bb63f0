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
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { delimiter, dirname, extname, join } from "node:path";
import { promisify } from "node:util";
import type { Browser } from "playwright-core";
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

/** A page with one module script, in a browser of its own. */
export interface ChromiumPage {
  /** Name and version of the browser. */
  readonly browser: string;
  /** Calls the function that the script has put into the global scope. */
  call(argument: unknown): Promise<unknown>;
  close(): Promise<void>;
}

/**
 * Runs `script` in a page on localhost, a secure context, isolated so that memory can be shared. Its
 * address is /core/page.js, which is where files of `folders`, by path prefix, are seen from. It is
 * ready when it has set `globalThis[name]`.
 * @throws Error where no browser starts, or with what goes wrong in the page
 */
export async function openPage(
  script: string,
  folders: Readonly<Record<string, string>>,
  name: string,
): Promise<ChromiumPage> {
  const site = await serve(script, folders);
  let browser: Browser;
  try {
    browser = await launchChromium();
  } catch (error) {
    site.close();
    throw error;
  }
  const close = async () => {
    site.close();
    await browser.close();
  };
  try {
    const page = await browser.newPage();
    const failed = new Promise<never>((_, reject) => {
      page.on("pageerror", reject);
      page.on("crash", () => reject(new Error("the page crashed")));
    });
    failed.catch(() => {});
    await page.goto(site.url);
    const isSet = (n: string) => n in globalThis;
    await Promise.race([failed, page.waitForFunction(isSet, name, { timeout: 60_000 })]);
    const inPage = ([n, argument]: readonly [string, unknown]) =>
      (globalThis as unknown as Record<string, (a: unknown) => unknown>)[n](argument);
    return {
      browser: `Chromium ${browser.version()}`,
      call: (argument) => Promise.race([failed, page.evaluate(inPage, [name, argument] as const)]),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

const TYPES: Record<string, string> = {
  "": "text/html",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".wasm": "application/wasm",
};

async function serve(script: string, folders: Readonly<Record<string, string>>) {
  const find = async (path: string): Promise<string | Buffer | undefined> => {
    if (path === "/") return `<!doctype html><script type="module" src="/core/page.js"></script>`;
    if (path === "/core/page.js") return script;
    for (const [prefix, folder] of Object.entries(folders)) {
      if (!path.startsWith(prefix)) continue;
      // a URL has no `..` left in it
      return readFile(join(folder, path.slice(prefix.length))).catch(() => undefined);
    }
    return undefined;
  };
  const server = createServer(async (request, response) => {
    const path = new URL(request.url ?? "/", "http://localhost").pathname;
    const body = await find(path);
    response.writeHead(body === undefined ? 404 : 200, {
      "content-type": TYPES[extname(path)] ?? "application/octet-stream",
      "cross-origin-opener-policy": "same-origin",
      "cross-origin-embedder-policy": "require-corp",
    });
    response.end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}
