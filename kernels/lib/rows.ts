import { type Case, type Dims, edges, grid, linear } from "../../core/contract.ts";

// What the kernels over the rows of (R,C) share: how their work is cut, and the shapes they are tested at.

/** On WebGPU: a workgroup a row. */
export const rowGrid = ({ R }: Dims) => linear(R, 1);
/** On wasm: tiles of 8 rows, ROWS of wasm/lib/row.ts. */
export const rowTiles = { tiles: ({ R }: Dims) => Math.ceil(R / 8) };

/** Sums over rows: a thread a column, and tiles of 64 columns. */
export const columnGrid = ({ C }: Dims) => linear(C);
export const columnTiles = { tiles: ({ C }: Dims) => Math.ceil(C / 64) };

/** Rows on the edges of a tile, columns on those of a vector and of a tile. */
export const rowCases = (): Case[] =>
  grid({ R: [[1], [9], [2, 5], []], C: [...edges(4), 63, 64, 65, 130] });

/** Fill of a reciprocal standard deviation. */
export const positiveFill = (u: number): number => 0.5 + u;
