import { failure, success, type Action, type ActionAnswer, type CopyRecord } from "@flocker/core";
import type { PeerReply, PeerRequest, Result } from "@flocker/core";
import { modelDataset, snapshotOf, type ModelCopy } from "./model-node.ts";

/** What has happened to a node's copy, for the rules that are checked. */
export type CopyEvent = "created" | "recorded" | "received" | "mounted" | "unmounted";

/** How something on the disk has ended. `event` is null where nothing has changed. */
export interface DiskOutcome<Answer> {
  readonly copy: ModelCopy | null;
  readonly event: CopyEvent | null;
  readonly result: Result<Answer>;
}

export type LocalAction = Exclude<Action, { do: "describe" | "send" | "hand-over" | "take-back" }>;

/** Whether an action is done with this node's storage alone. */
export function isLocal(action: Action): action is LocalAction {
  return !["describe", "send", "hand-over", "take-back"].includes(action.do);
}

/** How anything fails in the model; why makes no difference. */
export const failed: ReturnType<typeof failure> = failure("command-failed", "The model lets it fail.", "");
const done = success<ActionAnswer>({ kind: "done" });

/** What the storage does with an action of its own agent. */
export function performLocally(
  copy: ModelCopy | null,
  action: LocalAction,
  forgetsFsync: boolean,
): DiskOutcome<ActionAnswer> {
  if (action.do === "create") {
    if (copy !== null) return { copy, event: null, result: failed };
    const { record } = action;
    const created = { record, unsynced: null, mounted: false, data: "", snapshots: [] };
    return { copy: created, event: "created", result: done };
  }
  if (copy === null) return { copy, event: null, result: failed };
  switch (action.do) {
    case "mount":
      return { copy: { ...copy, mounted: true }, event: "mounted", result: done };
    case "unmount":
      return { copy: { ...copy, mounted: false }, event: copy.mounted ? "unmounted" : null, result: done };
    case "write-record":
      return { copy: withRecord(copy, action.record, forgetsFsync), event: "recorded", result: done };
    case "snapshot": {
      const snapshots = [...copy.snapshots.filter((held) => held !== copy.data), copy.data];
      const result = success<ActionAnswer>({ kind: "snapshot", snapshot: snapshotOf(copy.data) });
      return { copy: { ...copy, snapshots }, event: null, result };
    }
    case "prune": {
      const snapshots = copy.snapshots.filter((held) => !action.guids.includes(snapshotOf(held).guid));
      return { copy: { ...copy, snapshots }, event: null, result: done };
    }
    case "resize":
    case "restore":
    case "trash":
    case "destroy":
    case "discard-partial":
    case "renounce":
      return { copy, event: null, result: failed };
  }
}

/** What the storage does with another agent's request that was accepted. */
export function serveLocally(
  copy: ModelCopy | null,
  request: PeerRequest,
  forgetsFsync: boolean,
): DiskOutcome<PeerReply> {
  if (request.kind === "promote" && copy !== null) {
    const record: CopyRecord = { dataset: modelDataset, epoch: request.epoch, role: "primary" };
    const result = success<PeerReply>({ kind: "promote" });
    return { copy: withRecord(copy, record, forgetsFsync), event: "recorded", result };
  }
  if (request.kind !== "receive") return { copy, event: null, result: failed };
  const { base, epoch, snapshot } = request;
  const held = copy?.snapshots ?? [];
  const lacksBase = base !== null && !held.some((data) => snapshotOf(data).guid === base);
  if (copy?.mounted === true || copy?.record.role === "primary" || lacksBase)
    return { copy, event: null, result: failed };
  const data = snapshot.guid.slice(1);
  const received: ModelCopy = {
    record: { dataset: modelDataset, epoch, role: "replica" },
    unsynced: null,
    mounted: false,
    data,
    // A full stream replaces all, an increment adds to what there is.
    snapshots: base === null ? [data] : [...held.filter((other) => other !== data), data],
  };
  return { copy: received, event: "received", result: success({ kind: "receive", receivedBytes: 1 }) };
}

function withRecord(copy: ModelCopy, record: CopyRecord, forgetsFsync: boolean): ModelCopy {
  return { ...copy, record, unsynced: forgetsFsync ? copy.record : null };
}
