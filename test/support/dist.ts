import { fileURLToPath } from "node:url";

/** A file of the built package; `npm test` builds first. */
export const distFile = (path: string): string =>
  fileURLToPath(new URL(`../../dist/${path}`, import.meta.url));
