import {
  assert,
  success,
  type Action,
  type ActionAnswer,
  type PeerReply,
  type PeerRequest,
  type Result,
} from "@flocker/core";
import { failed, isLocal, type LocalAction } from "./model-disk.ts";
import { modelDataset, type ModelNode } from "./model-node.ts";

type PeerAction = Exclude<Action, LocalAction>;

/** The request that an action makes, as the agent's shell does. */
export function requestOf(action: PeerAction): PeerRequest {
  const dataset = modelDataset;
  switch (action.do) {
    case "describe":
      return { kind: "describe", dataset };
    case "hand-over":
      return { kind: "promote", dataset, epoch: action.epoch, snapshot: action.snapshot };
    case "take-back":
      return { kind: "take-back", dataset, epoch: action.epoch };
    case "send": {
      const { epoch, base, snapshot } = action;
      return {
        kind: "receive",
        dataset,
        epoch,
        base,
        snapshot,
        maximumSizeBytes: null,
        estimatedBytes: null,
      };
    }
  }
}

/** What an answer is for the action that has asked, as the agent's shell makes it; null is none. */
export function answerOf(node: ModelNode, reply: PeerReply | null): Result<ActionAnswer> {
  const running = node.memory?.running;
  assert(running?.kind === "action" && !isLocal(running.action), "who is answered has asked");
  if (reply === null) return failed;
  switch (reply.kind) {
    case "describe": {
      const { record, snapshots, unchangedSince } = reply;
      const { node: peer } = running.action.peer;
      const knowledge = { node: peer, record, snapshots, unchangedSince, partial: null };
      return success<ActionAnswer>({ kind: "described", knowledge });
    }
    case "receive":
      return success<ActionAnswer>({ kind: "sent", sentBytes: 1, durationMs: 1 });
    case "promote":
      return success<ActionAnswer>({ kind: "done" });
    case "take-back":
      return success<ActionAnswer>({ kind: "take-back", granted: reply.granted });
  }
}
