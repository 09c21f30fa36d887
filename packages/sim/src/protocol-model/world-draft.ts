import { assert } from "@flocker/core";
import { orphanOffset } from "./model-agent.ts";
import type { ControlEvent } from "./model-control.ts";
import type { CopyEvent } from "./model-disk.ts";
import { modelNodes } from "./model-node.ts";
import { brokenRule, isRightfulPrimary, nameOf } from "./model-rules.ts";
import {
  controlAt,
  ledgerAt,
  linkAt,
  messagesAt,
  type Ledger,
  type ModelLink,
  type ModelParts,
} from "./model-parts.ts";
import type { NodeEventKind, NodeStep } from "./node-steps.ts";
import type { ModelBounds } from "./protocol-model.ts";

const linkDown: ModelLink = { up: false, slice: -1, whole: false, report: -1 };

/**
 * A state of the world while the next one is made of it. The first rule that is broken on the way is kept.
 */
export class Draft {
  broken: string | undefined;
  readonly #parts: ModelParts;
  readonly #state: number[];

  constructor(parts: ModelParts, from: ArrayLike<number>) {
    this.#parts = parts;
    this.#state = Array.from(from);
  }

  /** The state with what follows at once: the control service sends what is new as soon as a link is free. */
  settled(): readonly number[] {
    if (!this.#parts.lags) return this.#state;
    for (const index of modelNodes.keys()) {
      const link = this.#parts.link(this.#state, index);
      if (link.slice >= 0) continue;
      const slice = this.#parts.newSlice(this.#state, index);
      if (slice >= 0) this.#setLink(index, { ...link, slice });
    }
    return this.#state;
  }

  /** Takes one from what may still happen. */
  pays(what: keyof ModelBounds): this {
    const ledger = this.#ledger();
    this.#setLedger({ ...ledger, [what]: ledger[what] - 1 });
    return this;
  }

  happens(index: number, kind: NodeEventKind, argument = 0): this {
    const { steps } = this.#parts;
    const link = this.#parts.link(this.#state, index);
    const step = steps.step(this.#at(index), kind, argument, link.report >= 0);
    this.#state[index] = step.node;
    if (step.messages.length > 0) this.#setMessages([...this.#messages(), ...step.messages]);
    if (
      this.#parts.lags &&
      step.report >= 0 &&
      link.up &&
      step.report !== this.#parts.reportOf(this.#at(controlAt), index)
    )
      this.#setLink(index, { ...this.#parts.link(this.#state, index), report: step.report });
    this.#judge(index, kind, step);
    return this;
  }

  #judge(index: number, kind: NodeEventKind, step: NodeStep): void {
    const nodes = this.#parts.allNodes(this.#state);
    if (step.begins === "unasked-unmount" && isRightfulPrimary(nodes, index))
      this.broken ??= `session: ${nameOf(index)} begins to unmount without a live session`;
    if (step.begins === "superseded-mount")
      this.broken ??= `I1: ${nameOf(index)} begins to mount a copy that it knows to be superseded`;
    if (step.copyEvent !== null) this.#changed(index, kind, step.copyEvent);
    // An acknowledgement waits for the end of a step that would break a lease in it.
    if (step.acknowledged) this.#acknowledged(index);
  }

  #changed(index: number, kind: NodeEventKind, event: CopyEvent): void {
    const nodes = this.#parts.allNodes(this.#state);
    const control = this.#parts.control(this.#state);
    const witness = this.#ledger();
    // A machine that loses its power keeps nothing mounted, whatever is leased.
    const byAgent = !kind.startsWith("power-cut");
    this.broken ??= brokenRule(nodes, index, event, { control, witness, byAgent });
    if (event === "created") this.#setLedger({ ...witness, born: true });
    if (event !== "mounted") return;
    const copy = nodes[index]?.copy ?? null;
    if (copy === null || copy.record.epoch.term < control.ownership.epoch.term) return;
    this.#setLedger({ ...witness, truth: copy.data });
    this.#bind(index);
  }

