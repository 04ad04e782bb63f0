/** Small problems of the baselines in closed form, by enumeration: M objectives make 2^M faces, M <= 10. */

const EPS = 1e-12;

export const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  let s = 0;
  for (let i = 0; i < a.length; i++) s += a[i] * b[i];
  return s;
};

export const apply = (A: readonly (readonly number[])[], x: readonly number[]): number[] =>
  A.map((row) => dot(row, x));

/** A B Aᵀ for B symmetric. */
export const congruent = (
  A: readonly (readonly number[])[],
  B: readonly (readonly number[])[],
): number[][] => {
  const AB = A.map((row) => apply(B, [...row]));
  return AB.map((row) => A.map((other) => dot(row, other)));
};

/** x with A x = b by Gaussian elimination with pivoting; undefined where A is singular. */
export function linearSolve(
  A: readonly (readonly number[])[],
  b: readonly number[],
): number[] | undefined {
  const n = b.length;
  const rows = A.map((row, i) => [...row, b[i]]);
  const size = Math.max(...rows.flat().map(Math.abs), EPS);
  for (let k = 0; k < n; k++) {
    let at = k;
    for (let i = k + 1; i < n; i++) if (Math.abs(rows[i][k]) > Math.abs(rows[at][k])) at = i;
    if (Math.abs(rows[at][k]) < EPS * size) return undefined;
    [rows[k], rows[at]] = [rows[at], rows[k]];
    for (let i = k + 1; i < n; i++) {
      const f = rows[i][k] / rows[k][k];
      for (let j = k; j <= n; j++) rows[i][j] -= f * rows[k][j];
    }
  }
  const x = new Array<number>(n).fill(0);
  for (let k = n - 1; k >= 0; k--) {
    let s = rows[k][n];
    for (let j = k + 1; j < n; j++) s -= rows[k][j] * x[j];
    x[k] = s / rows[k][k];
  }
  return x;
}

/** Every non-empty subset of 0 … n−1. */
function* supports(n: number): Generator<number[]> {
  for (let mask = 1; mask < 1 << n; mask++)
    yield Array.from({ length: n }, (_, i) => i).filter((i) => mask & (1 << i));
}

/**
 * argmin ½ βᵀQβ − cᵀβ over the simplex, Q positive semidefinite; with `half` also aᵀβ >= b. undefined
 * where nothing is feasible. The best stationary point of all faces is the minimiser.
 */
export function simplexQp(
  Q: readonly (readonly number[])[],
  c: readonly number[] = Q.map(() => 0),
  half?: { readonly a: readonly number[]; readonly b: number },
): number[] | undefined {
  const n = Q.length;
  let best: number[] | undefined;
  let least = Number.POSITIVE_INFINITY;
  // A ridge far below what is measured tells apart the minimisers of a flat face.
  const ridge = 1e-12 * Math.max(...Q.map((row, i) => row[i]), EPS);
  const slack = 1e-9 * (1 + Math.abs(half?.b ?? 0));
  for (const S of supports(n)) {
    for (const active of half ? [false, true] : [false]) {
      const equal = [S.map(() => 1), ...(active && half ? [S.map((i) => half.a[i])] : [])];
      const k = S.length;
      const A = [
        ...S.map((i, p) => [
          ...S.map((j, q) => Q[i][j] + (p === q ? ridge : 0)),
          ...equal.map((e) => e[p]),
        ]),
        ...equal.map((e) => [...e, ...equal.map(() => 0)]),
      ];
      const z = linearSolve(A, [...S.map((i) => c[i]), 1, ...(active && half ? [half.b] : [])]);
      if (!z || z.slice(0, k).some((v) => v < -1e-10)) continue;
      const beta = new Array<number>(n).fill(0);
      S.forEach((i, p) => {
        beta[i] = Math.max(0, z[p]);
      });
      if (half && dot(half.a, beta) < half.b - slack) continue;
      const value = dot(beta, apply(Q, beta)) / 2 - dot(c, beta);
      if (value < least) {
        least = value;
        best = beta;
      }
    }
  }
  return best;
}

/** The weights of the shortest vector in the convex hull of gradients with Gram matrix C (MGDA). */
export const minNorm = (C: readonly (readonly number[])[]): number[] => simplexQp(C) as number[];

/** argmin ½ λᵀQλ − cᵀλ over λ >= 0, Q positive semidefinite; undefined where it is unbounded. */
export function nonNegativeQp(
  Q: readonly (readonly number[])[],
  c: readonly number[],
): number[] | undefined {
  const n = Q.length;
  const zero = new Array<number>(n).fill(0);
  if (c.every((v) => v <= 0)) return zero;
  for (const S of supports(n)) {
    const z = linearSolve(
      S.map((i) => S.map((j) => Q[i][j])),
      S.map((i) => c[i]),
    );
    if (!z || z.some((v) => v < 0)) continue;
    const lambda = [...zero];
    S.forEach((i, p) => {
      lambda[i] = z[p];
    });
    const slope = apply(Q, lambda);
    if (slope.every((v, i) => v - c[i] >= -1e-9 * (1 + Math.abs(c[i])))) return lambda;
  }
  return undefined;
}

/** argmax cᵀβ over the simplex with (Gβ)_j >= h_j, by its vertices; undefined where nothing is feasible. */
export function simplexLp(
  c: readonly number[],
  G: readonly (readonly number[])[],
  h: readonly number[],
): number[] | undefined {
  const n = c.length;
  const unit = (i: number) => c.map((_, j) => Number(i === j));
  const faces = [
    ...c.map((_, i) => ({ a: unit(i), b: 0 })),
    ...G.map((a, j) => ({ a: [...a], b: h[j] })).filter(({ b }) => Number.isFinite(b)),
  ];
  let best: number[] | undefined;
  let most = Number.NEGATIVE_INFINITY;
  const vertex = (tight: number[], from: number) => {
    if (tight.length < n - 1) {
      for (let i = from; i < faces.length; i++) vertex([...tight, i], i + 1);
      return;
    }
    const rows = [c.map(() => 1), ...tight.map((i) => faces[i].a)];
    const beta = linearSolve(rows, [1, ...tight.map((i) => faces[i].b)]);
    if (!beta) return;
    for (const { a, b } of faces) {
      const size = 1 + Math.abs(b) + Math.max(...a.map(Math.abs));
      if (dot(a, beta) < b - 1e-9 * size) return;
    }
    const value = dot(c, beta);
    if (value > most) {
      most = value;
      best = beta;
    }
  };
  vertex([], 0);
  return best;
}

/** The area that points of two objectives dominate below `reference`. */
export function hypervolume(
  points: readonly (readonly number[])[],
  reference: readonly number[],
): number {
  const inside = points
    .filter((p) => p.every((f, m) => f < reference[m]))
    .sort((a, b) => a[0] - b[0]);
  let [area, height] = [0, reference[1]];
  for (const [f1, f2] of inside) {
    if (f2 >= height) continue;
    area += (reference[0] - f1) * (height - f2);
    height = f2;
  }
  return area;
}
