import { assert } from "@flocker/core";
import type { AgentStore } from "@flocker/core";
import type { Incarnation } from "./node.ts";

/** What lies on a node's disk for its agent, by table and key, as JSON. It survives every crash. */
export type DurableTables = Map<string, Map<string, string>>;

/** An incarnation's view of the durable tables. A write is durable, all of it or (at a crash) none of it. */
export function simStore(incarnation: Incarnation, tables: DurableTables): AgentStore {
  return {
    all: (table) =>
      new Map(
        [...(tables.get(table) ?? [])].map(([key, text]): [string, unknown] => [key, JSON.parse(text)]),
      ),
    write: (changes) => {
      if (!incarnation.alive) return;
      const encoded = changes.map(({ table, key, value }) => ({ table, key, text: encode(table, value) }));
      incarnation.node.counters.countStoreWrite();
      const names = [...new Set(changes.map((change) => change.table))].join(",");
      incarnation.perform(`writes ${changes.length} values of ${names}`, () => {
        for (const { table, key, text } of encoded) apply(tables, table, key, text);
      });
    },
  };
}

function encode(table: string, value: unknown): string | undefined {
  if (value === undefined) return undefined;
  const text: unknown = JSON.stringify(value);
  assert(typeof text === "string", `what is written to the table ${table} can be JSON`);
  return text;
}

function apply(tables: DurableTables, table: string, key: string, text: string | undefined): void {
  if (text === undefined) {
    tables.get(table)?.delete(key);
    return;
  }
  const rows = tables.get(table) ?? new Map<string, string>();
  rows.set(key, text);
  tables.set(table, rows);
}
