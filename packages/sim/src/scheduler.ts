import { assert } from "@flocker/core";
import type { Milliseconds } from "@flocker/core";
import { EventQueue } from "./event-queue.ts";
import { fingerprint, formatFingerprint } from "./fingerprint.ts";
import type { Fingerprint } from "./fingerprint.ts";
import { seededRandom } from "./random.ts";
import type { SeededRandom } from "./random.ts";

/**
 * A simulation that went wrong, with what is needed to see it again: the seed, and the last lines of the
 * trace.
 */
export class SimulationError extends Error {
  override readonly name = "SimulationError";
}

/** What a scheduler starts with. */
export interface SchedulerOptions {
  readonly seed: number | bigint | string;
  /** What the clocks show when the simulation begins. */
  readonly startsAtMs: Milliseconds;
  /** More events than this are taken for an endless loop. */
  readonly eventsMax: number;
  /** How many lines of the trace are kept for the report of a failure. */
  readonly traceLinesMax: number;
}

/** How far a run may go before a condition that has not come true is a failure. */
export interface RunOptions {
  /** Simulated time that the condition may take. */
  readonly withinMs?: Milliseconds;
  /** What is waited for, for the message of the failure. */
  readonly waitingFor?: string;
}

/** Ends an event before it has happened; afterwards it does nothing. */
export type Cancel = () => void;

const lineLengthMax = 400;

/**
 * The one queue of events that all simulated time comes from. An event happens, then everything it set free
 * in promises runs to its end, and only then comes the next one: that makes a run a function of its seed.
 */
export class Scheduler {
  readonly seed: string;
  readonly random: SeededRandom;
  readonly #options: SchedulerOptions;
  readonly #queue = new EventQueue();
  readonly #tieBreaks: SeededRandom;
  readonly #checks: { readonly name: string; readonly check: () => string | undefined }[] = [];
  readonly #recentLines: string[] = [];
  #traceHash: Fingerprint = fingerprint("");
  #timeMs = 0;
  #sequence = 0;
  #eventCount = 0;
  #failure: { readonly error: unknown } | null = null;
  #running = false;
  #onScheduled: (() => void) | null = null;

  constructor(options: SchedulerOptions) {
    this.seed = String(options.seed);
    this.random = seededRandom(this.seed);
    this.#tieBreaks = this.random.fork("tie-breaks");
    this.#options = options;
  }

  /** Simulated milliseconds since the beginning, with fractions. */
  get elapsedMs(): Milliseconds {
    return this.#timeMs;
  }

