// Builds dist/, which mirrors the source tree:
//
//   core kernels algorithms bench cli    tsc: JavaScript and declarations, incremental
//   wgsl/*.wgsl                          `//! use` lines expanded: plain text, and a module of it
//   wasm/*.ts                            one AssemblyScript module, built once per asconfig target
//   cli/tilegrad.ts                      bundled over tsc's output, so that the published package
//                                        needs no dependency for its command line
//   manifest.json                        how to call the kernels from any language, see manifest.mjs
//
// Steps whose sources did not change cost next to nothing, so `npm test` builds every time.
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { chmod, mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import * as esbuild from "esbuild";
import initWabt from "wabt";
import { manifest } from "./manifest.mjs";
import { checkWasm } from "./wasm-check.mjs";
import { expandWgsl, wgslModule } from "./wgsl.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const dist = join(root, "dist");
const run = promisify(execFile);

/** Folders that tsc compiles. */
const SOURCES = ["core", "kernels", "algorithms", "bench", "cli"];

/** Files below a folder, as paths relative to it; none where the folder is absent. */
async function list(/** @type {string} */ folder, recursive = true) {
  if (!existsSync(folder)) return [];
  const entries = await readdir(folder, { recursive, withFileTypes: true });
  return entries
    .filter((e) => e.isFile())
    .map((e) => relative(folder, join(e.parentPath, e.name)))
    .sort();
}

/** Leaves the file alone when it already says so, which keeps mtimes meaningful. */
async function write(/** @type {string} */ path, /** @type {string} */ text) {
  if (existsSync(path) && (await readFile(path, "utf8")) === text) return;
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, text);
}

/** Runs a Node command line tool; its own output is the error message. */
async function tool(/** @type {string} */ path, /** @type {string[]} */ args) {
  try {
    await run(process.execPath, [join(root, "node_modules", path), ...args], { cwd: root });
  } catch (error) {
    const { stdout, stderr } = /** @type {{ stdout: string, stderr: string }} */ (error);
    throw new Error(`${path} ${args.join(" ")}\n${stdout}${stderr}`);
  }
}

/** Waits for every one, then fails with all that went wrong. */
async function all(/** @type {Promise<void>[]} */ steps) {
  const failed = (await Promise.allSettled(steps)).filter((step) => step.status === "rejected");
  if (failed.length > 0) throw new Error(failed.map((step) => step.reason.message).join("\n"));
}

/** A deleted source must not live on in the package. */
async function prune() {
  for (const folder of SOURCES) {
    for (const file of await list(join(dist, folder))) {
      const stem = file.replace(/(\.d\.ts|\.js)$/, "");
      const isBundle = folder === "cli" && /^chunk-|^LICENSES/.test(file);
      if (!isBundle && !existsSync(join(root, folder, `${stem}.ts`))) {
        await rm(join(dist, folder, file));
      }
    }
  }
}

async function buildTypeScript() {
  const sources = await Promise.all(SOURCES.map((folder) => list(join(root, folder))));
  if (!sources.flat().some((file) => file.endsWith(".ts"))) return;
  await tool("typescript/bin/tsc", ["-p", "tsconfig.json"]);

  // tsc keeps `from "../wgsl/x.wgsl"` as written; what can be imported is the module beside it
  for (const file of await list(join(dist, "kernels"))) {
    if (!file.endsWith(".js")) continue;
    const path = join(dist, "kernels", file);
    const text = await readFile(path, "utf8");
    await write(path, text.replace(/(from\s*["'][^"']+\.wgsl)(["'])/g, "$1.js$2"));
  }
}

async function buildWgsl() {
  const folder = join(root, "wgsl");
  const shaders = (await list(folder, false)).filter((file) => file.endsWith(".wgsl"));
  for (const file of shaders) {
    const { text } = expandWgsl(join(folder, file), root);
    await write(join(dist, "wgsl", file), text);
    await write(join(dist, "wgsl", `${file}.js`), wgslModule(text));
  }
  for (const file of await list(join(dist, "wgsl"))) {
    if (!shaders.includes(file.replace(/\.js$/, ""))) await rm(join(dist, "wgsl", file));
  }
}

