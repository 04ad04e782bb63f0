import {
  type Case,
  type Dims,
  edges,
  grid,
  linear,
  type WebgpuVariant,
} from "../../core/contract.ts";

// What the kernels over the rows of (R,C) share: how their work is cut, and the shapes they are tested at.

/** On WebGPU: a workgroup a row. */
export const rowGrid = ({ R }: Dims) => linear(R, 1);
/** On wasm: tiles of 8 rows, ROWS of wasm/lib/row.ts. */
export const rowTiles = { tiles: ({ R }: Dims) => Math.ceil(R / 8) };

/**
 * For adapters that run on the CPU: a thread a row of whole blocks of sixteen numbers. There a
 * workgroup's barriers cost more than its row; few rows are a workgroup's all the same.
 */
export const threadRows = (source: string): WebgpuVariant => ({
  name: "rows",
  source,
  when: ({ C }) => C > 0 && C % 16 === 0,
  prefer: ({ R }, _p, c) => c.software && R >= 8,
  grid: ({ R }) => linear(R),
});

/**
 * A thread a row, where a workgroup would leave most of its threads idle, or has barriers on a CPU. One sum
 * of a long row would lose digits.
 */
export const shortRows = (source: string): WebgpuVariant => ({
  name: "short",
  source,
  when: ({ C }) => C <= 1024,
  prefer: ({ R, C }, _p, c) => C <= 32 || (c.software && R >= 8),
  grid: ({ R }) => linear(R),
});

// Long rows in slices of 4096 numbers: SLICE of the WGSL, whose 64 threads leave two numbers each.
export const sliceGrid = ({ R, C }: Dims) => linear(R * Math.ceil(C / 4096), 1);
/** Two numbers a thread of each slice, and two a row. */
export const sliceBytes = ({ R, C }: Dims) => 8 * R * (64 * Math.ceil(C / 4096) + 1);
/** Elementwise along rows: a workgroup 1,024 numbers of a row, RUN of the WGSL. */
export const runGrid = ({ R, C }: Dims) => linear(R * Math.ceil(C / 1024), 1);
/** Where a workgroup a row would leave most of a GPU idle; the few cores of a CPU it does not. */
export const fewLongRows: NonNullable<WebgpuVariant["prefer"]> = ({ R, C }, _p, c) =>
  !c.software && R < 256 && C >= 16384;

/** Sums over rows: a thread a column, and tiles of 64 columns. */
export const columnGrid = ({ C }: Dims) => linear(C);
/**
 * Where a thread a column would leave most of a GPU idle: chunks of 64 rows, CHUNK of the WGSL, leave
 * their sums in scratch, and the pass `sum` adds those up in order.
 */
export const splitColumns = (
  source: string,
  sum: string,
  scratch: NonNullable<WebgpuVariant["scratch"]>,
): WebgpuVariant => ({
  name: "split",
  source,
  prefer: ({ R }, _p, c) => !c.software && R >= 256,
  grid: ({ R, C }) => linear(C * Math.ceil(R / 64)),
  scratch,
  further: [{ entry: sum, grid: columnGrid }],
});
export const columnTiles = { tiles: ({ C }: Dims) => Math.ceil(C / 64) };

/** Rows on the edges of a tile, columns on those of a vector and of a tile. */
export const rowCases = (): Case[] => [
  ...grid({ R: [[1], [9], [2, 5], []], C: [...edges(4), 63, 64, 65, 130, 16, 48] }),
  { dims: { R: [150], C: 5 } },
];

/** Fill of a reciprocal standard deviation. */
export const positiveFill = (u: number): number => 0.5 + u;
