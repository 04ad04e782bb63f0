import type { ArgsDef } from "citty";
import { didYouMean, UsageError } from "./errors.ts";

/**
 * Checks a command's words against its definition, because citty takes whatever comes: an unknown
 * flag, a missing or unwanted value, a value that is not among the options, a word too many.
 */
export function checkArgs(command: string, words: readonly string[], defs: ArgsDef): void {
  const flags = Object.entries(defs).filter(([, def]) => def.type !== "positional");
  const positionals = Object.keys(defs).filter((name) => defs[name].type === "positional");
  let position = 0;
  for (let i = 0; i < words.length; i++) {
    const word = words[i];
    if (!word.startsWith("-")) {
      if (position++ === positionals.length) {
        const takes = positionals.length ? `only ${positionals.join(", ")}` : "no arguments";
        throw new UsageError(`${command}: takes ${takes}, got '${word}' as well`);
      }
      continue;
    }
    const [name, attached] = split(word);
    const def = flags.find(([flag]) => `--${flag}` === name)?.[1];
    if (!def) {
      const known = flags.map(([flag]) => `--${flag}`);
      throw new UsageError(
        `${command}: unknown flag ${name}${didYouMean(name, known)}; it takes ${known.join(", ")}`,
      );
    }
    if (def.type === "boolean") {
      if (attached !== undefined) {
        throw new UsageError(`${name}: is a switch and takes no value, got '${attached}'`);
      }
      continue;
    }
    const value = attached ?? words[++i];
    const options = "options" in def ? def.options : undefined;
    if (value === undefined || value === "" || (attached === undefined && value.startsWith("--"))) {
      const wanted = options?.join(", ") ?? `<${def.valueHint ?? "value"}>`;
      throw new UsageError(`${name}: expected ${wanted}, got nothing`);
    }
    if (options && !options.includes(value)) {
      throw new UsageError(
        `${name}: expected one of ${options.join(", ")}, got '${value}'${didYouMean(value, options)}`,
      );
    }
  }
  const missing = positionals[position];
  if (missing) {
    throw new UsageError(
      `${command}: expected <${missing}>, got nothing; see tilegrad ${command} --help`,
    );
  }
}

function split(word: string): [name: string, attached: string | undefined] {
  const at = word.indexOf("=");
  return at < 0 ? [word, undefined] : [word.slice(0, at), word.slice(at + 1)];
}

/** A whole number from the command line. */
export function integer(flag: string, text: string, min: number, max: number): number {
  const value = /^-?\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= min && value <= max)) {
    throw new UsageError(`${flag}: expected an integer in ${min} … ${max}, got '${text}'`);
  }
  return value;
}
