/**
 * A number that a captured step reads afresh at every replay (a learning rate, a step counter).
 * Anywhere else it stands for its present value.
 */
export class Scalar {
  value: number;
  readonly name: string;

  constructor(name: string, value: number) {
    this.name = name;
    this.value = value;
  }
}
