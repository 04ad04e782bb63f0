import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, test } from "vitest";
import { expandWgsl, withoutComments } from "../scripts/wgsl.mjs";

test("texts ask adds() and has() what a call does without", () => {
  const files = readdirSync("wgsl", { recursive: true, encoding: "utf8" });
  const texts = files.filter((f) => f.endsWith(".wgsl") && !f.endsWith("optional.wgsl"));
  expect(texts.length).toBeGreaterThan(50);
  for (const f of texts)
    expect(readFileSync(join("wgsl", f), "utf8"), f).not.toMatch(
      /\bbeta\w* [!=]= 0|\bif \([^{]*\bpresent\b[^{]*=/,
    );
});

describe("expandWgsl", () => {
  let root: string;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "tilegrad-wgsl-"));
    mkdirSync(join(root, "lib"));
  });
  afterEach(() => rmSync(root, { recursive: true }));

  const expand = (files: Record<string, string>) => {
    for (const [name, text] of Object.entries(files)) writeFileSync(join(root, name), text);
    return expandWgsl(join(root, "x.wgsl"), root);
  };

  it("leaves a file without use lines as it is, behind its name", () => {
    const text = "// a\nfn f() {}\n";
    expect(expand({ "x.wgsl": text }).text).toBe(`//# x.wgsl:1\n${text}`);
  });

  it("includes each snippet once, recursively, with the way back to its lines", () => {
    const { text, files } = expand({
      "x.wgsl": "// head\n//! use b\n//! use a\nfn x() {}\n",
      "lib/a.wgsl": "fn a() {}\n",
      "lib/b.wgsl": "//! use a\nfn b() {}\n",
    });
    expect(text.split("\n")).toEqual([
      "//# x.wgsl:1",
      "// head",
      "//# lib/b.wgsl:1",
      "//# lib/a.wgsl:1",
      "fn a() {}",
      "//# lib/b.wgsl:2",
      "fn b() {}",
      "//# x.wgsl:3",
      "fn x() {}",
      "",
    ]);
    expect(files).toEqual(["x.wgsl", "lib/b.wgsl", "lib/a.wgsl"].map((name) => join(root, name)));
  });

  it("survives snippets that use each other", () => {
    const files = {
      "lib/a.wgsl": "//! use b\nfn a() {}\n",
      "lib/b.wgsl": "//! use a\nfn b() {}\n",
    };
    expect(expand({ "x.wgsl": "//! use a\n", ...files }).text).toMatch(/fn b.*fn a/s);
  });

  it("names file and line of a snippet that is not there", () => {
    expect(() => expand({ "x.wgsl": "\n//! use nope\n" })).toThrow('x.wgsl:2: no snippet "nope"');
  });

  it("names file and line of a use line it cannot read", () => {
    expect(() => expand({ "x.wgsl": "//! use a, b\n" })).toThrow("x.wgsl:1: expected");
  });
});

describe("withoutComments", () => {
  it("takes comments out of the lines they stand in, and leaves the markers", () => {
    const text =
      "//# x.wgsl:1\n// all of it\n  // and indented\nlet a = 1 / 2; // half\nfn f() {}\n";
    expect(withoutComments(text)).toBe("//# x.wgsl:1\n\n\nlet a = 1 / 2;\nfn f() {}\n");
  });
});
