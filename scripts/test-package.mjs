// Tests the package as users get it: packs it, installs the tarball into an empty project, imports
// every entry of its exports, type-checks a consumer, runs the command, and bundles a page.
import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import * as esbuild from "esbuild";

/** The page whose size is promised: a backend and one kernel. */
const PAGE = `
  import { init } from "tilegrad";
  import { matmul } from "tilegrad/kernels";
  globalThis.page = { init, matmul };
`;
const PAGE_KERNEL = "matmul";
// gzipped; half of it is the text of the ways that matmul has on WebGPU
const PAGE_LIMIT = 33 * 1024;
/** What a page must not carry, besides the WGSL entries of kernels it does not use. */
const PAGE_WITHOUT = ["vitest", "fast-check", "sparticuz"];

const root = fileURLToPath(new URL("..", import.meta.url));
const temp = mkdtempSync(join(tmpdir(), "tilegrad-package-"));
const app = join(temp, "app");
const installed = join(app, "node_modules", "tilegrad");

/** @param {unknown} condition @param {string} message @returns {asserts condition} */
function check(condition, message) {
  if (!condition) throw new Error(message);
}

/** @param {string} command @param {string[]} args @param {string} cwd */
function run(command, args, cwd) {
  try {
    return execFileSync(command, args, { cwd, encoding: "utf8", stdio: "pipe" });
  } catch (error) {
    const { stdout, stderr } = /** @type {{ stdout: string, stderr: string }} */ (error);
    throw new Error(`${command} ${args.join(" ")} failed\n${stdout}${stderr}`);
  }
}

/** @param {string} folder */
const filesBelow = (folder) =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)).replaceAll("\\", "/"));

