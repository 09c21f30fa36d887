import { assert, parseNodeId } from "@flocker/core";
import type { Abort, Clock, Era, Milliseconds, NodeId } from "@flocker/core";
import { Counters } from "./counters.ts";
import type { SeededRandom } from "./random.ts";
import type { Cancel, Scheduler } from "./scheduler.ts";

/**
 * What goes down: only the program (as with `kill -9`; mounts stay, the kernel ends its connections), or the
 * whole machine (mounts are gone, the other ends of its connections hear nothing, and the era is a new one).
 */
export type CrashKind = "program" | "machine";

/** Where a node crashes by itself: see {@link SimNode.crashAtEffect}. */
export interface CrashPoint {
  /** Which effect from now on, the next one being 1. */
  readonly effect: number;
  readonly kind: CrashKind;
  /** Whether that effect still happens; its answer is lost in any case. */
  readonly done: boolean;
}

/**
 * One start of a node's programs. What runs cannot be killed, so a crash makes everything that an incarnation
 * holds silent instead: promises never settle, effects have no effect, and the garbage collector takes the
 * rest.
 */
export class Incarnation {
  readonly node: SimNode;
  readonly number: number;
  readonly #scheduler: Scheduler;
  readonly #inFlight = new Set<() => void>();
  readonly #onDown = new Set<(kind: CrashKind) => void>();
  #alive = true;

  constructor(node: SimNode, scheduler: Scheduler, number: number) {
    this.node = node;
    this.#scheduler = scheduler;
    this.number = number;
  }

  get alive(): boolean {
    return this.#alive;
  }

  get name(): string {
    return `${this.node.name}#${this.number}`;
  }

  /** Calls this incarnation's code with something new: at once, at the resume of a paused node, or never. */
  deliver(happen: () => void): void {
    if (!this.#alive) return;
    if (this.node.holdsBack) this.node.holdBack(this, happen);
    else happen();
  }

  /** Calls this incarnation's code after that simulated time. */
  after(delayMs: Milliseconds, label: string, happen: () => void): Cancel {
    if (!this.#alive) return () => {};
    let cancelled = false;
    const cancel = this.#scheduler.after(delayMs, `${this.name} ${label}`, () => {
      // It may be held back by a pause and cancelled only then.
      this.deliver(() => {
        if (!cancelled) happen();
      });
    });
    return () => {
      cancelled = true;
      cancel();
    };
  }

