declare module "quadprog" {
  /** R's solve.QP; arrays count from 1. */
  const qp: {
    solveQP(
      D: number[][],
      d: number[],
      A: number[][],
      b: number[],
      equalities: number,
    ): { solution: number[]; message: string };
  };
  export default qp;
}