  /** What an exact clock shows: whole milliseconds since 1970. */
  get wallMs(): Milliseconds {
    return Math.floor(this.#options.startsAtMs + this.#timeMs);
  }

  get eventCount(): number {
    return this.#eventCount;
  }

  /** Lets something happen after that simulated time. */
  after(delayMs: Milliseconds, label: string, happen: () => void): Cancel {
    assert(delayMs >= 0, "an event lies in the future");
    if (delayMs === Infinity) return () => {};
    this.#sequence += 1;
    const event = {
      timeMs: this.#timeMs + delayMs,
      tieBreak: this.#tieBreaks.next(),
      sequence: this.#sequence,
      label,
      happen,
      cancelled: false,
    };
    this.#queue.push(event);
    this.#onScheduled?.();
    return () => this.#queue.cancel(event);
  }

  /** Adds a line to the trace, and so to its hash. */
  note(line: string): void {
    const text = `${this.#timeMs.toFixed(3)} ${line}`;
    this.#traceHash = fingerprint(text, this.#traceHash);
    this.#recentLines.push(text.length > lineLengthMax ? `${text.slice(0, lineLengthMax)}…` : text);
    // Dropping half at a time costs less than shifting at each line.
    if (this.#recentLines.length >= 2 * this.#options.traceLinesMax) {
      this.#recentLines.splice(0, this.#recentLines.length - this.#options.traceLinesMax);
    }
  }

  /**
   * A hash over all that has happened: equal for two runs of the same seed, or something is not
   * deterministic.
   */
  traceHash(): string {
    return formatFingerprint(this.#traceHash);
  }

  /** The last lines of the trace, oldest first. */
  recentTrace(): readonly string[] {
    return this.#recentLines.slice(-this.#options.traceLinesMax);
  }

  /** Checks after each event that something holds: the check answers what is wrong, or undefined. */
  addCheck(name: string, check: () => string | undefined): void {
    this.#checks.push({ name, check });
  }

  /**
   * Ends the run under way (or the next one) with this error: a program of the simulation has made a mistake.
   */
  fail(error: unknown): void {
    this.#failure ??= { error };
  }

  /**
   * Lets simulated time pass: up to that many milliseconds since the beginning, or until a condition holds,
   * which is looked at after each event. Fails where the condition has not come true in time or never can.
   */
  async run(until: Milliseconds | (() => boolean), options: RunOptions = {}): Promise<void> {
    assert(!this.#running, "a simulation is run once at a time");
    this.#running = true;
    try {
      await settleMicrotasks();
      this.#judge();
      if (typeof until === "number") await this.#runTo(until);
      else await this.#runUntil(until, options);
    } finally {
      this.#running = false;
    }
  }

  /** Runs until the promise has settled, and answers what it answers. */
  async settle<Value>(promise: Promise<Value>, options: RunOptions = {}): Promise<Value> {
    let settled = false;
    const done = (): void => {
      settled = true;
    };
    promise.then(done, done);
    await this.run(() => settled, { waitingFor: "a promise to settle", ...options });
    return promise;
  }

  /**
   * Runs events whenever there are some, until the answer is called: for code that awaits the ports and knows
   * nothing of simulated time, such as a conformance suite. `onFailure` gets what `run` would throw.
   */
  drive(onFailure: (error: unknown) => void): () => void {
    assert(!this.#running, "a simulation is run once at a time");
    this.#running = true;
    let stopped = false;
    let wake = (): void => {};
    this.#onScheduled = () => wake();
    const loop = async (): Promise<void> => {
      while (!stopped) {
        await settleMicrotasks();
        this.#judge();
        if (!stopped && !(await this.#step(Infinity)) && !stopped) {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      }
    };
    loop().catch(onFailure);
    return () => {
      stopped = true;
      this.#running = false;
      this.#onScheduled = null;
      wake();
    };
  }

  async #runTo(timeMs: Milliseconds): Promise<void> {
    assert(timeMs >= this.#timeMs, "a simulation runs forwards");
    while (await this.#step(timeMs));
    this.#timeMs = timeMs;
  }

  async #runUntil(condition: () => boolean, options: RunOptions): Promise<void> {
    const { withinMs = 3_600_000, waitingFor = "the condition" } = options;
    const lastMs = this.#timeMs + withinMs;
    while (!condition()) {
      if (await this.#step(lastMs)) continue;
      const why =
        this.#queue.size === 0
          ? "nothing is left that could happen"
          : `${withinMs} ms of simulated time are over`;
      throw this.#error(`Waiting for ${waitingFor}: ${why}.`);
    }
  }

  /** One event, if there is one that is due by then. */
  async #step(lastMs: Milliseconds): Promise<boolean> {
    const nextMs = this.#queue.nextTimeMs();
    if (nextMs === undefined || nextMs > lastMs) return false;
    const event = this.#queue.pop();
    assert(event !== undefined, "a queue that has a next time has a next event");
    this.#timeMs = nextMs;
    this.#eventCount += 1;
    if (this.#eventCount > this.#options.eventsMax) {
      throw this.#error(`More than ${this.#options.eventsMax} events: this looks like an endless loop.`);
    }
    this.note(event.label);
    try {
      event.happen();
    } catch (error) {
      this.fail(error);
    }
    await settleMicrotasks();
    this.#judge();
    return true;
  }

  #judge(): void {
    for (const { name, check } of this.#checks) {
      const finding = check();
      if (finding !== undefined) throw this.#error(`${name}: ${finding}`);
    }
    if (this.#failure === null) return;
    const { error } = this.#failure;
    this.#failure = null;
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    throw this.#error(`A simulated program failed: ${text}`, error);
  }

  #error(message: string, cause?: unknown): SimulationError {
    const report = [
      message,
      `SEED=${this.seed} time=${this.#timeMs.toFixed(3)}ms event=${this.#eventCount} hash=${this.traceHash()}`,
      "The last lines of the trace:",
      ...this.recentTrace().map((line) => `  ${line}`),
    ];
    return new SimulationError(report.join("\n"), { cause });
  }
}

/**
 * Lets all promises that can settle do so. A macrotask starts only when no microtask is left, however long
 * the chains are; a fixed number of awaits would be a bet on their length.
 */
function settleMicrotasks(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
