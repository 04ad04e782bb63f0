import { BackendError } from "../core/errors.ts";
import { nodeModule } from "../core/runtime.ts";

/**
 * Where a file of an optional npm package is, for the data that `user` reads.
 * @throws BackendError with the remedy when the package is not installed
 */
export function packageFile(user: string, name: string, version: string, path: string): string {
  const { createRequire } = nodeModule<typeof import("node:module")>("node:module");
  try {
    return createRequire(import.meta.url).resolve(`${name}/${path}`);
  } catch {
    throw new BackendError(
      "unavailable",
      `${user}: the npm package '${name}' is not installed; npm install ${name}@${version}`,
    );
  }
}
