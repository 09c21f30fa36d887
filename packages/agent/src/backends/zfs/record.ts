import type { CopyRecord, DatasetId, Problem, Result } from "@flocker/core";
import Type from "typebox";
import { Compile } from "typebox/compile";

import { parseStored, storedRecord } from "../stored-state.ts";
import { receivingProperty, recordProperty } from "./layout.ts";

const version = Type.Literal(1);

const checkRecord = Compile(Type.Object({ version, record: storedRecord }));

const checkReceiving = Compile(
  Type.Object({
    version,
    record: storedRecord,
    base: Type.Union([Type.Null(), Type.String()]),
    snapshot: Type.String(),
    maximumSizeBytes: Type.Union([Type.Null(), Type.Integer({ minimum: 0 })]),
  }),
);

/** What a receive that has begun makes of a copy. */
export interface Receiving {
  readonly record: CopyRecord;
  readonly base: string | null;
  /** The guid of the snapshot with which it has succeeded. */
  readonly snapshot: string;
  readonly maximumSizeBytes: number | null;
}

/** The property with a copy's record, to be set. */
export function recordSetting(record: CopyRecord): string {
  return `${recordProperty}=${JSON.stringify({ version: 1, record })}`;
}

/** The property of a receive that begins, to be set. */
export function receivingSetting(receiving: Receiving): string {
  return `${receivingProperty}=${JSON.stringify({ version: 1, ...receiving })}`;
}

/** Reads a copy's record; what cannot be understood is a problem. */
export function parseRecord(dataset: DatasetId, name: string, text: string): Result<CopyRecord> {
  const path = `The property ${recordProperty} of ${name}`;
  const parsed = parseStored({ dataset, path, text }, checkRecord, () => null);
  // The schema has proven it, but for the brands of ids.
  return parsed.ok
    ? { ok: true, value: parsed.value.record as CopyRecord }
    : ofProperty(parsed.problem, recordProperty, name);
}

/** Reads what a receive that has begun makes of the copy. */
export function parseReceiving(dataset: DatasetId, name: string, text: string): Result<Receiving> {
  const path = `The property ${receivingProperty} of ${name}`;
  const parsed = parseStored({ dataset, path, text }, checkReceiving, () => null);
  return parsed.ok
    ? { ok: true, value: parsed.value as Receiving }
    : ofProperty(parsed.problem, receivingProperty, name);
}

function ofProperty(problem: Problem, property: string, name: string): { ok: false; problem: Problem } {
  if (problem.code !== "storage-unreadable") return { ok: false, problem };
  const remedy =
    `Set that property to what it was: zpool history shows each value (look for "${property}=" and ${name}). ` +
    "The data are left alone until then.";
  return { ok: false, problem: { ...problem, remedy } };
}
