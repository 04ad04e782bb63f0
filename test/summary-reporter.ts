import type { Reporter, TestModule } from "vitest/node";

/**
 * Closes the run with one plain line, for people and for scripts: `N passed, M failed`. A file that
 * fails before its tests run, or an error outside any test, counts as a failure.
 */
export default class SummaryReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[]): void {
    let passed = 0;
    let failed = errors.length;
    for (const module of modules) {
      failed += module.errors().length;
      for (const suite of module.children.allSuites()) failed += suite.errors().length;
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        if (state === "passed") passed++;
        if (state === "failed") failed++;
      }
    }
    // after the default reporter's own closing lines, which it prints in this same hook
    setImmediate(() => console.log(`${passed} passed, ${failed} failed`));
  }
}
