// tilegrad beside other libraries: a process for each, turns taken in rounds, so that whatever else
// the machine does falls on all of them alike. The adapters are bench/peers/<name>.mjs.
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { Backend } from "../core/backend.ts";
import type { PeerCase, Problem } from "./peer-cases.ts";
import type { By } from "./rows.ts";
import type { Watch } from "./run.ts";
import { type Measured, measured } from "./subject.ts";
import type { TimerOptions } from "./timer.ts";

/** Adapters by the name of the peer. Torch is measured where a Python has it. */
const PEERS = {
  "tfjs-wasm": "tfjs-wasm.mjs",
  "ort-web": "ort-web.mjs",
  "ort-node": "ort-node.mjs",
  jax: "jax.mjs",
  js: "js.mjs",
  torch: "pytorch.py",
};

const ROUNDS = 5;
/** Outputs looked at before a peer is timed, and how far they may be off. */
const CHECKED = 64;
const TOLERANCE = { rel: 1e-3, abs: 1e-3 };

/** The command that makes `--peers` possible, or undefined when it already is. */
export function installCommand(root: URL): string | undefined {
  const folder = new URL("bench/peers/", root);
  return existsSync(new URL("node_modules/", folder)) ? undefined : "npm run bench:peers-install";
}

export const hasPeers = (root: URL): boolean =>
  existsSync(new URL("bench/peers/package.json", root));

/** What an adapter says of itself when it is up. */
interface Hello {
  readonly build: string;
  readonly backend: string;
  readonly native: boolean;
  readonly threads: number;
}

interface Prepared {
  readonly values: readonly number[];
  readonly copies: boolean;
}

/** An adapter in a process of its own: JSON lines to its stdin, answers one by one from its stdout. */
class Peer {
  readonly name: string;
  readonly #child: ChildProcess;
  readonly #answers: AsyncIterator<string>;
  #hello: Hello | undefined;
  #stderr = "";

  constructor(name: string, program: string, args: readonly string[]) {
    this.name = name;
    this.#child = spawn(program, args, { stdio: ["pipe", "pipe", "pipe"] });
    // a process that has ended answers nothing, and that is what is told
    this.#child.stdin?.on("error", () => {});
    this.#child.stderr?.on("data", (text) => {
      this.#stderr = `${this.#stderr}${text}`.slice(-2000);
    });
    const lines = createInterface({ input: this.#child.stdout as NodeJS.ReadableStream });
    this.#answers = lines[Symbol.asyncIterator]();
  }

  async hello(): Promise<Hello> {
    this.#hello ??= await this.#next<Hello>();
    return this.#hello;
  }

  async ask<T>(request: object): Promise<T> {
    this.#child.stdin?.write(`${JSON.stringify(request)}\n`);
    return this.#next<T>();
  }

  async #next<T>(): Promise<T> {
    const { value, done } = await this.#answers.next();
    if (done) throw new Error(`ended: ${lastLine(this.#stderr) || "no message"}`);
    const answer = JSON.parse(value);
    if (answer.error) throw new Error(answer.error);
    return answer;
  }

  end(): void {
    this.#child.kill();
  }
}

async function start(name: keyof typeof PEERS, root: URL, threads: number): Promise<Peer> {
  const adapter = fileURLToPath(new URL(`bench/peers/${PEERS[name]}`, root));
  const peer = adapter.endsWith(".py")
    ? new Peer(name, await pythonWithTorch(), [adapter, String(threads)])
    : new Peer(name, process.execPath, [...process.execArgv, adapter, String(threads)]);
  try {
    await peer.hello();
    return peer;
  } catch (error) {
    peer.end();
    throw error;
  }
}

async function pythonWithTorch(): Promise<string> {
  const candidates = ["python3", "/usr/bin/python3"];
  for (const python of candidates) {
    try {
      await promisify(execFile)(python, ["-c", "import torch"]);
      return python;
    } catch {
      // the next one may have it
    }
  }
  throw new Error(`no Python with torch among ${candidates.join(", ")}`);
}

const lastLine = (text: string): string =>
  text
    .trim()
    .split("\n")
    .find((line) => /Error/.test(line)) ??
  text.trim().split("\n").at(-1) ??
  "";

