import cliProgress from "cli-progress";

/** How a long command says where it is. On stderr, so that stdout holds nothing but results. */
export interface Progress {
  update(label: string, done: number, total: number): void;
  /** A line of its own, above the bar where there is one. */
  note(line: string): void;
  /** Leaves the terminal as it was. */
  stop(): void;
}

export const openProgress = (): Progress => (process.stderr.isTTY ? new Bars() : new Lines());

/** One bar at a time; a label that is through leaves its full bar standing. */
class Bars implements Progress {
  #bar: cliProgress.SingleBar | undefined;

  update(label: string, done: number, total: number): void {
    if (!this.#bar) {
      this.#bar = new cliProgress.SingleBar(
        {
          stream: process.stderr,
          format: "{bar} {percentage}% | {label} | {value}/{total} | {duration_formatted}",
          barsize: 24,
          hideCursor: true,
          // Ctrl-C is for the command to handle: it stops the bar as well
          gracefulExit: false,
        },
        cliProgress.Presets.shades_classic,
      );
      this.#bar.start(total, done, { label });
    }
    this.#bar.setTotal(total);
    this.#bar.update(done, { label });
    if (done >= total) this.stop();
  }

  note(line: string): void {
    this.stop();
    process.stderr.write(`${line}\n`);
  }

  stop(): void {
    this.#bar?.stop();
    this.#bar = undefined;
  }
}

/** Plain lines for logs: the start and the end of a label, and a sign of life in between. */
class Lines implements Progress {
  static readonly interval = 5000;
  #label = "";
  #printed = 0;

  update(label: string, done: number, total: number): void {
    const now = Date.now();
    const isNews = label !== this.#label || done >= total;
    if (!isNews && now - this.#printed < Lines.interval) return;
    this.#label = label;
    this.#printed = now;
    process.stderr.write(`${label}: ${done}/${total}\n`);
  }

  note(line: string): void {
    process.stderr.write(`${line}\n`);
  }

  stop(): void {}
}
