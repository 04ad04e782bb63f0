import type { WebgpuVariant } from "../../core/contract.ts";
import type { Backend } from "../../core/index.ts";
import { WebgpuBackend } from "../../core/webgpu.ts";
import { entryOf, isRight } from "../../core/webgpu-variant.ts";
import { expected, mismatch, type Problem, place } from "./registry.ts";

const looser = (tol: { rel: number; abs: number }, beta: number) =>
  beta === 0 ? tol : { rel: tol.rel, abs: tol.abs + 1e-6 };

/**
 * Runs a case on a backend against its definition: NaN in the outputs, sentinels around them, the
 * betas, twice for bit equality. Throws what is wrong, in words. In Node and in a page alike.
 */
export async function verify(be: Backend, p: Problem): Promise<void> {
  const { kernel, tol } = p.suite;
  const complain = (what: string, wrong: string | undefined) => {
    if (wrong !== undefined) throw new Error(`${what}: ${wrong}`);
  };
  const placed = place(be, p);
  const accumulates = kernel.spec.args.some((a) => a.role === "acc");
  for (const beta of accumulates ? [0, 1, 0.5] : [0]) {
    placed.reset(beta === 0);
    placed.run(beta);
    const { values, touched } = await placed.results();
    if (touched.length) throw new Error(`guard bands written: ${touched}`);
    for (const [name, w] of expected(p, beta)) {
      const got = values.get(name) as Float32Array;
      complain(`${name}, beta ${beta}`, mismatch(got, w, looser(tol, beta)));
    }
    if (beta !== 0) continue;
    placed.reset(true);
    placed.run(0);
    const again = await placed.results();
    for (const [name, v] of values) {
      const second = again.values.get(name) as Float32Array;
      complain(`${name}, second run`, mismatch(second, v, { rel: 0, abs: 0 }));
    }
  }
  placed.dispose();
}

/** As `verify`, on WebGPU for every variant that is right for the case; `ran` collects them. */
export async function verifyVariants(
  be: Backend,
  p: Problem,
  ran = new Set<WebgpuVariant>(),
): Promise<void> {
  if (!(be instanceof WebgpuBackend)) return verify(be, p);
  const { kernel } = p.suite;
  const variants = kernel.spec.webgpu?.filter((v) => isRight(v, be.capabilities, p.dims, p.params));
  for (const v of variants ?? []) {
    be.force(kernel, v);
    try {
      await verify(be, p);
      ran.add(v);
    } catch (e) {
      (e as Error).message = `${entryOf(kernel.spec, v)}: ${(e as Error).message}`;
      throw e;
    } finally {
      be.force(kernel, undefined);
    }
  }
}
