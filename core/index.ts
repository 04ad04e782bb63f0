/** tilegrad: tensors, backends, autodiff and captured steps. Kernels are in `tilegrad/kernels`. */
export { Backend, type BackendName } from "./backend.ts";
export { type Counter, capture, type Declared, type Step, type StepArgs } from "./capture.ts";
export type { AnyKernel, Case, Kernel, Params, Spec, Suite } from "./contract.ts";
export * from "./errors.ts";
export { type InitOptions, init } from "./init.ts";
export { ReadbackRing } from "./readback.ts";
export { Scalar } from "./scalar.ts";
export { Slab, slab } from "./slab.ts";
export type { Check, Study, StudyContext, StudyEntry, StudyResult } from "./study.ts";
export { checkpoint, grad, hvp, stopGradient, valueAndGrad, vjp } from "./tape.ts";
export { type Dtype, type Shape, scope, Tensor, type TypedArray } from "./tensor.ts";
export type { WasmBackend } from "./wasm.ts";
export type { WebgpuBackend } from "./webgpu.ts";
