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
import { type Facts, type Measured, measured } from "./subject.ts";
import type { TimerOptions } from "./timer.ts";
import { sampled } from "./uniform.ts";

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
/** Milliseconds of rounds after which two of them are enough. */
const LONG_ROUNDS = 40_000;
/** How far a peer's outputs may be off. */
const TOLERANCE = { rel: 1e-3, abs: 1e-3 };

/** The command that makes `--peers` possible, or undefined when it already is. */
export function installCommand(root: URL): string | undefined {
  const folder = new URL("bench/peers/", root);
  return existsSync(new URL("node_modules/", folder)) ? undefined : "npm run bench:peers-install";
}

export const hasPeers = (root: URL): boolean =>
  existsSync(new URL("bench/peers/package.json", root));

/** What an adapter says of itself when it is up. */
export type Hello = Omit<By, "peer" | "copies" | "why">;

/** A library that answers requests, see bench/peers/handler.mjs. */
export interface Peer {
  readonly name: string;
  hello(): Promise<Hello>;
  ask<T>(request: object): Promise<T>;
  end(): void;
}

/** An answer to `prepare`. */
export interface Prepared {
  readonly values: readonly number[];
  readonly indices: readonly number[];
  readonly copies: boolean;
}

/** An adapter in a process of its own: JSON lines to its stdin, answers one by one from its stdout. */
class PeerProcess implements Peer {
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
    ? new PeerProcess(name, await pythonWithTorch(), [adapter, String(threads)])
    : new PeerProcess(name, process.execPath, [...process.execArgv, adapter, String(threads)]);
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
    const own = (c: PeerCase) => ownHere(backend, c, options);
    const all = await inRounds(own, cases, peers, { ...options, rounds: ROUNDS }, watch);
    return all.filter(({ by }) => by?.why === undefined);
  } finally {
    watch.signal.removeEventListener("abort", end);
    end();
  }
}

/** tilegrad's own side of a case: in this process, or in a page as its peers are. */
export interface Own {
  readonly facts: Facts;
  /** Outputs to check peers against, and where they are. */
  readonly checked: Pick<Prepared, "values" | "indices">;
  time(round: Round): Promise<readonly number[]>;
  dispose(): unknown;
}

/** How long a turn of one library is. */
type Round = Pick<TimerOptions, "minSamples" | "maxSeconds">;

async function ownHere(backend: Backend, c: PeerCase, { signal }: TimerOptions): Promise<Own> {
  const subject = await c.point.prepare(backend);
  const output = await subject.output?.();
  if (!output) throw new Error(`${c.name}: has no output to check peers against`);
  const indices = sampled(output.length);
  return {
    facts: subject,
    checked: { indices, values: indices.map((i) => output[i]) },
    time: (round) => subject.time({ ...round, signal }),
    dispose: () => subject.dispose(),
  };
}

/** Every case, tilegrad and its peers in turns. */
export async function inRounds(
  own: (c: PeerCase) => Promise<Own>,
  cases: readonly PeerCase[],
  peers: readonly Peer[],
  options: Round & { readonly rounds: number },
  watch: Watch,
): Promise<Comparison[]> {
  const found: Comparison[] = [];
  for (const [i, c] of cases.entries()) {
    watch.progress(`peers: ${c.name}`, i, cases.length);
    try {
      const ours = await own(c);
      try {
        found.push(...(await oneCase(ours, c, peers, options, watch)));
      } finally {
        await ours.dispose();
      }
    } catch (error) {
      watch.signal.throwIfAborted();
      watch.skipped(c.name, (error as Error).message);
    }
  }
  watch.progress("peers", cases.length, cases.length);
  return found;
}

async function oneCase(
  ours: Own,
  c: PeerCase,
  peers: readonly Peer[],
  { rounds, minSamples, maxSeconds }: Round & { readonly rounds: number },
  watch: Watch,
): Promise<Comparison[]> {
  const able: { peer: Peer; copies: boolean; seconds: number[] }[] = [];
  const unable: Comparison[] = [];
  const tell = async (peer: Peer, error: unknown) => {
    watch.signal.throwIfAborted();
    const why = (error as Error).message;
    watch.skipped(`${peer.name}: ${c.name}`, why);
    unable.push({
      m: measured(c.point, { ...ours.facts, variant: "default" }, []),
      by: { ...(await peer.hello()), peer: peer.name, copies: false, why },
    });
  };
  for (const peer of peers) {
    try {
      able.push({ peer, copies: await prepared(peer, c.problem, ours), seconds: [] });
    } catch (error) {
      await tell(peer, error);
    }
  }
  const own: number[] = [];
  const round = { minSamples: Math.ceil(minSamples / rounds), maxSeconds: maxSeconds / rounds };
  const start = performance.now();
  for (let i = 0; i < rounds; i++) {
    if (i >= 2 && performance.now() - start > LONG_ROUNDS) break;
    own.push(...(await ours.time(round)));
    for (const one of [...able]) {
      try {
        const answer = await one.peer.ask<{ seconds: number[] }>({ do: "time", ...round });
        one.seconds.push(...answer.seconds);
      } catch (error) {
        await tell(one.peer, error);
        able.splice(able.indexOf(one), 1);
      }
    }
  }
  const result: Comparison[] = [{ m: measured(c.point, ours.facts, own.sort(ascending)) }];
  for (const { peer, copies, seconds } of able) {
    await peer.ask({ do: "dispose" });
    result.push({
      m: { ...measured(c.point, ours.facts, seconds.sort(ascending)), variant: "default" },
      by: { ...(await peer.hello()), peer: peer.name, copies },
    });
  }
  return [...result, ...unable];
}

const ascending = (a: number, b: number): number => a - b;

/** Has the peer compute the case once and compares; whether it copies at every call. */
async function prepared(peer: Peer, problem: Problem, { checked }: Own): Promise<boolean> {
  const { indices } = checked;
  const { values, copies } = await peer.ask<Prepared>({ do: "prepare", problem, indices });
  indices.forEach((at, i) => {
    const off = Math.abs(values[i] - checked.values[i]);
    if (!(off <= TOLERANCE.abs + TOLERANCE.rel * Math.abs(checked.values[i]))) {
      throw new Error(
        `computes something else: [${at}] is ${values[i]}, ours ${checked.values[i]}`,
      );
    }
  });
  return copies;
}
