/**
 * Analog in-memory training on non-ideal resistive elements: Wu, Xiao, Gokmen, Fagbohungbe, Chen,
 * "Analog In-memory Training on General Non-ideal Resistive Elements: The Impact of Response
 * Functions", arXiv:2502.06309. Symbols and equation numbers follow its NeurIPS version.
 */
export { type Dataset, gatherRows, mnistDigits, permutation, type Split } from "../digits.ts";
export * from "./config.ts";
export * from "./crossbar.ts";
export * from "./devices.ts";
export * from "./network.ts";
export * from "./segments.ts";
export * from "./train.ts";
