import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";
import { launchChromium, openPage, serveSite } from "../../cli/chromium.ts";
import { expandWgsl } from "../../scripts/wgsl.mjs";
import type { Place, Task, Tasks } from "./page.ts";

const local = (path: string) => fileURLToPath(new URL(path, import.meta.url));

export interface Chromium {
  readonly version: string;
  /** Runs a task of test/support/page.ts in the page or in its Worker. */
  ask<T extends Task>(
    place: Place,
    task: T,
    ...args: Parameters<Tasks[T]>
  ): Promise<Awaited<ReturnType<Tasks[T]>>>;
  close(): Promise<void>;
}

/** A page of a headless Chromium with the sources of the library in it; wasm files are those of dist. */
export async function openChromium(): Promise<Chromium> {
  const script = await bundle(local("./page.ts"));
  const site = await serveSite({
    // beside the pool's worker, where import.meta.url of the sources would be
    texts: {
      "/": `<!doctype html><script type="module" src="/core/page.js"></script>`,
      "/core/page.js": script,
    },
    folders: { "/core/": local("../../dist/core"), "/wasm/": local("../../dist/wasm") },
  });
  const browser = await launchChromium();
  const complaints: string[] = [];
  const page = await openPage(browser, site.url, (message) => complaints.push(message));
  return {
    version: browser.version(),
    async ask(place, task, ...args) {
      const request = { task, args };
      const answer = await page.evaluate(([p, r]) => ask(p, r), [place, request] as const);
      if (complaints.length) throw new Error(complaints.join("\n"));
      if ("error" in answer) throw new Error(answer.error);
      return answer.value as never;
    },
    async close() {
      await browser.close();
      site.close();
    },
  };
}

async function bundle(entry: string): Promise<string> {
  const { outputFiles } = await esbuild.build({
    entryPoints: [entry],
    bundle: true,
    write: false,
    format: "esm",
    platform: "browser",
    target: "chrome120", // `using` is compiled down
    sourcemap: "inline",
    logLevel: "error",
    plugins: [
      {
        name: "wgsl",
        setup(build) {
          build.onLoad({ filter: /\.wgsl$/ }, ({ path }) => ({
            contents: expandWgsl(path).text,
            loader: "text",
          }));
        },
      },
    ],
  });
  return outputFiles[0].text;
}
