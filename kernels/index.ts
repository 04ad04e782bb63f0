// elementwise
export * from "./binary.ts";
export * from "./unary.ts";

// reductions
export * from "./reduce.ts";

// products
export * from "./matmul.ts";

// softmax and its losses
export * from "./softmax.ts";
export * from "./softmax_xent.ts";

// optimisers
export * from "./adamw.ts";
export * from "./clip.ts";
export * from "./sgd.ts";
