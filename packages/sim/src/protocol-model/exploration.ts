import { assert } from "@flocker/core";
import { StateTable } from "./state-table.ts";

/** A state that was made as a successor, with the rule that was broken on the way. */
export interface Made {
  readonly broken: string | undefined;
  settled(): readonly number[];
}

/**
 * Takes a successor: whether it comes by itself or only by a fault or a wish, and how people call the step.
 */
export type Emit = (made: Made, kind: "free" | "fault", label: () => string) => void;

/** What is explored: states are rows of numbers. */
export interface Explorable {
  initial(): readonly number[];
  successors(state: ArrayLike<number>, emit: Emit): void;
  isGoal(state: ArrayLike<number>): boolean;
}

export interface ExplorationOptions {
  /** More states than that are not visited; then the result says so. */
  readonly statesMaximum?: number;
  /** Called from time to time with the number of states so far. */
  readonly onProgress?: (states: number, depth: number) => void;
}

/** What an exploration has seen, in numbers of states and steps, and what it has found. */
export interface Exploration {
  readonly states: number;
  readonly transitions: number;
  /** The length of the longest of the shortest ways to a state. */
  readonly depth: number;
  readonly goals: number;
  /** Every reachable state has been visited. */
  readonly complete: boolean;
  /** The first rule that is broken, with the shortest way there; null where none is. */
  readonly finding: { readonly rule: string; readonly trace: readonly string[] } | null;
}

/**
 * Visits every reachable state, breadth first, so that a way to what is wrong is the shortest. When all rules
 * hold, it checks that from every state the world comes to a goal without further faults and wishes.
 */
export function explore(model: Explorable, options: ExplorationOptions = {}): Exploration {
  const { statesMaximum = Infinity, onProgress } = options;
  const table = new StateTable(model.initial());
  const edges = new Edges();
  let transitions = 0;
  let depth = 0;
  let endOfDepth = 1;
  for (let at = 0; at < table.size && table.size <= statesMaximum; at += 1) {
    if (at === endOfDepth) {
      depth += 1;
      endOfDepth = table.size;
      onProgress?.(table.size, depth);
    }
    let finding: { readonly rule: string; readonly last: string } | undefined;
    model.successors(table.at(at), (made, kind, label) => {
      transitions += 1;
      const next = table.add(made.settled(), at);
      if (kind === "free") edges.add(at, next);
      if (made.broken !== undefined) finding ??= { rule: made.broken, last: label() };
    });
    if (finding !== undefined) {
      const trace = [...traceTo(model, table, at), finding.last];
      const counts = { states: table.size, transitions, depth: depth + 1, goals: 0 };
      return { ...counts, complete: false, finding: { rule: finding.rule, trace } };
    }
  }
  const counts = { states: table.size, transitions, depth };
  if (table.size > statesMaximum) return { ...counts, goals: 0, complete: false, finding: null };
  return { ...counts, complete: true, ...convergence(model, table, edges) };
}

/** Looks for states that no goal can be reached from without further faults. */
function convergence(
  model: Explorable,
  table: StateTable,
  edges: Edges,
): Pick<Exploration, "goals" | "finding"> {
  const reaches = new Uint8Array(table.size);
  const queue = new Int32Array(table.size);
  let end = 0;
  for (let at = 0; at < table.size; at += 1)
    if (model.isGoal(table.at(at))) {
      reaches[at] = 1;
      queue[end++] = at;
    }
  const goals = end;
  const reversed = edges.reversed(table.size);
  for (let begin = 0; begin < end; begin += 1)
    for (const from of reversed.into(queue[begin] ?? 0)) {
      if (reaches[from] === 1) continue;
      reaches[from] = 1;
      queue[end++] = from;
    }
  const stuck = reaches.indexOf(0);
  if (stuck < 0) return { goals, finding: null };
  const rule = `I6: ${table.size - end} states never come to rest as configured, whatever happens next`;
  return { goals, finding: { rule, trace: traceTo(model, table, stuck) } };
}

/**
 * The steps from the initial state, by walking back and asking each state again for the step that was taken.
 */
function traceTo(model: Explorable, table: StateTable, to: number): readonly string[] {
  const trace: string[] = [];
  for (let at = to; at > 0;) {
    const parent = table.parentOf(at);
    let step: string | undefined;
    model.successors(table.at(parent), (made, _kind, label) => {
      if (step === undefined && table.find(made.settled()) === at) step = label();
    });
    assert(step !== undefined, "a state comes from its parent by a step");
    trace.unshift(step);
    at = parent;
  }
  return trace;
}

const edgesPerChunk = 2 ** 21;

/** The steps between states that need no fault. */
class Edges {
  readonly #chunks: Int32Array[] = [];
  #size = 0;

  add(from: number, to: number): void {
    const place = this.#size % edgesPerChunk;
    if (place === 0) this.#chunks.push(new Int32Array(edgesPerChunk * 2));
    const chunk = this.#chunks.at(-1);
    assert(chunk !== undefined, "there is a chunk for each edge");
    chunk[place * 2] = from;
    chunk[place * 2 + 1] = to;
    this.#size += 1;
  }

  *#all(): Generator<readonly [from: number, to: number]> {
    let left = this.#size;
    for (const chunk of this.#chunks)
      for (let place = 0; place < edgesPerChunk && left > 0; place += 1, left -= 1)
        yield [chunk[place * 2] ?? 0, chunk[place * 2 + 1] ?? 0];
  }

  /** For each state, those that lead to it. */
  reversed(states: number): { into(state: number): Int32Array } {
    const starts = new Int32Array(states + 1);
    for (const [, to] of this.#all()) starts[to + 1] = (starts[to + 1] ?? 0) + 1;
    for (let at = 0; at < states; at += 1) starts[at + 1] = (starts[at + 1] ?? 0) + (starts[at] ?? 0);
    const sources = new Int32Array(this.#size);
    const next = starts.slice();
    for (const [from, to] of this.#all()) {
      const place = next[to] ?? 0;
      sources[place] = from;
      next[to] = place + 1;
    }
    return { into: (state) => sources.subarray(starts[state], starts[state + 1]) };
  }
}
