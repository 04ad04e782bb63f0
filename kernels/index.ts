// elementwise

// optimisers
export * from "./adamw.ts";
export * from "./analog_mvm.ts";
export * from "./binary.ts";
export * from "./clip.ts";
// products
export * from "./matmul.ts";
// crossbar
export * from "./mean_field.ts";
export * from "./pulse.ts";
// random numbers
export * from "./random.ts";
// reductions
export * from "./reduce.ts";
export * from "./sgd.ts";
// softmax and its losses
export * from "./softmax.ts";
export * from "./softmax_xent.ts";
export * from "./transfer.ts";
export * from "./unary.ts";
