import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { renderReport } from "../cli/report.ts";
import { checkpointPath, Interrupted, type RunRequest, runStudy } from "../cli/run-study.ts";
import { init } from "../core/index.ts";
import type { StudyContext, StudyEntry } from "../core/study.ts";
import { distFile } from "./support/dist.ts";

const temp = mkdtempSync(join(tmpdir(), "tilegrad-cli-"));
afterAll(() => rmSync(temp, { recursive: true, force: true }));
let folders = 0;
const newFolder = (): string => join(temp, String(folders++));

function tilegrad(...args: string[]): Promise<{ code: number | null; out: string; err: string }> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [distFile("cli/tilegrad.js"), ...args], { cwd: temp });
    let out = "";
    let err = "";
    child.stdout.on("data", (chunk) => {
      out += chunk;
    });
    child.stderr.on("data", (chunk) => {
      err += chunk;
    });
    child.on("close", (code) => resolve({ code, out, err }));
  });
}

describe.skipIf(process.platform === "win32")("Ctrl-C", () => {
  /** Interrupts `run analog --quick` when it has said where it is `after` times. */
  const interrupted = (out: string, after: number, ...more: string[]) =>
    new Promise<{ code: number | null; err: string }>((resolve) => {
      const args = ["run", "analog", "--quick", "--out", out, ...more];
      const child = spawn(process.execPath, [distFile("cli/tilegrad.js"), ...args], { cwd: temp });
      let err = "";
      let sent = false;
      child.stderr.on("data", (chunk) => {
        err += chunk;
        if (sent || (err.match(/: \d+\/\d+\n/g)?.length ?? 0) < after) return;
        sent = true;
        child.kill("SIGINT");
      });
      child.on("close", (code) => resolve({ code, err }));
    });

  test("leaves a checkpoint, and --resume goes on from it", async () => {
    const out = newFolder();
    const first = await interrupted(out, 2);
    expect(first.code).toBe(130);
    expect(readdirSync(out)).toEqual(["checkpoint.json"]);
    expect(first.err).toContain(`tilegrad run analog --backend wasm --seed 1 --seeds 1 --quick`);
    const { cells } = JSON.parse(readFileSync(checkpointPath(out), "utf8"));
    expect(Object.keys(cells).length).toBeGreaterThan(0);
    const second = await interrupted(out, 3, "--resume");
    expect(second.code).toBe(130);
    const after = JSON.parse(readFileSync(checkpointPath(out), "utf8")).cells;
    expect(Object.keys(after).length).toBeGreaterThan(Object.keys(cells).length);
    for (const key of Object.keys(cells)) expect(after[key]).toEqual(cells[key]);
  }, 60_000);
});

describe("usage", () => {
  test.each([
    ["lst", "tilegrad: unknown command 'lst' (did you mean list?); the commands are"],
    ["--helpp", "tilegrad: unknown flag '--helpp' (did you mean --help?)"],
    ["list --jsn", "list: unknown flag --jsn (did you mean --json?); it takes --json"],
    ["list all", "list: takes no arguments, got 'all' as well"],
    ["list --json=1", "--json: is a switch and takes no value, got '1'"],
    ["run", "run: expected <algorithm>, got nothing"],
    ["run nothing-like-it", "run: unknown algorithm 'nothing-like-it'; there are"],
    ["run x --sed 3", "run: unknown flag --sed (did you mean --seed?)"],
    ["run x --backend cuda", "--backend: expected one of ref, wasm, webgpu, got 'cuda'"],
    ["run x --seed --json", "--seed: expected <n>, got nothing"],
    ["bench --filter ad", "--filter: expected the name of a kernel, got 'ad', which fits none"],
  ])("tilegrad %s", async (line, message) => {
    const { code, out, err } = await tilegrad(...line.split(" "));
    expect(err).toContain(message);
    expect(err).not.toMatch(/^\s+at /m);
    expect({ code, out }).toEqual({ code: 2, out: "" });
  });

  test("no command shows the help, on stderr", async () => {
    const { code, out, err } = await tilegrad();
    expect({ code, out }).toEqual({ code: 2, out: "" });
    expect(err).toContain("COMMANDS");
  });

  test.each(["--help", "run --help", "bench -h"])("tilegrad %s", async (line) => {
    const { code, out, err } = await tilegrad(...line.split(" "));
    expect(out).toContain("USAGE tilegrad");
    expect(out).not.toContain("\u001b");
    expect({ code, err }).toEqual({ code: 0, err: "" });
  });
});