  /**
   * Does something that others can see or that outlives a crash, unless this incarnation is down. A crash
   * point may lie here. Undefined where the code that asked will never hear of it.
   */
  perform<Value>(label: string, effect: () => Value): { readonly value: Value } | undefined {
    if (!this.#alive) return undefined;
    const point = this.node.countEffect();
    if (point === null) return { value: effect() };
    this.#scheduler.note(`${this.name} crash point at ${label}, ${point.done ? "done" : "not done"}`);
    if (point.done) effect();
    this.node.crash(point.kind);
    return undefined;
  }

  /**
   * Does an effect after that simulated time and hands its value back after another one. A crash in between
   * leaves it to the seed whether the effect still happens; a paused node's effects happen, and only the
   * answers wait.
   */
  performAfter<Value>(
    label: string,
    delays: { readonly effectMs: Milliseconds; readonly answerMs: Milliseconds },
    effect: () => Value,
    answer: (value: Value) => void,
  ): void {
    if (!this.#alive) return;
    const atCrash = (): void => {
      const done = this.#scheduler.random.chance(0.5);
      this.#scheduler.note(`${this.name} ${label} in flight at the crash: ${done ? "done" : "not done"}`);
      if (done) effect();
    };
    this.#inFlight.add(atCrash);
    this.#scheduler.after(delays.effectMs, `${this.name} ${label}`, () => {
      if (!this.#inFlight.delete(atCrash)) return;
      const outcome = this.perform(label, effect);
      if (outcome === undefined) return;
      this.after(delays.answerMs, `${label} answered`, () => answer(outcome.value));
    });
  }

  /** Calls back when this incarnation goes down. Returns what ends it. */
  onDown(listener: (kind: CrashKind) => void): () => void {
    this.#onDown.add(listener);
    return () => this.#onDown.delete(listener);
  }

  /** Only for {@link SimNode.crash}. */
  goDown(kind: CrashKind): void {
    this.#alive = false;
    const inFlight = [...this.#inFlight];
    this.#inFlight.clear();
    for (const atCrash of inFlight) atCrash();
    for (const listener of this.#onDown) listener(kind);
    this.#onDown.clear();
  }
}

/** One machine of the simulation: what is durable on it, and the incarnation that runs now. */
export class SimNode {
  readonly name: string;
  readonly id: NodeId;
  readonly counters: Counters = new Counters();
  readonly #scheduler: Scheduler;
  readonly #random: SeededRandom;
  readonly #onMachineDown: (() => void)[] = [];
  readonly #onPauseChange: (() => void)[] = [];
  #heldBack: { readonly incarnation: Incarnation; readonly happen: () => void }[] = [];
  #incarnation: Incarnation;
  #era: Era;
  #skewMs = 0;
  #paused = false;
  #effectCount = 0;
  #crashPoint: CrashPoint | null = null;

  constructor(name: string, scheduler: Scheduler) {
    this.name = name;
    this.#scheduler = scheduler;
    this.#random = scheduler.random.fork(`node/${name}`);
    const id = parseNodeId(this.#random.uuid());
    assert(id !== undefined, "seeded ids are version 4 uuids");
    this.id = id;
    this.#era = this.#random.uuid() as Era;
    this.#incarnation = new Incarnation(this, scheduler, 1);
  }

  get incarnation(): Incarnation {
    return this.#incarnation;
  }

  /** The boot id: it changes when the machine, not only the program, has crashed. */
  get era(): Era {
    return this.#era;
  }

  get alive(): boolean {
    return this.#incarnation.alive;
  }

  get paused(): boolean {
    return this.#paused;
  }

  /** How many effects this node's programs have had: see {@link SimNode.crashAtEffect}. */
  get effectCount(): number {
    return this.#effectCount;
  }

  /** How far this node's clock is ahead of the exact one. */
  get skewMs(): Milliseconds {
    return this.#skewMs;
  }

  /** Ends the programs (and with "machine", the machine) at once. What they hold goes silent. */
  crash(kind: CrashKind = "program"): void {
    assert(this.#incarnation.alive, `a crash of ${this.name} finds it running`);
    this.#crashPoint = null;
    this.#scheduler.note(`${this.#incarnation.name} crash of the ${kind}`);
    this.#paused = false;
    this.#heldBack = [];
    if (kind === "machine") {
      this.#era = this.#random.uuid() as Era;
      for (const listener of this.#onMachineDown) listener();
    }
    this.#incarnation.goDown(kind);
    for (const listener of this.#onPauseChange) listener();
  }

  /** A fresh incarnation over what is durable. The caller starts the programs again on its ports. */
  restart(): Incarnation {
    assert(!this.#incarnation.alive, `a restart of ${this.name} finds it down`);
    this.#incarnation = new Incarnation(this, this.#scheduler, this.#incarnation.number + 1);
    this.#scheduler.note(`${this.#incarnation.name} starts`);
    return this.#incarnation;
  }

  /**
   * Lets the node crash by itself at one of its next effects (a write to its store, a step of its backend, a
   * message, a request or an answer to another node). Counting the effects of a run first and then crashing
   * at each of them in turn covers every moment at which a crash can make a difference. Null takes back a
   * crash that has not come yet.
   */
  crashAtEffect(point: CrashPoint | null): void {
    if (point === null) {
      this.#crashPoint = null;
      return;
    }
    assert(Number.isSafeInteger(point.effect) && point.effect >= 1, "the next effect is number 1");
    this.#crashPoint = { ...point, effect: this.#effectCount + point.effect };
  }

  /** Stops the programs as SIGSTOP does: nothing reaches them until the resume. */
  pause(): void {
    assert(this.alive, `a pause of ${this.name} finds it running`);
    this.#scheduler.note(`${this.name} pause`);
    this.#paused = true;
    for (const listener of this.#onPauseChange) listener();
  }

  /** What has been held back by the pause now arrives, one by one and in its order. */
  resume(): void {
    if (!this.#paused) return;
    this.#scheduler.note(`${this.name} resume`);
    this.#paused = false;
    for (const listener of this.#onPauseChange) listener();
    this.#deliverHeldBack();
  }

  /** Lets the clock's `now` jump, forwards or backwards; `monotonic` and sleeps do not notice. */
  jumpClock(byMs: Milliseconds): void {
    this.#scheduler.note(`${this.name} clock jumps by ${byMs} ms`);
    this.#skewMs += byMs;
  }

  /** Whether what arrives now must queue up behind a pause. */
  get holdsBack(): boolean {
    return this.#paused || this.#heldBack.length > 0;
  }

  /** Only for {@link Incarnation.deliver}. */
  holdBack(incarnation: Incarnation, happen: () => void): void {
    this.#heldBack.push({ incarnation, happen });
  }

  /** Only for {@link Incarnation.perform}: the crash point if it lies here. */
  countEffect(): CrashPoint | null {
    this.#effectCount += 1;
    return this.#crashPoint?.effect === this.#effectCount ? this.#crashPoint : null;
  }

  /** Calls back when the machine has gone down, before anything else hears of it. */
  onMachineDown(listener: () => void): void {
    this.#onMachineDown.push(listener);
  }

  /** Calls back after each pause, resume and crash. */
  onPauseChange(listener: () => void): void {
    this.#onPauseChange.push(listener);
  }

  #deliverHeldBack(): void {
    if (this.#heldBack.length === 0) return;
    this.#scheduler.after(0, `${this.name} takes in what the pause held back`, () => {
      if (this.#paused) return;
      const next = this.#heldBack.shift();
      if (next?.incarnation.alive === true) next.happen();
      this.#deliverHeldBack();
    });
  }
}

/**
 * An incarnation's clock. Both times are whole milliseconds: with fractions, a sum of two times is not exact,
 * and who sleeps until one can wake just before it.
 */
export function simClock(incarnation: Incarnation, scheduler: Scheduler): Clock {
  const startedAtMs = Math.floor(scheduler.elapsedMs);
  return {
    now: () => scheduler.wallMs + incarnation.node.skewMs,
    monotonic: () => Math.floor(scheduler.elapsedMs) - startedAtMs,
    sleep: (ms, abort) => sleep(incarnation, ms, abort),
  };
}

function sleep(incarnation: Incarnation, ms: Milliseconds, abort: Abort | undefined): Promise<void> {
  assert(!Number.isNaN(ms), "a sleep has a length");
  return new Promise((resolve) => {
    if (!incarnation.alive) return;
    if (abort?.aborted === true) {
      resolve();
      return;
    }
    const onAbort = (): void => {
      wake();
      if (incarnation.alive) resolve();
    };
    const wake = incarnation.after(Math.max(0, ms), "wakes", () => {
      abort?.removeEventListener("abort", onAbort);
      resolve();
    });
    abort?.addEventListener("abort", onAbort, { once: true });
  });
}
