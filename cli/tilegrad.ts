#!/usr/bin/env node
import { stripVTControlCharacters } from "node:util";
import { type ArgsDef, type CommandDef, defineCommand, renderUsage, runCommand } from "citty";
import { BackendError, FormatError, TilegradError, ValueError } from "../core/errors.ts";
import { checkArgs } from "./args.ts";
import { bench } from "./bench.ts";
import { didYouMean, EXIT, UsageError } from "./errors.ts";
import { info } from "./info.ts";
import { list } from "./list.ts";
import { run } from "./run.ts";
import { version } from "./version.ts";

const commands = { info, list, run, bench } as unknown as Record<string, CommandDef>;

const main = defineCommand({
  meta: {
    name: "tilegrad",
    description: "Hand-written WebGPU and WebAssembly kernels, and papers that run on them",
  },
  subCommands: commands,
});

async function help(command?: CommandDef): Promise<string> {
  const text = await renderUsage(command ?? main, command && main);
  return process.stdout.isTTY ? text : stripVTControlCharacters(text);
}

async function tilegrad(words: readonly string[]): Promise<void> {
  const [name, ...rest] = words;
  if (name === undefined) {
    throw new UsageError(`tilegrad: no command given\n\n${await help()}`);
  }
  if (name === "--help" || name === "-h") {
    console.log(await help());
    return;
  }
  if (name === "--version" || name === "-v") {
    console.log(await version());
    return;
  }
  const names = Object.keys(commands);
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (!command) {
    const what = name.startsWith("-") ? "flag" : "command";
    throw new UsageError(
      `tilegrad: unknown ${what} '${name}'${didYouMean(name, [...names, "--help", "--version"])}; ` +
        `the commands are ${names.join(", ")}`,
    );
  }
  if (rest.includes("--help") || rest.includes("-h")) {
    console.log(await help(command));
    return;
  }
  checkArgs(name, rest, command.args as ArgsDef);
  await runCommand(command, { rawArgs: rest });
}

/** Refusals of what was asked for, as against failures on the way. */
const isUsage = (error: unknown): boolean =>
  [UsageError, FormatError, ValueError].some((type) => error instanceof type) ||
  (error instanceof BackendError && error.code === "unavailable") ||
  // citty's own complaint, about an argument that is missing
  (error instanceof Error && error.name === "CLIError");

// `tilegrad list | head` closes the pipe early, which is no failure
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit();
  throw error;
});

try {
  await tilegrad(process.argv.slice(2));
} catch (error) {
  process.exitCode = isUsage(error) ? EXIT.usage : EXIT.failed;
  const { name, message, stack } = error as Error;
  if (error instanceof TilegradError) console.error(`${name}: ${message}`);
  else if (isUsage(error)) console.error(stripVTControlCharacters(message));
  else console.error(stack ?? error);
}