function install() {
  run("npm", ["pack", "--ignore-scripts", "--pack-destination", temp], root);
  const tarball = readdirSync(temp).find((name) => name.endsWith(".tgz"));
  mkdirSync(app);
  writeFileSync(join(app, "package.json"), '{ "type": "module", "private": true }');
  run("npm", ["install", "--offline", join("..", String(tarball))], app);

  const packages = readdirSync(join(app, "node_modules")).filter((name) => !name.startsWith("."));
  check(packages.join() === "tilegrad", `installed ${packages}, expected tilegrad alone`);
  const files = filesBelow(installed);
  const stray = files.filter((file) => /(^|\/)(test|scripts)\/|\.test\.|tsbuildinfo/.test(file));
  check(stray.length === 0, `files that should not be published: ${stray}`);
  const { size } = JSON.parse(
    run("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], root),
  )[0];
  console.log(`tarball: ${files.length} files, ${kib(size)} packed, no dependencies`);
}

/**
 * Every specifier that the exports allow, those with `*` once per file.
 * @returns {{ specifier: string, file: string, types?: string }[]}
 */
function entries() {
  const { exports } = JSON.parse(readFileSync(join(installed, "package.json"), "utf8"));
  const files = filesBelow(installed).map((file) => `./${file}`);
  return Object.entries(exports).flatMap(([key, value]) => {
    const target = value.default ?? value;
    const [before, after] = target.split("*");
    const stars =
      after === undefined
        ? [""]
        : files
            .filter((file) => file.startsWith(before) && file.endsWith(after))
            .filter((file) => file.length > before.length + after.length)
            .map((file) => file.slice(before.length, file.length - after.length));
    check(stars.length > 0, `exports "${key}" matches no file`);
    return stars.map((star) => ({
      specifier: `tilegrad${key.slice(1)}`.replace("*", star),
      file: target.replace("*", star),
      types: value.types?.replace("*", star),
    }));
  });
}

/** @param {ReturnType<typeof entries>} all */
function importAll(all) {
  for (const { specifier, file, types } of all) {
    check(existsSync(join(installed, file)), `${specifier}: ${file} is not in the package`);
    check(!types || existsSync(join(installed, types)), `${specifier}: no types at ${types}`);
  }
  const script = `
    import { readFileSync } from "node:fs";
    for (const [specifier, file] of ${JSON.stringify(all.map((e) => [e.specifier, e.file]))}) {
      try {
        const url = new URL(import.meta.resolve(specifier));
        if (file.endsWith(".js")) await import(specifier);
        else if (file.endsWith(".json")) JSON.parse(readFileSync(url, "utf8"));
        else if (file.endsWith("simd.wasm")) await WebAssembly.instantiate(readFileSync(url), {});
        else if (readFileSync(url).length === 0) throw new Error("empty file");
      } catch (error) {
        throw new Error("import of " + specifier + " failed", { cause: error });
      }
    }`;
  writeFileSync(join(app, "import.mjs"), script);
  run(process.execPath, ["import.mjs"], app);
  const wasm = all.filter(({ file }) => file.endsWith(".wasm"));
  check(wasm.length === 4, `${wasm.length} wasm builds, expected 4`);
  console.log(`exports: ${all.length} entries resolve, ${wasm.length} of them wasm`);
}

/** @param {ReturnType<typeof entries>} all */
function typeCheck(all) {
  const typed = all.filter(({ types }) => types);
  const lines = typed.map(({ specifier }, i) => `export * as m${i} from "${specifier}";`);
  writeFileSync(join(app, "consumer.ts"), lines.join("\n"));
  const flags =
    "--noEmit --strict --module nodenext --target es2022 --lib es2023,esnext.disposable,dom";
  const tsc = join(root, "node_modules", "typescript", "bin", "tsc");
  // declarations of the package are checked too, without the types of Node or of WebGPU packages
  run(process.execPath, [tsc, ...flags.split(" "), "consumer.ts"], app);
  console.log(`types: ${typed.length} entries check in a strict project`);
}

function runCommand() {
  run(join(app, "node_modules", ".bin", "tilegrad"), ["--help"], app);
  console.log("command: tilegrad --help runs");
}

/** The kernel modules that a kernel's own module imports, itself included. @param {string} stem */
function closure(stem, seen = new Set([stem])) {
  const text = readFileSync(join(installed, "dist", "kernels", `${stem}.js`), "utf8");
  for (const [, next] of text.matchAll(/from\s*["']\.\/([\w-]+)\.js["']/g)) {
    if (!seen.has(next)) closure(next, seen.add(next));
  }
  return seen;
}

async function bundlePage() {
  const { outputFiles } = await esbuild.build({
    stdin: { contents: PAGE, resolveDir: app },
    bundle: true,
    minify: true,
    write: false,
    format: "esm",
    platform: "browser",
    external: ["webgpu", "node:*"], // behind a test for Node
    logLevel: "error",
  });
  const page = outputFiles[0].text;
  const size = gzipSync(page, { level: 9 }).length;

  const used = closure(PAGE_KERNEL);
  const wgsl = join(installed, "dist", "wgsl");
  const others = readdirSync(wgsl)
    .filter((file) => file.endsWith(".wgsl") && !used.has(file.split(/__|\./)[0]))
    .flatMap((file) => [
      ...readFileSync(join(wgsl, file), "utf8").matchAll(/@compute\b[^{]*?\bfn\s+(\w+)/g),
    ])
    .map((match) => match[1]);
  const carried = [...others, ...PAGE_WITHOUT].filter((word) => page.includes(word));
  check(carried.length === 0, `the page carries what it does not use: ${carried}`);
  check(size <= PAGE_LIMIT, `the page has ${kib(size)} gzipped, limit ${kib(PAGE_LIMIT)}`);
  console.log(
    `page: ${kib(size)} gzipped (limit ${kib(PAGE_LIMIT)}), ` +
      `none of ${others.length} entries of other kernels inside`,
  );
}

/** @param {number} bytes */
const kib = (bytes) => `${(bytes / 1024).toFixed(1)} KiB`;

try {
  install();
  const all = entries();
  importAll(all);
  typeCheck(all);
  runCommand();
  await bundlePage();
} catch (error) {
  console.error(/** @type {Error} */ (error).message);
  process.exitCode = 1;
} finally {
  rmSync(temp, { recursive: true, force: true });
}
