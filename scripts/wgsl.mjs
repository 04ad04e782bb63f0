// Expansion of `//! use NAME` lines, shared by the build and by the tests' loader.
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";

const USE = /^\s*\/\/! use\b(.*)$/;
const NAME = /^ ([A-Za-z0-9_-]+)\s*$/;

/**
 * Replaces each `//! use NAME` line by the text of `lib/NAME.wgsl` beside the file, recursively.
 * A snippet comes in once per expanded file, where it is first asked for; later requests vanish.
 * Comments `//# path:line` say which file the lines after them are from, so that a compiler's line
 * number in the expanded text can be traced back.
 *
 * @param {string} file path of the .wgsl file
 * @param {string} [root] folder that messages and markers are relative to
 * @returns {{ text: string, files: string[] }} plain WGSL, and every file it was made from
 */
export function expandWgsl(file, root = process.cwd()) {
  const lib = join(dirname(file), "lib");
  /** @type {string[]} */
  const files = [];
  /** @param {string} path */
  const show = (path) => relative(root, path).replaceAll("\\", "/");

  /** @param {string} path @returns {string[]} */
  const expand = (path) => {
    files.push(path);
    const lines = readFileSync(path, "utf8").replace(/\n$/, "").split(/\r?\n/);
    return lines.flatMap((line, i) => {
      const use = USE.exec(line);
      if (!use) return [line];
      const name = NAME.exec(use[1])?.[1];
      const where = `${show(path)}:${i + 1}`;
      if (!name) throw new Error(`${where}: expected "//! use NAME", got "${line.trim()}"`);
      const snippet = join(lib, `${name}.wgsl`);
      if (!existsSync(snippet)) {
        throw new Error(`${where}: no snippet "${name}" (${show(snippet)} does not exist)`);
      }
      if (files.includes(snippet)) return [];
      return [`//# ${show(snippet)}:1`, ...expand(snippet), `//# ${show(path)}:${i + 2}`];
    });
  };

  return { text: `${[`//# ${show(file)}:1`, ...expand(file)].join("\n")}\n`, files };
}

/** What a device is given: no comments but the markers; lines stay where they are. @param {string} text */
export const withoutComments = (text) => text.replace(/[ \t]*\/\/(?!#).*$/gm, "");

/** The expanded text as an ES module. @param {string} text */
export const wgslModule = (text) => `export default ${JSON.stringify(withoutComments(text))};\n`;