  /** A lease counts once its agent has acknowledged the slice with it. */
  #acknowledged(index: number): void {
    const ledger = this.#ledger();
    const told = this.#parts.node(this.#state, index).slice?.lease ?? null;
    if (ledger.lease?.node !== index || told?.node !== modelNodes[index]) return;
    if (!ledger.lease.counts) this.#setLedger({ ...ledger, lease: { ...ledger.lease, counts: true } });
    this.#bind(index);
  }

  /** From when it counts and the node has the primary copy, it must keep it. */
  #bind(index: number): void {
    const ledger = this.#ledger();
    const { lease } = ledger;
    if (lease?.node !== index || !lease.counts || lease.binds) return;
    if (this.#parts.node(this.#state, index).copy?.record.role === "primary")
      this.#setLedger({ ...ledger, lease: { ...lease, binds: true } });
  }

  starts(index: number): this {
    const { nodes } = this.#parts.steps;
    this.#state[index] = nodes.idOf({ ...this.#parts.node(this.#state, index), power: "up" });
    return this.happens(index, "start");
  }

  writes(index: number): this {
    this.happens(index, "write", this.#parts.bounds.writes - this.#ledger().writes);
    const copy = this.#parts.node(this.#state, index).copy;
    const { epoch } = this.#parts.control(this.#state).ownership;
    if (copy !== null && copy.record.epoch.term >= epoch.term)
      this.#setLedger({ ...this.#ledger(), truth: copy.data });
    return this;
  }

  connects(index: number): this {
    this.#setLink(index, { up: true, slice: -1, whole: true, report: -1 });
    return this.happens(index, "link-up");
  }

  disconnects(index: number): this {
    this.#setLink(index, linkDown);
    return this.happens(index, "link-down");
  }

  hearsSlice(index: number): this {
    const link = this.#parts.link(this.#state, index);
    const slice = this.#parts.sliceDue(this.#state, index);
    this.#setLink(index, { ...link, slice: -1, whole: false });
    return this.happens(index, link.whole ? "whole-slice" : "slice", slice);
  }

  reports(index: number): this {
    const link = this.#parts.link(this.#state, index);
    const due = this.#parts.reportDue(this.#state, index);
    this.#setLink(index, { ...link, report: -1 });
    const report = this.#parts.steps.reports.valueOf(due);
    this.#control({ kind: "report", node: index, report }, due * 4 + index);
    return this.happens(index, "report-acknowledged");
  }

  /** The agent or its machine ends: who waits for it is told so, and nobody waits for what it has asked. */
  ends(index: number, kind: NodeEventKind): this {
    const { memory } = this.#parts.node(this.#state, index);
    const { running = null, jobs = [] } = memory ?? {};
    const asked = [...jobs, ...(running?.kind === "job" ? [running.job] : [])];
    const told = asked
      .filter(({ id }) => id < orphanOffset)
      .map(({ id }) => this.#parts.steps.messages.idOf({ kind: "reply", to: id, reply: null }));
    this.#setMessages([...this.#messages(), ...told]);
    this.#orphan(index);
    this.#setLink(index, linkDown);
    return this.happens(index, kind);
  }

  /** Who asked hears of a failure; what it has asked may still arrive, or not. */
  givesUp(index: number): this {
    this.#orphan(index);
    return this.happens(index, "answered", this.#parts.steps.replies.idOf(null));
  }

  #orphan(asker: number): void {
    const { messages } = this.#parts.steps;
    const kept = this.#messages().flatMap((id) => {
      const message = messages.valueOf(id);
      if (message.kind === "reply") return message.to === asker ? [] : [id];
      return message.id === asker ? [messages.idOf({ ...message, id: asker + orphanOffset })] : [id];
    });
    this.#setMessages(kept);
    for (const other of modelNodes.keys())
      if (other !== asker && this.#parts.node(this.#state, other).memory !== null)
        this.happens(other, "orphaned", asker);
  }

  delivers(id: number): this {
    const message = this.#parts.steps.messages.valueOf(id);
    this.drops(id);
    if (message.kind === "reply")
      return this.happens(message.to, "answered", this.#parts.steps.replies.idOf(message.reply));
    if (this.#parts.node(this.#state, message.to).power === "up")
      return this.happens(message.to, "asked", id);
    // Nobody is there: the asker's connection is refused.
    return message.id < orphanOffset
      ? this.happens(message.from, "answered", this.#parts.steps.replies.idOf(null))
      : this;
  }

  /** It arrives, and stays on its way to arrive once more; nobody waits for the second answer. */
  doubles(id: number): this {
    const { messages } = this.#parts.steps;
    const message = messages.valueOf(id);
    assert(message.kind === "request", "only requests are doubled");
    this.delivers(id);
    this.#setMessages([...this.#messages(), messages.idOf({ ...message, id: message.from + orphanOffset })]);
    return this;
  }

  drops(id: number): this {
    const messages = this.#messages();
    const index = messages.indexOf(id);
    this.#setMessages(messages.toSpliced(index, 1));
    return this;
  }

  moves(index: number): this {
    return this.#control({ kind: "move", node: index }, index);
  }

  leases(index: number): this {
    this.#control({ kind: "lease", node: index }, index);
    this.#setLedger({ ...this.#ledger(), lease: { node: index, counts: false, binds: false } });
    return this;
  }

  releases(): this {
    this.#control({ kind: "release" }, 0);
    this.#setLedger({ ...this.#ledger(), lease: null });
    return this;
  }

  /** What the replica has now is what the failover says is kept. */
  failsOver(index: number): this {
    this.#control({ kind: "fail-over", node: index }, index);
    const ledger = this.#ledger();
    const truth = this.#parts.node(this.#state, index).copy?.data ?? "";
    this.#setLedger({ ...ledger, truth, lease: ledger.lease?.node === index ? ledger.lease : null });
    return this;
  }

  restarts(): this {
    this.#control({ kind: "restart" }, 0);
    if (this.#parts.forgetsLeases) this.#control({ kind: "release" }, 0);
    for (const index of modelNodes.keys())
      if (this.#parts.link(this.#state, index).up) this.disconnects(index);
    return this;
  }

  #control(event: ControlEvent, argument: number): this {
    this.#state[controlAt] = this.#parts.controlAfter(this.#at(controlAt), event, argument);
    return this;
  }

  #at(part: number): number {
    const id = this.#state[part];
    assert(id !== undefined, "a state has all its parts");
    return id;
  }

  #ledger(): Ledger {
    return this.#parts.witness(this.#state);
  }

  #setLedger(ledger: Ledger): void {
    this.#state[ledgerAt] = this.#parts.ledgers.idOf(ledger);
  }

  #setLink(index: number, link: ModelLink): void {
    this.#state[linkAt + index] = this.#parts.links.idOf(link);
  }

  #messages(): readonly number[] {
    return this.#parts.inFlight(this.#state);
  }

  #setMessages(messages: readonly number[]): void {
    this.#state[messagesAt] = this.#parts.messageSets.idOf(messages.toSorted((a, b) => a - b));
  }
}
