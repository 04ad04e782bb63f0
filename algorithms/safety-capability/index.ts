/**
 * Safety and capability in fine-tuning: Chen, Shen, Das, Chen, "Fundamental Safety-Capability Trade-offs in
 * Fine-tuning Large Language Models", arXiv:2503.20807. Symbols follow the paper.
 */
export * from "./baselines.ts";
export * from "./bpe.ts";
export * from "./config.ts";
export * from "./examples.ts";
export * from "./mails.ts";
export * from "./regression.ts";
export * from "./sweep.ts";
export * from "./tables.ts";
export * from "./teachers.ts";
export * from "./texts.ts";
export * from "./tradeoff.ts";
export * from "./train.ts";
export * from "./transformer.ts";
