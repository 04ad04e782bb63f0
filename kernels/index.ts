// elementwise
export * from "./binary.ts";
export * from "./unary.ts";

// reductions
export * from "./reduce.ts";

// products
export * from "./matmul.ts";
