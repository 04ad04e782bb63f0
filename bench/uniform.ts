/** Uniforms in [0, 1). Mulberry32: a few lines, the same numbers in every process. */
export function uniform(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The inputs of a comparison, which every process makes for itself: in [-1, 1), one after another. */
export function inputData(shapes: readonly (readonly number[])[]): Float32Array<ArrayBuffer>[] {
  const next = uniform(1);
  return shapes.map((shape) => {
    const data = new Float32Array(shape.reduce((n, extent) => n * extent, 1));
    for (let i = 0; i < data.length; i++) data[i] = 2 * next() - 1;
    return data;
  });
}

/** Outputs that are compared between processes. */
const CHECKED = 64;

/** Where an output of this length is looked at. */
export function sampled(length: number): number[] {
  const stride = Math.max(1, Math.floor(length / CHECKED));
  const indices: number[] = [];
  // not the same column of every row: a stride that divides the width would look at nothing else
  for (let i = 0; i < length; i += stride) {
    indices.push(Math.min(length - 1, i + (indices.length % Math.min(stride, 61))));
  }
  return indices;
}
