import type { v2 } from "@flocker/api";
import { formatSize, type ReasonCode } from "@flocker/core";
import type { Colour } from "./output.ts";

/** A dataset's state in a word or two for tables, and as a sentence for people who wait. */
export interface DatasetState {
  readonly word: string;
  readonly sentence: string;
  readonly colour: Colour | null;
}

/** Reasons that only say that something goes on; all others are what is in the way. */
const progressReasons: ReadonlySet<string> = new Set<ReasonCode>([
  "working",
  "receiving",
  "handing-over",
  "birth-unconfirmed",
]);

/** Reasons that follow from another node's reason, so that the other is the one to tell. */
const echoes: ReadonlySet<string> = new Set<ReasonCode>(["held-by-node", "in-trash", "superseded"]);

/**
 * The reasons in the order in which they explain most: what is in the way first, echoes and progress last.
 */
export function byWeight(reasons: readonly v2.DatasetReason[]): readonly v2.DatasetReason[] {
  const weight = (reason: v2.DatasetReason): number =>
    progressReasons.has(reason.code) ? 2 : echoes.has(reason.code) ? 1 : 0;
  return reasons.toSorted((a, b) => weight(a) - weight(b) || a.since.localeCompare(b.since));
}

/** Where a dataset's primary copy is, as far as nodes report it. */
export function primaryCopy(dataset: v2.Dataset): v2.DatasetActual | undefined {
  return dataset.actual.find((actual) => actual.role === "primary");
}

/** Whether the dataset is mounted where it should be, as reported lately. */
export function isMounted(dataset: v2.Dataset): boolean {
  const copy = primaryCopy(dataset);
  const { desired } = dataset;
  return (
    desired !== null &&
    desired.deletion === null &&
    copy !== undefined &&
    copy.node_id === desired.primary &&
    copy.path !== null &&
    !copy.stale
  );
}

/** What is going on with a dataset. */
export function describeState(dataset: v2.Dataset, nameOf: (nodeId: string) => string): DatasetState {
  const { desired } = dataset;
  if (dataset.ownership?.conflict === true) {
    return {
      word: "conflict",
      sentence: "two nodes claim it, so neither serves it; a person has to decide which copy is right",
      colour: "red",
    };
  }
  if (desired === null) {
    return {
      word: "unconfigured",
      sentence: "a copy that the configuration does not know",
      colour: "yellow",
    };
  }
  if (desired.deletion !== null) return describeDeleted(desired.deletion);
  if (dataset.converged) {
    const path = primaryCopy(dataset)?.path ?? null;
    const where = `in place on ${nameOf(desired.primary)}`;
    return { word: "ok", sentence: path === null ? where : `${where} at ${path}`, colour: "green" };
  }
  if (dataset.transfer !== null) return describeTransfer(dataset.transfer, desired.primary, nameOf);
  return describeUnfinished(dataset, desired.primary, nameOf);
}

function describeDeleted(
  deletion: NonNullable<NonNullable<v2.Dataset["desired"]>["deletion"]>,
): DatasetState {
  if (deletion.purged) return { word: "purged", sentence: "deleted, its grace time is over", colour: "dim" };
  const until = minuteText(deletion.grace_ends_at);
  return {
    word: "deleted",
    sentence: `deleted; flocker undelete brings it back until ${until}`,
    colour: "dim",
  };
}

function describeTransfer(
  transfer: NonNullable<v2.Dataset["transfer"]>,
  target: string,
  nameOf: (nodeId: string) => string,
): DatasetState {
  const done = formatSize(transfer.done_bytes);
  const total = transfer.total_bytes;
  const percent =
    total === null || total === 0 ? null : Math.min(99, Math.floor((transfer.done_bytes / total) * 100));
  const amount = percent === null || total === null ? done : `${percent} %, ${done} of ${formatSize(total)}`;
  return {
    word: percent === null ? "moving" : `moving ${percent}%`,
    sentence: `moving from ${nameOf(transfer.from)} to ${nameOf(target)}: ${amount}`,
    colour: "cyan",
  };
}

function describeUnfinished(
  dataset: v2.Dataset,
  target: string,
  nameOf: (nodeId: string) => string,
): DatasetState {
  const [first] = byWeight(dataset.reasons);
  if (first !== undefined && !progressReasons.has(first.code) && !echoes.has(first.code)) {
    return { word: `waiting: ${first.code}`, sentence: `waiting: ${first.message}`, colour: "yellow" };
  }
  const owner = dataset.ownership?.owner ?? target;
  const born = dataset.ownership?.born ?? false;
  const doing = !born
    ? { word: "creating", sentence: `being created on ${nameOf(target)}` }
    : owner === target
      ? { word: "converging", sentence: `being put in place on ${nameOf(target)}` }
      : { word: "moving", sentence: `moving from ${nameOf(owner)} to ${nameOf(target)}` };
  const why = first === undefined ? "" : `: ${first.message}`;
  return { ...doing, sentence: `${doing.sentence}${why}`, colour: "cyan" };
}

/** A time for people, to the minute, in UTC: `2026-11-25 04:09 UTC`. */
export function minuteText(time: string): string {
  return `${time.slice(0, 10)} ${time.slice(11, 16)} UTC`;
}

/** How long ago or ahead, in the two largest units: `3h12m`, `45s`, `12d4h`. */
export function spanText(ms: number): string {
  const seconds = Math.max(0, Math.round(Math.abs(ms) / 1000));
  const units = [
    ["d", 86_400],
    ["h", 3600],
    ["m", 60],
    ["s", 1],
  ] as const;
  const first = units.findIndex(([, length]) => seconds >= length);
  if (first === -1) return "0s";
  let left = seconds;
  let text = "";
  for (const [name, length] of units.slice(first, first + 2)) {
    const count = Math.floor(left / length);
    left -= count * length;
    if (count > 0) text += `${count}${name}`;
  }
  return text;
}

/** How long something took: with tenths of a second while those mean something. */
export function tookText(ms: number): string {
  return ms < 9950 ? `${(ms / 1000).toFixed(1)}s` : spanText(ms);
}

/** A limit or an amount of bytes for tables; a dash where there is none. */
export function sizeText(bytes: number | null): string {
  return bytes === null ? "-" : formatSize(bytes);
}
