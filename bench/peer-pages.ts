// tilegrad beside other libraries on WebGPU: a page of a headless browser each, a browser each, turns
// taken in rounds. The adapters are bench/peers/webgpu/<name>.mjs.
import { BackendError } from "../core/errors.ts";
import type { PeerCase } from "./peer-cases.ts";
import {
  type Comparison,
  type Hello,
  inRounds,
  type Own,
  type Peer,
  type Prepared,
} from "./peers.ts";
import type { Roof } from "./roof.ts";
import type { Watch } from "./run.ts";
import type { Facts } from "./subject.ts";
import type { TimerOptions } from "./timer.ts";

/** Adapters by the name of the peer; tilegrad's own stands beside them. */
const PEERS = { "jax-webgpu": "jax", "tfjs-webgpu": "tfjs", "ort-webgpu": "ort" };
const OWN = "tilegrad";

/** A page in a browser of its own. */
export interface PeerPage {
  /** Name and version of the browser. */
  readonly browser: string;
  /** The answer of the adapter. */
  call(request: object): Promise<unknown>;
  close(): Promise<void>;
}
/** Opens a page that runs a file of bench/peers/webgpu/. */
export type OpenPage = (adapter: string) => Promise<PeerPage>;

/** How long an answer may take: a peer that hangs must not hang the others. */
const PATIENCE = 180_000;

class Page implements Peer {
  readonly name: string;
  readonly page: PeerPage;
  readonly about: { readonly build: string; readonly adapter: string; readonly software: boolean };

  private constructor(name: string, page: PeerPage, about: Page["about"]) {
    this.name = name;
    this.page = page;
    this.about = about;
  }

  static async open(name: string, adapter: string, open: OpenPage): Promise<Page> {
    const page = await open(adapter);
    try {
      const about = (await answer(page, { do: "hello" })) as Page["about"];
      return new Page(name, page, about);
    } catch (error) {
      await page.close();
      throw error;
    }
  }

  async hello() {
    const { browser } = this.page;
    return { ...this.about, browser, backend: "webgpu", native: false, threads: 1 };
  }

  ask<T>(request: object): Promise<T> {
    return answer(this.page, request) as Promise<T>;
  }

  end(): void {
    void this.page.close();
  }
}

/** A peer that did not start: every row says why. */
const absent = (name: string, hello: Hello, why: string): Peer => ({
  name,
  hello: async () => ({ ...hello, build: name }),
  ask: () => Promise.reject(new Error(why)),
  end() {},
});

async function answer(page: PeerPage, request: object): Promise<object> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      void page.close();
      reject(new Error(`gave no answer in ${PATIENCE / 1000} s`));
    }, PATIENCE);
  });
  try {
    const found = (await Promise.race([page.call(request), late])) as { error?: string };
    if (found.error) throw new Error(found.error);
    return found;
  } finally {
    clearTimeout(timer);
  }
}

export interface PageComparison {
  /** Who tilegrad is in its page. */
  readonly own: Awaited<ReturnType<Peer["hello"]>>;
  readonly roof: Roof;
  readonly found: readonly Comparison[];
}

export async function comparePages(
  open: OpenPage,
  cases: readonly PeerCase[],
  options: TimerOptions & { readonly rounds: number },
  watch: Watch,
): Promise<PageComparison> {
  const pages: Page[] = [];
  const end = () => {
    for (const page of pages) page.end();
  };
  watch.signal.addEventListener("abort", end);
  try {
    const own = await Page.open(OWN, OWN, open).catch((error: Error) => {
      throw new BackendError("unavailable", `webgpu in a browser: ${error.message}`);
    });
    pages.push(own);
    const peers: Peer[] = [];
    for (const [name, adapter] of Object.entries(PEERS)) {
      watch.signal.throwIfAborted();
      watch.progress(`peers: ${name} starts`, peers.length, Object.keys(PEERS).length);
      try {
        const peer = await Page.open(name, adapter, open);
        pages.push(peer);
        peers.push(peer);
      } catch (error) {
        const why = (error as Error).message;
        watch.skipped(name, why);
        peers.push(absent(name, await own.hello(), why));
      }
    }
    watch.progress("roofs", 0, 1);
    const prepare = (op: string, name: string) =>
      own.ask<Prepared & { facts: Facts | Roof }>({
        do: "prepare",
        problem: { op, name, inputs: [] },
      });
    const roof = (await prepare("roof", "roof")).facts as Roof;
    const ours = async (c: PeerCase): Promise<Own> => {
      const { facts, ...checked } = await prepare("replay", c.name);
      return {
        facts: facts as Facts,
        checked,
        time: async (round) =>
          (await own.ask<{ seconds: number[] }>({ do: "time", ...round })).seconds,
        dispose: () => own.ask({ do: "dispose" }),
      };
    };
    const found = await inRounds(ours, cases, peers, options, watch);
    return { own: await own.hello(), roof, found };
  } finally {
    watch.signal.removeEventListener("abort", end);
    end();
  }
}
