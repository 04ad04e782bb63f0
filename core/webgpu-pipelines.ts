import type { Spec, WebgpuPass, WebgpuVariant } from "./contract.ts";
import { BackendError } from "./errors.ts";
import { entryOf, isWritten, passesOf, textOf } from "./webgpu-variant.ts";

const STAGE_COMPUTE = 0x4;

export interface Pipeline {
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
  /** Distinguishes bind groups of different layouts over the same buffers. */
  readonly id: number;
  /** Whether a dispatch has gone through: until then it may still turn out not to compile. */
  proven: boolean;
}

interface Parts {
  readonly layout: GPUBindGroupLayout;
  readonly descriptor: GPUComputePipelineDescriptor;
}

/** The compiled kernels of one device. */
export class Pipelines {
  readonly #device: GPUDevice;
  readonly #modules = new Map<string, GPUShaderModule>();
  // All three: kernels of a family share variants, variants share passes, each with a text of its own.
  readonly #compiled = new Map<Spec, Map<WebgpuVariant, Map<WebgpuPass, Pipeline>>>();
  #ids = 0;

  constructor(device: GPUDevice) {
    this.#device = device;
  }

  /** Whether all passes of a variant are known to compile. */
  isProven(spec: Spec, variant: WebgpuVariant): boolean {
    return passesOf(variant).every((pass) => this.#of(spec, variant).get(pass)?.proven);
  }

  /** Compiles now; a fault of the text shows when the first dispatch is validated. */
  get(spec: Spec, variant: WebgpuVariant, pass: WebgpuPass): Pipeline {
    const known = this.#of(spec, variant).get(pass);
    if (known) return known;
    const { layout, descriptor } = this.#parts(spec, variant, pass);
    const pipeline = this.#device.createComputePipeline(descriptor);
    return this.#keep(spec, variant, pass, { layout, pipeline, proven: false });
  }

  /**
   * Compiles all passes of a variant off the main thread.
   * @throws BackendError that points at the line of wgsl/<file>
   */
  async prepare(spec: Spec, variant: WebgpuVariant): Promise<void> {
    await Promise.all(
      passesOf(variant).map(async (pass) => {
        if (this.#of(spec, variant).has(pass)) return;
        const { layout, descriptor } = this.#parts(spec, variant, pass);
        let pipeline: GPUComputePipeline;
        try {
          pipeline = await this.#device.createComputePipelineAsync(descriptor);
        } catch (e) {
          throw await this.fault(spec, variant, (e as Error).message, "compile");
        }
        if (!this.#of(spec, variant).has(pass))
          this.#keep(spec, variant, pass, { layout, pipeline, proven: true });
      }),
    );
  }

  /** What to compile again on another device. */
  *known(): Generator<readonly [Spec, WebgpuVariant]> {
    for (const [spec, variants] of this.#compiled)
      for (const [v, passes] of variants) if (passes.size) yield [spec, v];
  }

  /** Why a variant does not run, first of all in the words of the device about its text. */
  async fault(
    spec: Spec,
    variant: WebgpuVariant,
    message: string,
    code: "compile" | "validation",
  ): Promise<BackendError> {
    const { messages } = await this.#module(textOf(variant)).getCompilationInfo();
    const m = messages.find((x) => x.type === "error");
    const why = m
      ? `${sourceLine(textOf(variant), m.lineNum)}: ${m.message}`
      : `${entryOf(spec, variant)}: ${message.trim()}`;
    this.#of(spec, variant).clear();
    return new BackendError(m ? "compile" : code, why, spec.name);
  }

  #of(spec: Spec, variant: WebgpuVariant): Map<WebgpuPass, Pipeline> {
    const variants =
      this.#compiled.get(spec) ?? new Map<WebgpuVariant, Map<WebgpuPass, Pipeline>>();
    const passes = variants.get(variant) ?? new Map<WebgpuPass, Pipeline>();
    this.#compiled.set(spec, variants);
    variants.set(variant, passes);
    return passes;
  }

  #keep(
    spec: Spec,
    variant: WebgpuVariant,
    pass: WebgpuPass,
    made: Omit<Pipeline, "id">,
  ): Pipeline {
    const p = { ...made, id: this.#ids++ };
    this.#of(spec, variant).set(pass, p);
    return p;
  }

  #module(code: string): GPUShaderModule {
    let module = this.#modules.get(code);
    if (!module) {
      module = this.#device.createShaderModule({ code });
      this.#modules.set(code, module);
    }
    return module;
  }

  #parts(spec: Spec, variant: WebgpuVariant, pass: WebgpuPass): Parts {
    const device = this.#device;
    const entryPoint = pass === variant ? entryOf(spec, variant) : (pass.entry as string);
    const module = this.#module(textOf(variant));
    const types: GPUBufferBindingLayout[] = spec.args.map((a) => ({
      type: isWritten(a) ? "storage" : "read-only-storage",
    }));
    types.push({ type: "uniform", hasDynamicOffset: true });
    if (variant.scratch) types.push({ type: "storage" });
    const layout = device.createBindGroupLayout({
      entries: types.map((buffer, binding) => ({ binding, visibility: STAGE_COMPUTE, buffer })),
    });
    const { constants } = pass;
    const descriptor = {
      label: entryPoint,
      layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }),
      compute: { module, entryPoint, ...(constants ? { constants } : {}) },
    };
    return { layout, descriptor };
  }
}

/** `//# path:line` markers in expanded WGSL say where the following lines come from. */
function sourceLine(source: string, line: number): string {
  const lines = source.split("\n");
  for (let i = Math.min(line, lines.length) - 1; i >= 0; i--) {
    const m = /^\/\/# (.+):(\d+)$/.exec(lines[i]);
    if (m) return `${m[1]}:${Number(m[2]) + line - i - 2}`;
  }
  return `line ${line}`;
}
