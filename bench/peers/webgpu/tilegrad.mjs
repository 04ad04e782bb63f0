// tilegrad itself, built into dist/: in a page of its own like its peers.
import "./globals.mjs";

import { peerCases } from "../../../dist/bench/peer-cases.js";
import { measureRoof } from "../../../dist/bench/roof.js";
import { isSuite } from "../../../dist/core/contract.js";
import { init } from "../../../dist/core/index.js";
import * as kernels from "../../../dist/kernels/index.js";
import { serve } from "../page.mjs";

const backend = await init("webgpu");
const cases = peerCases(Object.values(kernels).flat().filter(isSuite));

/** Every case by its name: the replay of what is captured of it. */
async function replay(_inputs, _shapes, _params, { name }) {
  const { point } = cases.find((c) => c.name === name);
  const subject = await point.prepare(backend);
  const { variant, shape, cost, memory } = subject;
  const plan = subject.replay();
  return {
    facts: { variant, shape, cost, memory },
    run: () => plan.run(),
    read: () => subject.output(),
    dispose() {
      plan.dispose();
      subject.dispose();
    },
  };
}

const roof = async () => ({
  facts: await measureRoof(backend, new AbortController().signal, () => {}),
  run() {},
  read: () => [],
});

await serve(backend.build, { replay, roof });
