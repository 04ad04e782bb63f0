import type { Backend } from "./backend.ts";

/** One claim of a paper, or one oracle, against what was measured. */
export interface Check {
  readonly name: string;
  /** The relation in words, with its source (§, Eq., table). */
  readonly claim: string;
  readonly value: number;
  /** The acceptance bound as text, e.g. "<= 0.01". */
  readonly bound: string;
  readonly pass: boolean;
}

/** A line chart: what the HTML report draws. */
export interface Chart {
  readonly title: string;
  readonly x: string;
  readonly y: string;
  readonly series: readonly {
    readonly name: string;
    readonly points: readonly (readonly [number, number])[];
  }[];
}

export interface Table {
  readonly title: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly (string | number)[])[];
}

export interface StudyResult {
  readonly checks: readonly Check[];
  readonly metrics: Readonly<Record<string, unknown>>;
  readonly charts?: readonly Chart[];
  readonly tables?: readonly Table[];
}

/** What `tilegrad run` hands to an algorithm's study. */
export interface StudyContext {
  readonly backend: Backend;
  readonly seed: number;
  /** Number of seeds to average over: seed, seed+1, … */
  readonly seeds: number;
  readonly size: "quick" | "default" | "full";
  /** Raised by Ctrl-C; long loops call `signal.throwIfAborted()`. */
  readonly signal: AbortSignal;
  progress(label: string, done: number, total: number): void;
  /**
   * Runs `body` once and remembers its JSON result in the checkpoint under `key`; a resumed study
   * gets the remembered result back. A body depends on nothing but the study's options, so an
   * interrupted one is simply run again and ends with the same numbers.
   */
  cell<T>(key: string, body: () => Promise<T>): Promise<T>;
}

export interface Study {
  readonly run: (ctx: StudyContext) => Promise<StudyResult>;
}

/** An entry of `algorithms/index.ts`; `load` is only called when the study is run. */
export interface StudyEntry {
  readonly name: string;
  readonly paper: string;
  readonly load: () => Promise<Study>;
}