async function buildWasm() {
  const folder = join(root, "wasm");
  const files = (await list(folder)).filter((f) => f.endsWith(".ts") && !f.endsWith(".d.ts"));
  const entries = files.filter((file) => !file.includes(sep));
  if (entries.length === 0) return;

  const hash = createHash("sha256");
  const inputs = ["asconfig.json", "node_modules/assemblyscript/package.json"];
  for (const file of [...inputs, ...files.map((f) => join("wasm", f))]) {
    hash.update(`${file}\n`).update(await readFile(join(root, file)));
  }
  const digest = hash.digest("hex");
  const stamp = join(dist, ".wasm-stamp");
  const { targets } = JSON.parse(await readFile(join(root, "asconfig.json"), "utf8"));
  const names = Object.keys(targets);
  const output = (/** @type {string} */ name) => join(dist, "wasm", `tilegrad.${name}.wasm`);
  const fresh = existsSync(stamp) && (await readFile(stamp, "utf8")) === digest;
  if (fresh && names.every((name) => existsSync(output(name)))) return;

  await mkdir(join(dist, "wasm"), { recursive: true });
  const wabt = await initWabt();
  const queue = [...names];
  const worker = async () => {
    for (let name = queue.shift(); name; name = queue.shift()) {
      // checked before it gets its real name: a build that breaks its promises is never left behind
      const partial = join(dist, `.${name}.wasm`);
      const sources = entries.map((file) => `wasm/${file}`);
      await tool("assemblyscript/bin/asc.js", [...sources, "--target", name, "-o", partial]);
      try {
        checkWasm(name, new Uint8Array(await readFile(partial)), wabt);
      } catch (error) {
        throw new Error(`tilegrad.${name}.wasm: ${/** @type {Error} */ (error).message}`);
      }
      await rename(partial, output(name));
    }
  };
  await all([worker(), worker()]);
  await write(stamp, digest);
}

/**
 * Bundles the command with its helper packages. What the package publishes as a library stays an
 * import of it; optional packages stay imports by name. Code of bench/ is inlined: `../../` seen
 * from import.meta.url is the package root from there too.
 */
async function bundleCli() {
  const entry = join(root, "cli", "tilegrad.ts");
  if (!existsSync(entry)) return;
  const library = ["core", "kernels", "algorithms"];
  const outdir = join(dist, "cli");
  for (const file of await list(outdir, false)) {
    if (file.startsWith("chunk-")) await rm(join(outdir, file));
  }
  const { metafile } = await esbuild.build({
    entryPoints: [entry],
    metafile: true,
    absWorkingDir: root,
    outdir,
    bundle: true,
    splitting: true,
    chunkNames: "chunk-[hash]",
    format: "esm",
    platform: "node",
    target: "node20",
    legalComments: "none",
    minifySyntax: true,
    minifyWhitespace: true,
    logLevel: "warning",
    external: ["webgpu", "mnist", "@sparticuz/chromium", "playwright-core", "esbuild"],
    // the helper packages are CommonJS and call require for Node's own modules
    banner: {
      js: 'import { createRequire as $createRequire } from "node:module"; const require = $createRequire(import.meta.url);',
    },
    plugins: [
      {
        name: "library-stays-external",
        setup(build) {
          build.onResolve({ filter: /^\.\.?\// }, ({ path, resolveDir }) => {
            const target = relative(root, join(resolveDir, path)).replaceAll(sep, "/");
            if (!library.includes(target.split("/")[0])) return undefined;
            return { path: `../${target.replace(/\.ts$/, ".js")}`, external: true };
          });
        },
      },
    ],
  });
  await chmod(join(outdir, "tilegrad.js"), 0o755);
  await write(join(outdir, "LICENSES.txt"), await licences(Object.keys(metafile.inputs)));
}

/** The licence texts of the packages that these files belong to, as inlining them asks for. */
async function licences(/** @type {string[]} */ files) {
  const folders = files.flatMap((f) => /^.*node_modules\/(@[^/]+\/)?[^/]+/.exec(f)?.[0] ?? []);
  const texts = [...new Set(folders)].sort().map(async (folder) => {
    const path = join(root, folder);
    const { name, version, license } = JSON.parse(
      await readFile(join(path, "package.json"), "utf8"),
    );
    const file = (await readdir(path)).find((entry) => /^licen[cs]e/i.test(entry));
    const text = file ? await readFile(join(path, file), "utf8") : "";
    return `${name} ${version} (${license})\n\n${text.trim()}\n`;
  });
  return (await Promise.all(texts)).join(`\n${"-".repeat(80)}\n\n`);
}

async function writeManifest() {
  if (!existsSync(join(dist, "kernels", "index.js"))) return;
  await write(join(dist, "manifest.json"), `${JSON.stringify(await manifest(dist), null, 2)}\n`);
}

try {
  await prune();
  await buildWgsl();
  await all([buildTypeScript(), buildWasm()]);
  await bundleCli();
  await writeManifest();
} catch (error) {
  console.error(/** @type {Error} */ (error).message);
  process.exitCode = 1;
}
