import type { Arg, Dims, Params, Spec, WebgpuPass, WebgpuVariant } from "./contract.ts";
import { BackendError } from "./errors.ts";

/** What a device can do, as far as the choice between variants goes. */
export interface Capabilities {
  readonly features: { has(name: string): boolean };
  /** Runs on the CPU: barriers cost more there than what they save. */
  readonly software: boolean;
}

export const isWritten = (a: Arg): boolean =>
  a.role === "out" || a.role === "acc" || a.role === "inout";

export const entryOf = (spec: Spec, v: WebgpuVariant): string =>
  v.entry ?? `${spec.name}_f32${v.name ? `__${v.name}` : ""}`;

/** The dispatches of a variant; further passes name their entries. */
export const passesOf = (v: WebgpuVariant): readonly WebgpuPass[] => [v, ...(v.further ?? [])];

/** What a file that uses the feature has to say, and naga, which needs no word for it, refuses to read. */
const DIRECTIVES: Readonly<Record<string, string>> = {
  "shader-f16": "enable f16;",
  subgroups: "enable subgroups;",
};

const texts = new WeakMap<WebgpuVariant, string>();

/** The text that a device compiles: `consts` put in, directives of what it requires in front. */
export function textOf(v: WebgpuVariant): string {
  let text = texts.get(v);
  if (text === undefined) {
    text = v.source;
    for (const [name, value] of Object.entries(v.consts ?? {})) {
      const declared = new RegExp(`^const ${name} = [^;]*?(u?);`, "m");
      if (!declared.test(text))
        throw new BackendError("compile", `the WGSL declares no 'const ${name} = …;'`);
      text = text.replace(declared, `const ${name} = ${value}$1;`);
    }
    const directives = (v.requires ?? []).map((f) => `${DIRECTIVES[f]}\n`);
    text = directives.join("") + text;
    texts.set(v, text);
  }
  return text;
}

/** By what a call needs: nothing, adding, optional inputs. */
const narrowings = new WeakMap<WebgpuVariant, WebgpuVariant[]>();

/**
 * The variant without what a call does not need of wgsl/lib/optional.wgsl. On a CPU adapter that makes a product of few
 * terms 1.6 times as fast, and elementwise kernels 1.2 to 1.4 times.
 */
export function narrowed(v: WebgpuVariant, adds: boolean, present: boolean): WebgpuVariant {
  if (adds && present) return v;
  const made = narrowings.get(v) ?? [];
  narrowings.set(v, made);
  const key = Number(adds) + 2 * Number(present);
  made[key] ??= without(v, [...(adds ? [] : ["ADDS"]), ...(present ? [] : ["PRESENT"])]);
  return made[key];
}

function without(v: WebgpuVariant, constants: readonly string[]): WebgpuVariant {
  const declared = constants.filter((name) => v.source.includes(`const ${name} = `));
  if (!declared.length) return v;
  return { ...v, consts: { ...v.consts, ...Object.fromEntries(declared.map((c) => [c, 0])) } };
}

/** Whether a variant gives the right result here; which is the fastest of those is another question. */
export const isRight = (v: WebgpuVariant, c: Capabilities, d: Dims, p: Params): boolean =>
  (v.requires ?? []).every((f) => c.features.has(f)) && (v.when?.(d, p) ?? true);

/** @throws BackendError where no variant covers these extents */
export function chooseVariant(spec: Spec, c: Capabilities, d: Dims, p: Params): WebgpuVariant {
  const v = spec.webgpu?.find((w) => isRight(w, c, d, p) && (w.prefer?.(d, p, c) ?? true));
  if (!v) throw new BackendError("unsupported", "has no WGSL for these extents", spec.name);
  return v;
}
