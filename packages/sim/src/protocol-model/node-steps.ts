import type { PeerReply, PeerRequest, SliceDataset } from "@flocker/core";
import { assert } from "@flocker/core";
import { Interner } from "./interner.ts";
import {
  orphanOffset,
  stepNode,
  type AgentParts,
  type ModelReport,
  type NodeEvent,
  type NodeOutcome,
} from "./model-agent.ts";
import { modelNodes, type ModelNode } from "./model-node.ts";

/** What is on its way between agents. Whoever is answered waits for nothing else. */
export type Message =
  | {
      readonly kind: "request";
      readonly id: number;
      readonly from: number;
      readonly to: number;
      readonly request: PeerRequest;
    }
  | { readonly kind: "reply"; readonly to: number; readonly reply: PeerReply | null };

/** What can happen to a node, as a kind and the number of what comes with it. */
export type NodeEventKind = (typeof eventKinds)[number];

const eventKinds = [
  "start",
  "link-up",
  "link-down",
  "report-acknowledged",
  "wake",
  "slice",
  "whole-slice",
  "completes",
  "fails",
  "fails-with-effect",
  "crash",
  "crash-with-effect",
  "power-cut",
  "power-cut-with-effect",
  "power-cut-that-reverts",
  "asked",
  "answered",
  "orphaned",
  "write",
] as const;

/** A node's outcome in numbers. */
export interface NodeStep extends Pick<NodeOutcome, "acknowledged" | "copyEvent" | "begins"> {
  readonly node: number;
  readonly messages: readonly number[];
  /** -1 where there is no news. */
  readonly report: number;
}

const argumentMaximum = 2 ** 20;

/**
 * The steps of single nodes, each worked out once: worlds are many, but what is new in them for one node
 * little.
 */
export class NodeSteps {
  readonly nodes: Interner<ModelNode> = new Interner<ModelNode>();
  readonly slices: Interner<SliceDataset | null> = new Interner<SliceDataset | null>();
  readonly reports: Interner<ModelReport | null> = new Interner<ModelReport | null>();
  readonly messages: Interner<Message> = new Interner<Message>();
  readonly replies: Interner<PeerReply | null> = new Interner<PeerReply | null>();
  readonly #parts: AgentParts;
  readonly #steps = new Map<number, NodeStep>();
  readonly #slicesOfNodes: number[] = [];

  constructor(parts: AgentParts) {
    this.#parts = parts;
  }

  step(node: number, kind: NodeEventKind, argument: number, isReportOnItsWay: boolean): NodeStep {
    assert(argument < argumentMaximum, "what comes with an event is numbered");
    const event = (eventKinds.indexOf(kind) * 2 + (isReportOnItsWay ? 1 : 0)) * argumentMaximum + argument;
    const key = node * 64 * argumentMaximum + event;
    const known = this.#steps.get(key);
    if (known !== undefined) return known;
    const outcome = stepNode(
      this.nodes.valueOf(node),
      this.#eventOf(kind, argument),
      this.#parts,
      isReportOnItsWay,
    );
    const step = this.#numbered(outcome);
    this.#steps.set(key, step);
    return step;
  }

  /** The number of the slice that a node's agent has. */
  sliceOf(node: number): number {
    return (this.#slicesOfNodes[node] ??= this.slices.idOf(this.nodes.valueOf(node).slice));
  }

  #numbered(outcome: NodeOutcome): NodeStep {
    const { node, request, replies, report, acknowledged, copyEvent, begins } = outcome;
    const from = node.index;
    const messages: number[] = [];
    if (request !== null)
      messages.push(
        this.messages.idOf({ kind: "request", id: from, from, to: request.to, request: request.request }),
      );
    for (const { id, reply } of replies)
      if (id < orphanOffset) messages.push(this.messages.idOf({ kind: "reply", to: id, reply }));
    return {
      node: this.nodes.idOf(node),
      messages,
      report: report === undefined ? -1 : this.reports.idOf(report),
      acknowledged,
      copyEvent,
      begins,
    };
  }

  #eventOf(kind: NodeEventKind, argument: number): NodeEvent {
    switch (kind) {
      case "slice":
      case "whole-slice":
        return { kind: "slice", slice: this.slices.valueOf(argument), complete: kind === "whole-slice" };
      case "completes":
        return { kind: "complete", how: "well" };
      case "fails":
        return { kind: "complete", how: "without-effect" };
      case "fails-with-effect":
        return { kind: "complete", how: "badly-with-effect" };
      case "crash":
      case "power-cut":
        return { kind, afterEffect: false, reverts: false };
      case "crash-with-effect":
        return { kind: "crash", afterEffect: true, reverts: false };
      case "power-cut-with-effect":
        return { kind: "power-cut", afterEffect: true, reverts: false };
      case "power-cut-that-reverts":
        return { kind: "power-cut", afterEffect: false, reverts: true };
      case "asked": {
        const message = this.messages.valueOf(argument);
        assert(message.kind === "request", "who is asked gets a request");
        const from = modelNodes[message.from];
        assert(from !== undefined, "who asks is a node");
        return { kind, id: message.id, from, request: message.request };
      }
      case "answered":
        return { kind, reply: this.replies.valueOf(argument) };
      case "orphaned":
        return { kind, asker: argument };
      case "write":
        return { kind, number: argument };
      case "start":
      case "link-up":
      case "link-down":
      case "report-acknowledged":
      case "wake":
        return { kind };
    }
  }
}
