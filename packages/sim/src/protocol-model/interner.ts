import { assert } from "@flocker/core";

/** Gives equal values one number, so that states of many parts are compared and kept as a few numbers. */
export class Interner<Value> {
  readonly #ids = new Map<string, number>();
  readonly #values: Value[] = [];

  /** Values are equal if their JSON is: whoever makes them keeps the order of their keys. */
  idOf(value: Value): number {
    const key = JSON.stringify(value);
    const known = this.#ids.get(key);
    if (known !== undefined) return known;
    const id = this.#values.push(value) - 1;
    this.#ids.set(key, id);
    return id;
  }

  valueOf(id: number): Value {
    const value = this.#values[id];
    assert(value !== undefined, "a number that was given has its value");
    return value;
  }
}