export interface Comparison {
  readonly m: Measured;
  /** Undefined for tilegrad itself. */
  readonly by?: By;
}

export async function comparePeers(
  backend: Backend,
  cases: readonly PeerCase[],
  root: URL,
  threads: number,
  options: TimerOptions,
  watch: Watch,
): Promise<Comparison[]> {
  const peers: Peer[] = [];
  const end = () => {
    for (const peer of peers) peer.end();
  };
  watch.signal.addEventListener("abort", end);
  try {
    for (const name of Object.keys(PEERS) as (keyof typeof PEERS)[]) {
      watch.signal.throwIfAborted();
      try {
        peers.push(await start(name, root, threads));
      } catch (error) {
        watch.skipped(name, (error as Error).message);
      }
    }
    const found: Comparison[] = [];
    for (const [i, c] of cases.entries()) {
      watch.progress(`peers: ${c.name}`, i, cases.length);
      found.push(...(await oneCase(backend, c, peers, options, watch)));
    }
    watch.progress("peers", cases.length, cases.length);
    return found;
  } finally {
    watch.signal.removeEventListener("abort", end);
    end();
  }
}

async function oneCase(
  backend: Backend,
  c: PeerCase,
  peers: readonly Peer[],
  options: TimerOptions,
  watch: Watch,
): Promise<Comparison[]> {
  let subject: Awaited<ReturnType<typeof c.point.prepare>>;
  try {
    subject = await c.point.prepare(backend);
  } catch (error) {
    watch.skipped(c.name, (error as Error).message);
    return [];
  }
  try {
    const ours = await subject.output?.();
    if (!ours) throw new Error(`${c.name}: has no output to check peers against`);
    const able: { peer: Peer; copies: boolean; seconds: number[] }[] = [];
    for (const peer of peers) {
      try {
        const copies = await prepared(peer, c.problem, ours);
        able.push({ peer, copies, seconds: [] });
      } catch (error) {
        watch.signal.throwIfAborted();
        watch.skipped(`${peer.name}: ${c.name}`, (error as Error).message);
      }
    }
    const own: number[] = [];
    const round = {
      minSamples: Math.ceil(options.minSamples / ROUNDS),
      maxSeconds: options.maxSeconds / ROUNDS,
    };
    for (let i = 0; i < ROUNDS; i++) {
      own.push(...(await subject.time({ ...round, signal: options.signal })));
      for (const { peer, seconds } of able) {
        const answer = await peer.ask<{ seconds: number[] }>({ do: "time", ...round });
        seconds.push(...answer.seconds);
      }
    }
    const result: Comparison[] = [{ m: measured(c.point, subject, own.sort(ascending)) }];
    for (const { peer, copies, seconds } of able) {
      await peer.ask({ do: "dispose" });
      const { build, backend, native, threads } = await peer.hello();
      result.push({
        m: { ...measured(c.point, subject, seconds.sort(ascending)), variant: "default" },
        by: { peer: peer.name, build, backend, native, threads, copies },
      });
    }
    return result;
  } finally {
    subject.dispose();
  }
}

const ascending = (a: number, b: number): number => a - b;

/** Has the peer compute the case once and compares; whether it copies at every call. */
async function prepared(peer: Peer, problem: Problem, ours: ArrayLike<number>): Promise<boolean> {
  const stride = Math.max(1, Math.floor(ours.length / CHECKED));
  const indices: number[] = [];
  // not the same column of every row: a stride that divides the width would look at nothing else
  for (let i = 0; i < ours.length; i += stride) {
    indices.push(Math.min(ours.length - 1, i + (indices.length % Math.min(stride, 61))));
  }
  const { values, copies } = await peer.ask<Prepared>({ do: "prepare", problem, indices });
  indices.forEach((at, i) => {
    const off = Math.abs(values[i] - ours[at]);
    if (!(off <= TOLERANCE.abs + TOLERANCE.rel * Math.abs(ours[at]))) {
      throw new Error(`computes something else: [${at}] is ${values[i]}, ours ${ours[at]}`);
    }
  });
  return copies;
}
