import { type Shape, sameShape, sizeOf } from "./tensor.ts";

// Shapes in words: "*B M N" is a run of any number of leading axes B, then M and N; a number is itself.

/** Extents by letter, e.g. {M: 64, N: 128}. A run `*B` has the product of its axes under `B`. */
export type Dims = Record<string, number>;
/** The axes behind each run letter, e.g. {B: [2, 3]}. */
export type Runs = Record<string, number[]>;

const parsed = new Map<string, { run: string | undefined; axes: string[] }>();

/** "*B M N" -> a run of leading axes B, then M and N. Numbers stand for themselves. */
export function parseShape(text: string) {
  let s = parsed.get(text);
  if (!s) {
    const tokens = text.split(" ").filter((t) => t);
    const run = tokens[0]?.startsWith("*") ? tokens.shift()?.slice(1) : undefined;
    s = { run, axes: tokens };
    parsed.set(text, s);
  }
  return s;
}

export const tuple = (s: readonly (string | number)[]): string => `(${s.join(",")})`;

/** What the contract asks of one argument, with the extents known so far filled in. */
export function expected(text: string, d: Dims, runs: Runs): string {
  const { run, axes } = parseShape(text);
  const names = [...(run ? [`*${run}`] : []), ...axes];
  const known = [
    ...(run ? (runs[run] ?? [`*${run}`]) : []),
    ...axes.map((t) => (/^\d+$/.test(t) ? t : (d[t] ?? t))),
  ];
  const [named, filled] = [tuple(names), tuple(known)];
  return named === filled ? named : `${named}=${filled}`;
}

/** Matches a shape against its text, binding letters that are still free. False: does not fit. */
export function match(text: string, shape: Shape, d: Dims, runs: Runs): boolean {
  const { run, axes } = parseShape(text);
  const lead = shape.length - axes.length;
  if (lead < 0 || (lead > 0 && !run)) return false;
  const bound: [string, number][] = [];
  for (let i = 0; i < axes.length; i++) {
    const t = axes[i];
    const want = /^\d+$/.test(t) ? Number(t) : (d[t] ?? bound.find(([k]) => k === t)?.[1]);
    if (want === undefined) bound.push([t, shape[lead + i]]);
    else if (want !== shape[lead + i]) return false;
  }
  if (run) {
    const axesOfRun = shape.slice(0, lead);
    if (runs[run] && !sameShape(runs[run], axesOfRun)) return false;
    runs[run] = axesOfRun;
    d[run] = sizeOf(axesOfRun);
  }
  for (const [k, v] of bound) d[k] = v;
  return true;
}
