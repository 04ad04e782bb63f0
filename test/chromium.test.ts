import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { inputData } from "../bench/uniform.ts";
import { launchChromium } from "../cli/chromium.ts";
import { openPeerPage } from "../cli/peer-page.ts";
import { type Chromium, openChromium } from "./support/browser.ts";
import type { Label, Place } from "./support/page.ts";
import { suites } from "./support/registry.ts";

// A real browser: the library as a page has it, on the main thread and in a dedicated Worker. No
// browser or no adapter is a failure, not a reason to skip. Cases are some of each suite; Node has all.

const labels: Label[] = ["webgpu", "wasm", "wasm, 2 threads"];
/** In a Worker and on threads: one kernel of each way to cut work up. */
const SMALL = ["add", "matmul", "softmax", "attention", "conv2d", "layernorm_bwd_weight", "sum"];

let chromium: Chromium;
beforeAll(async () => {
  chromium = await openChromium();
});
afterAll(() => chromium?.close());

describe.each([
  ...labels.map((label) => ({ place: "page" as Place, label })),
  ...labels.map((label) => ({ place: "worker" as Place, label })),
])("$label in a $place of Chromium", ({ place, label }) => {
  test("runs where it is meant to", async () => {
    const { build, software, page, isolated } = await chromium.ask(place, "about", label);
    expect({ page: page ? "page" : "worker", isolated }).toEqual({ page: place, isolated: true });
    // relaxed SIMD is there since Chromium 114
    expect(build).toMatch(label === "webgpu" ? /./ : /^relaxed/);
    const wanted = process.env.TILEGRAD_ADAPTER;
    if (label === "webgpu" && wanted) expect(software).toBe(wanted === "software");
  });

  test("a training step: replay equals eager", async () => {
    const { eager, replayed, dispatches, expectedDispatches } = await chromium.ask(
      place,
      "training",
      label,
    );
    expect(replayed).toEqual(eager);
    expect(dispatches).toBe(expectedDispatches);
    expect(eager.losses.every(Number.isFinite)).toBe(true);
    expect(eager.losses[3]).not.toBe(eager.losses[0]);
  });

  const every = place === "page" && label !== "wasm, 2 threads";
  const chosen = [...suites.entries()].filter(
    ([, { kernel }]) => every || SMALL.includes(kernel.spec.name),
  );
  test.each(chosen.map(([index, { kernel }]) => ({ name: kernel.spec.name, index })))(
    "$name",
    async ({ index }) => {
      expect(await chromium.ask(place, "suite", label, index)).toBeGreaterThan(0);
    },
  );
});

test("bench --peers: tilegrad in its page answers as its peers do", async () => {
  const page = await openPeerPage("tilegrad");
  try {
    const ask = async (request: object) => (await page.call(request)) as Record<string, unknown>;
    expect(await ask({ do: "hello" })).toMatchObject({ build: expect.any(String) });
    const replay = (name: string) =>
      ask({ do: "prepare", problem: { op: "replay", name, inputs: [] } });
    const prepared = await replay("matmul 256");
    expect(prepared).toMatchObject({ copies: false, facts: { shape: "M=256 K=256 N=256" } });
    const [a, b] = inputData([
      [256, 256],
      [256, 256],
    ]);
    const indices = prepared.indices as number[];
    expect(indices.length).toBeGreaterThanOrEqual(64);
    (prepared.values as number[]).forEach((v, i) => {
      const [m, n] = [Math.floor(indices[i] / 256), indices[i] % 256];
      let want = 0;
      for (let k = 0; k < 256; k++) want += a[256 * m + k] * b[256 * k + n];
      expect(Math.abs(v - want)).toBeLessThan(1e-4);
    });
    const { seconds } = await ask({ do: "time", minSamples: 2, maxSeconds: 0.01 });
    for (const s of seconds as number[]) expect(s).toBeGreaterThan(0);
    expect(await ask({ do: "dispose" })).toEqual({});
    expect(await replay("no such case")).toMatchObject({ error: expect.any(String) });
  } finally {
    await page.close();
  }
});

test("a browser that is not there is an error with a remedy", async () => {
  vi.stubEnv("TILEGRAD_CHROMIUM", "/nowhere/chrome");
  await expect(launchChromium()).rejects.toThrow(
    /^No browser: TILEGRAD_CHROMIUM: there is no \/nowhere\/chrome\. Name a Chrome/,
  );
  vi.unstubAllEnvs();
});
