import { assert } from "@flocker/core";

const rowsPerChunk = 2 ** 16;

/**
 * States as rows of numbers, each once, in the order they were found, with the state that each was found
 * from.
 */
export class StateTable {
  readonly #width: number;
  readonly #rows: Int32Array[] = [];
  readonly #parents: Int32Array[] = [];
  /** Open addressing: numbers of states plus one, zero where free. */
  #slots = new Int32Array(2 ** 16);
  #size = 0;

  constructor(first: readonly number[]) {
    this.#width = first.length;
    this.add(first, 0);
  }

  get size(): number {
    return this.#size;
  }

  /** A view of the state's row; it stays as it is. */
  at(state: number): Int32Array {
    const chunk = this.#rows[Math.floor(state / rowsPerChunk)];
    assert(chunk !== undefined && state < this.#size, "a state that was found is there");
    const begin = (state % rowsPerChunk) * this.#width;
    return chunk.subarray(begin, begin + this.#width);
  }

  parentOf(state: number): number {
    return this.#parents[Math.floor(state / rowsPerChunk)]?.[state % rowsPerChunk] ?? 0;
  }

  /** The number of the state, or -1. */
  find(row: readonly number[]): number {
    return (this.#slots[this.#slotOf(row)] ?? 0) - 1;
  }

  /** The number of the state, added where it is new. */
  add(row: readonly number[], parent: number): number {
    const slot = this.#slotOf(row);
    const known = this.#slots[slot] ?? 0;
    if (known > 0) return known - 1;
    const state = this.#size;
    const place = state % rowsPerChunk;
    if (place === 0) {
      this.#rows.push(new Int32Array(rowsPerChunk * this.#width));
      this.#parents.push(new Int32Array(rowsPerChunk));
    }
    this.#rows.at(-1)?.set(row, place * this.#width);
    this.#parents.at(-1)?.fill(parent, place, place + 1);
    this.#slots[slot] = state + 1;
    this.#size += 1;
    if (this.#size * 2 > this.#slots.length) this.#grow();
    return state;
  }

  #slotOf(row: ArrayLike<number>): number {
    const mask = this.#slots.length - 1;
    for (let slot = hashOf(row) & mask; ; slot = (slot + 1) & mask) {
      const known = this.#slots[slot] ?? 0;
      if (known === 0 || this.#isAt(known - 1, row)) return slot;
    }
  }

  #isAt(state: number, row: ArrayLike<number>): boolean {
    const chunk = this.#rows[Math.floor(state / rowsPerChunk)];
    const begin = (state % rowsPerChunk) * this.#width;
    for (let index = 0; index < this.#width; index += 1)
      if (chunk?.[begin + index] !== row[index]) return false;
    return true;
  }

  #grow(): void {
    this.#slots = new Int32Array(this.#slots.length * 2);
    const mask = this.#slots.length - 1;
    for (let state = 0; state < this.#size; state += 1) {
      let slot = hashOf(this.at(state)) & mask;
      while (this.#slots[slot] !== 0) slot = (slot + 1) & mask;
      this.#slots[slot] = state + 1;
    }
  }
}

function hashOf(row: ArrayLike<number>): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < row.length; index += 1) {
    hash = Math.imul(hash ^ (row[index] ?? 0), 0x9e3779b1);
    hash ^= hash >>> 15;
  }
  return hash >>> 0;
}
