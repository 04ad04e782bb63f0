// A library in a page: an adapter of bench/peers/webgpu/, bundled, in a browser of its own.
import { fileURLToPath } from "node:url";
import { openPage } from "./chromium.ts";
import { packageRoot } from "./version.ts";

const local = (path: string): string => fileURLToPath(new URL(path, packageRoot));

/** What a page may fetch: the wasm files of onnxruntime-web. */
const FOLDERS = { "/ort/": local("bench/peers/node_modules/onnxruntime-web/dist") };

export async function openPeerPage(adapter: string) {
  const esbuild = await import("esbuild");
  const { outputFiles } = await esbuild.build({
    entryPoints: [local(`bench/peers/webgpu/${adapter}.mjs`)],
    bundle: true,
    write: false,
    format: "esm",
    platform: "browser",
    logLevel: "error",
    external: ["node:*"], // behind tests for Node
  });
  return openPage(outputFiles[0].text, FOLDERS, "peer");
}
