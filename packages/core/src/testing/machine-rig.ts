import type { Capabilities } from "../backend.ts";
import { stepAgent } from "../loop/machine.ts";
import {
  createAgentState,
  type AgentEffect,
  type AgentEvent,
  type AgentState,
  type SavedState,
} from "../loop/state.ts";
import type { ObservedCopy } from "../model/copy.ts";
import type { DatasetId, Era } from "../model/ids.ts";
import { success } from "../model/problem.ts";
import type { SliceDataset } from "../protocol/agent.ts";
import { dataset, input, node, nodeA, nodeB } from "./plan-fixtures.ts";

/** The room that all machines here have. */
export const capacity = { totalBytes: 1000, freeBytes: 900 };
/** What an agent finds at its first start. */
export const nothingSaved: SavedState = {
  slice: [],
  nodes: [],
  births: new Map(),
  promises: new Map(),
  revision: 0,
};

/** An agent's machine, with what it does told in short texts. */
export class MachineRig {
  readonly state: AgentState;
  now = 1_000;
  constructor(abilities: Partial<Capabilities> = {}) {
    const capabilities = { ...input().capabilities, ...abilities };
    this.state = createAgentState(
      {
        node: nodeA,
        era: "era" as Era,
        incarnation: "i",
        name: "alpha",
        version: "0",
        dataAddress: { host: null, port: 4525 },
        backend: { kind: "model", capabilities },
      },
      () => 0.5,
    );
  }

  /** What the machine does about an event, as short texts, in order. */
  step(event: AgentEvent): string[] {
    return stepAgent(this.state, event, { monotonicMs: this.now, wallMs: this.now + 1e12 }).map(shortly);
  }

  begin(saved: Partial<SavedState> = {}, copies: readonly ObservedCopy[] = []): void {
    this.step({ kind: "started", saved: { ...nothingSaved, ...saved } });
    this.looked(copies, null);
    this.step({ kind: "link-up" });
    this.step({ kind: "message", message: { kind: "welcome", protocol: 1, version: "0", clusterId: "c" } });
  }

  told(entries: readonly SliceDataset[], complete = true): string[] {
    const whole = complete ? { begins: true, ends: true } : null;
    const nodes = [node(nodeA), node(nodeB)];
    return this.step({
      kind: "message",
      message: {
        kind: "slice",
        sequence: 1,
        revision: 1,
        complete: whole,
        datasets: entries,
        removed: [],
        nodes,
      },
    });
  }

  looked(copies: readonly ObservedCopy[], which: DatasetId | null = dataset): string[] {
    return this.step({
      kind: "looked",
      dataset: which,
      result: success({ copies, unreadable: [], capacity }),
    });
  }

  performed(): string[] {
    return this.step({ kind: "performed", dataset, result: success({ kind: "done" }) });
  }
}

function shortly(effect: AgentEffect): string {
  switch (effect.kind) {
    case "write":
      return `write ${effect.changes.map((change) => change.table).join(",")}`;
    case "send":
      if (effect.message.kind !== "state") return `send ${effect.message.kind}`;
      return `report ${effect.message.datasets
        .map(({ copy: held, activity, reasons }) =>
          [
            held === null ? "none" : `${held.record.role}${held.mountedAt === null ? "" : " mounted"}`,
            activity?.action ?? "idle",
            ...reasons.map((reason) => reason.code),
          ].join("/"),
        )
        .join(" ")}${effect.message.gone.length > 0 ? " gone" : ""}`.trimEnd();
    case "perform":
      return `perform ${effect.action.do}${effect.timeoutMs === undefined ? "" : ` in ${effect.timeoutMs}`}`;
    case "look":
      return `look ${effect.dataset === null ? "at all" : "at one"}`;
    case "reply":
      return `reply ${effect.result.ok ? effect.result.value.kind : effect.result.problem.code}`;
    case "handed-over":
      return `handed-over ${effect.predictedMs} ${effect.actualMs}`;
    case "close-link":
    case "serve":
      return effect.kind;
  }
}
