// Benchmark.js finds what it needs, itself included, in the global scope of a page.
import lodash from "lodash";

globalThis._ = lodash;
globalThis.Benchmark = (await import("benchmark")).default;
