import type { CopyCall } from "./backend.ts";
import type { Call } from "./contract.ts";
import type { TilegradError } from "./errors.ts";
import { type GpuMemory, memoryOf } from "./webgpu-memory.ts";
import { isWritten } from "./webgpu-variant.ts";

/** What changed memory: a kernel, a copy, or the host. */
export type Event = Call | CopyCall | { readonly host: GpuMemory };

interface Submission {
  readonly events: readonly Event[];
  pending: boolean;
}

/**
 * The submissions whose errors are not all in yet, oldest first. When one turns out to have failed, they
 * tell what later work made of its results, and with that which tensors hold none.
 */
export class Journal {
  #submissions: Submission[] = [];

  open(events: readonly Event[]): Submission {
    const s = { events, pending: true };
    this.#submissions.push(s);
    return s;
  }

  /** Notes a write by the host, between submissions. */
  host(m: GpuMemory): void {
    if (this.#submissions.length) this.#submissions.push({ events: [{ host: m }], pending: false });
  }

  close(s: Submission): void {
    s.pending = false;
    while (this.#submissions[0]?.pending === false) this.#submissions.shift();
  }

  /** Marks what `s` was to write, and what has been computed from that. */
  fail(s: Submission, e: TilegradError): void {
    const spoilt = new Set<GpuMemory>();
    for (const other of this.#submissions.slice(this.#submissions.indexOf(s))) {
      for (const event of other.events) {
        if ("host" in event) {
          spoilt.delete(event.host);
          continue;
        }
        const { reads, writes } = accesses(event);
        const bad = other === s || reads.some((m) => spoilt.has(m));
        for (const m of writes) {
          if (bad) spoilt.add(m);
          else if (!reads.includes(m)) spoilt.delete(m);
        }
      }
    }
    for (const m of spoilt) m.failure ??= e;
  }
}

function accesses(event: Call | CopyCall): { reads: GpuMemory[]; writes: GpuMemory[] } {
  if (!("spec" in event)) return { reads: [memoryOf(event.src)], writes: [memoryOf(event.dst)] };
  const reads: GpuMemory[] = [];
  const writes: GpuMemory[] = [];
  event.spec.args.forEach((a, i) => {
    const t = event.tensors[i];
    if (!t) return;
    // What is accumulated onto counts as read: a part of a slab leaves the other parts as they were.
    if (a.role !== "out") reads.push(memoryOf(t));
    if (isWritten(a)) writes.push(memoryOf(t));
  });
  return { reads, writes };
}

/** The kernels of a submission, each once. */
export function nameAll(events: readonly Event[]): string {
  const names = events.map((e) => ("spec" in e ? e.spec.name : "dst" in e ? "copy" : ""));
  const all = [...new Set(names.filter((n) => n))];
  return `${all.slice(0, 8).join(", ")}${all.length > 8 ? ", …" : ""}` || "a copy";
}
