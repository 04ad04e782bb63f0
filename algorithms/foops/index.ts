/**
 * FOOPS, first-order optimisation on the Pareto set: Chen, Xiao, Fukuda, Chen, Yuan, Chen,
 * "Efficient First-Order Optimization on the Pareto Set for Multi-Objective Learning under Preference
 * Guidance", arXiv:2504.02854. Symbols and equation numbers follow its ICML version.
 */
export * from "./baselines.ts";
export * from "./config.ts";
export * from "./foops.ts";
export * from "./heads.ts";
export * from "./pairs.ts";
export * from "./penguins.ts";
export * from "./problem.ts";
export * from "./solve.ts";
export * from "./solvers.ts";
export * from "./toys.ts";