describe("results", () => {
  test("list --json", async () => {
    const { code, out, err } = await tilegrad("list", "--json");
    expect({ code, err }).toEqual({ code: 0, err: "" });
    const { kernels, algorithms } = JSON.parse(out);
    expect(kernels.find((k: { name: string }) => k.name === "add")).toEqual({
      name: "add",
      family: "elementwise",
      dtypes: ["f32"],
      backends: ["ref", "wasm", "webgpu"],
      vjp: true,
    });
    expect(algorithms).toBeInstanceOf(Array);
  });

  test("info --json says why something is not there", async () => {
    const { code, out } = await tilegrad("info", "--json");
    expect(code).toBe(0);
    const { backends, wasm } = JSON.parse(out);
    expect(backends.map((b: { name: string }) => b.name)).toEqual(["ref", "wasm", "webgpu"]);
    expect(wasm).toHaveLength(4);
    for (const { available, build, reason } of [...backends, ...wasm]) {
      expect(available ? build : reason).toMatch(/\w/);
    }
  });

  test("bench --json", async () => {
    const { code, out } = await tilegrad("bench", "--filter", "add", "--quick", "--json");
    expect(code).toBe(0);
    const { rows, seed } = JSON.parse(out);
    expect(rows).toHaveLength(1);
    expect(Object.keys(rows[0]).join()).toBe(
      "kernel,variant,backend,build,shape,source,threads,peer,native,samples,p10_us,p50_us,p90_us," +
        "gflops,gbps,roof_pct,machine,node,commit",
    );
    expect(rows[0]).toMatchObject({ kernel: "add", peer: "tilegrad", native: false, threads: 1 });
    expect(rows[0].node).toBe(process.versions.node);
    expect(seed).toBeTypeOf("number");
    expect(rows[0].samples).toBeGreaterThanOrEqual(10);
    expect(rows[0].p10_us).toBeLessThanOrEqual(rows[0].p50_us);
    expect(rows[0].roof_pct).toBeGreaterThan(0);
  });
});

