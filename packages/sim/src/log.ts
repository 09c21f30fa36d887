import type { Log, LogLevel } from "@flocker/core";
import type { Incarnation } from "./node.ts";
import type { Scheduler } from "./scheduler.ts";

/** One line of a simulated log. */
export interface LogLine {
  readonly timeMs: number;
  readonly incarnation: string;
  readonly level: LogLevel;
  readonly event: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** The newest lines of all nodes' logs. */
export class LogBook {
  readonly #linesMax: number;
  readonly #lines: LogLine[] = [];

  constructor(linesMax: number) {
    this.#linesMax = linesMax;
  }

  add(line: LogLine): void {
    this.#lines.push(line);
    if (this.#lines.length >= 2 * this.#linesMax) this.#lines.splice(0, this.#lines.length - this.#linesMax);
  }

  /** Oldest first. */
  lines(): readonly LogLine[] {
    return this.#lines.slice(-this.#linesMax);
  }
}

/**
 * An incarnation's log: it goes into the book, and into the trace (so a log that differs between runs is
 * noticed).
 */
export function simLog(
  incarnation: Incarnation,
  scheduler: Scheduler,
  book: LogBook,
  carried: Readonly<Record<string, unknown>> = {},
): Log {
  return {
    write: (level, event, fields) => {
      if (!incarnation.alive) return;
      const all = { ...carried, ...fields };
      book.add({ timeMs: scheduler.elapsedMs, incarnation: incarnation.name, level, event, fields: all });
      scheduler.note(`${incarnation.name} ${level} ${event} ${render(all)}`);
    },
    with: (fields) => simLog(incarnation, scheduler, book, { ...carried, ...fields }),
  };
}

/** Errors have no enumerable fields, so JSON alone would show them as nothing. */
function render(fields: Readonly<Record<string, unknown>>): string {
  return JSON.stringify(fields, (_key, value: unknown) =>
    value instanceof Error ? `${value.name}: ${value.message}` : value,
  );
}
