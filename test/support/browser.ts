import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";
import { openPage } from "../../cli/chromium.ts";
import { expandWgsl } from "../../scripts/wgsl.mjs";
import type { Answer, Place, Task, Tasks } from "./page.ts";

const local = (path: string) => fileURLToPath(new URL(path, import.meta.url));

export interface Chromium {
  /** Runs a task of test/support/page.ts in the page or in its Worker. */
  ask<T extends Task>(
    place: Place,
    task: T,
    ...args: Parameters<Tasks[T]>
  ): Promise<Awaited<ReturnType<Tasks[T]>>>;
  close(): Promise<void>;
}

/** A page of a headless Chromium with the sources of the library in it; built files are those of dist. */
export async function openChromium(): Promise<Chromium> {
  const script = await bundle(local("./page.ts"));
  const folders = { "/core/": local("../../dist/core"), "/wasm/": local("../../dist/wasm") };
  const page = await openPage(script, folders, "ask");
  return {
    async ask(place, task, ...args) {
      const answer = (await page.call({ place, task, args })) as Answer;
      if ("error" in answer) throw new Error(answer.error);
      return answer.value as never;
    },
    close: page.close,
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