describe("run", async () => {
  const backend = await init("ref");
  let calls = 0;

  /** Four cells that depend on the seed; `stopAfter` raises the signal inside the n-th. */
  function study(stopAfter?: number, stop?: AbortController): StudyEntry {
    const run = async (ctx: StudyContext) => {
      const losses: number[] = [];
      for (let i = 0; i < 4; i++) {
        const loss = await ctx.cell(`cell ${i}`, async () => {
          calls++;
          if (i === stopAfter) stop?.abort();
          ctx.signal.throwIfAborted();
          return { loss: i === 2 ? Number.NaN : 1 / (i + ctx.seed) };
        });
        losses.push(loss.loss);
      }
      const points = losses.map((loss, i) => [i, loss] as const);
      return {
        checks: [{ name: "C1", claim: "a < b & c", value: losses[3], bound: "<= 1", pass: true }],
        metrics: { losses },
        charts: [{ title: "Loss", x: "epoch", y: "loss", series: [{ name: "<sgd>", points }] }],
        tables: [{ title: "Accuracy", columns: ["method", "acc"], rows: [["sgd", 0.5]] }],
      };
    };
    return { name: "stub", paper: "A paper", load: async () => ({ run }) };
  }

  const notes: string[] = [];
  const request = (out: string, more: Partial<RunRequest> = {}): RunRequest => ({
    entry: study(),
    backend,
    seed: 1,
    seeds: 1,
    size: "quick",
    out,
    resume: false,
    signal: new AbortController().signal,
    progress: { update() {}, note: (line) => notes.push(line), stop() {} },
    render: renderReport,
    ...more,
  });
  const interrupt = (out: string, after = 2) => {
    const stop = new AbortController();
    return runStudy(request(out, { entry: study(after, stop), signal: stop.signal }));
  };

  test("leaves the result and a page that loads nothing", async () => {
    const out = newFolder();
    const report = await runStudy(request(out));
    expect(Object.keys(report).join()).toBe("algorithm,paper,backend,seed,seconds,checks,metrics");
    expect(readdirSync(out).sort()).toEqual(["index.html", "loss.svg", "result.json"]);
    expect(JSON.parse(readFileSync(join(out, "result.json"), "utf8")).checks).toEqual(
      report.checks,
    );
    const page = readFileSync(join(out, "index.html"), "utf8");
    expect(page).toContain("a &lt; b &amp; c");
    expect(page).toContain("&lt;sgd&gt;");
    expect(page).toMatch(/<path [^>]*d="M/);
    expect(readFileSync(join(out, "loss.svg"), "utf8")).toMatch(/^<svg .*&lt;sgd&gt;/s);
    expect(page.replaceAll("http://www.w3.org/", "")).not.toMatch(/https?:|<script|<link/);
  });

  test("resumed, it ends with the numbers of an uninterrupted run", async () => {
    const out = newFolder();
    const whole = await runStudy(request(newFolder()));
    await expect(interrupt(out)).rejects.toThrow(Interrupted);
    expect(readdirSync(out)).toEqual(["checkpoint.json"]);
    calls = 0;
    const resumed = await runStudy(request(out, { resume: true }));
    expect(calls).toBe(2);
    expect({ ...resumed, seconds: 0 }).toEqual({ ...whole, seconds: 0 });
    expect(readdirSync(out).sort()).toEqual(["index.html", "loss.svg", "result.json"]);
  });

  test("without --resume it says that a checkpoint is replaced", async () => {
    const out = newFolder();
    await expect(interrupt(out)).rejects.toThrow(Interrupted);
    notes.length = 0;
    await runStudy(request(out));
    expect(notes.join()).toContain("of an interrupted run (2 parts) is being replaced");
  });

  test("a failed run leaves an earlier result as it was", async () => {
    const out = newFolder();
    await runStudy(request(out));
    const before = readFileSync(join(out, "result.json"), "utf8");
    const broken: StudyEntry = {
      name: "stub",
      paper: "A paper",
      load: async () => ({ run: () => Promise.reject(new Error("diverged")) }),
    };
    await expect(runStudy(request(out, { entry: broken }))).rejects.toThrow("diverged");
    expect(readFileSync(join(out, "result.json"), "utf8")).toBe(before);
    expect(readdirSync(out).sort()).toEqual(["index.html", "loss.svg", "result.json"]);
  });

  test("two cells of one name are refused", async () => {
    const run = async (ctx: StudyContext) => {
      await ctx.cell("a", async () => 1);
      await ctx.cell("a", async () => 2);
      return { checks: [], metrics: {} };
    };
    const entry = { name: "stub", paper: "", load: async () => ({ run }) };
    await expect(runStudy(request(newFolder(), { entry }))).rejects.toThrow("called 'a'");
  });

  describe("a checkpoint that does not fit", () => {
    test("another seed", async () => {
      const out = newFolder();
      await expect(interrupt(out)).rejects.toThrow(Interrupted);
      await expect(runStudy(request(out, { resume: true, seed: 2 }))).rejects.toThrow(
        /checkpoint.json: seed: expected 2 as in this command, got 1 from the interrupted run/,
      );
    });

    test("none at all", async () => {
      await expect(runStudy(request(newFolder(), { resume: true }))).rejects.toThrow(
        /--resume: expected a checkpoint at .*, got no file/,
      );
    });

    test.each([
      ["truncated", (text: string) => text.slice(0, 60), "expected JSON, got 60 characters"],
      ["foreign", () => '{"a":1}', 'format: expected "tilegrad-checkpoint", got none'],
      ["no object", () => "null", 'format: expected "tilegrad-checkpoint", got none'],
      ["of another version", (t: string) => t.replace('"version":1', '"version":7'), "got 7"],
      ["without cells", (t: string) => t.replace('"cells"', '"x"'), "cells: expected object"],
    ])("%s", async (_, change, message) => {
      const out = newFolder();
      await expect(interrupt(out)).rejects.toThrow(Interrupted);
      const path = checkpointPath(out);
      writeFileSync(path, change(readFileSync(path, "utf8")));
      await expect(runStudy(request(out, { resume: true }))).rejects.toMatchObject({
        name: "FormatError",
        message: expect.stringContaining(message),
      });
    });
  });
});
