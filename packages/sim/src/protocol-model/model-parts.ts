import { formatEpoch } from "@flocker/core";
import { Interner } from "./interner.ts";
import { orphanOffset, type AgentParts } from "./model-agent.ts";
import {
  createdDataset,
  isShownConverged,
  sliceFor,
  stepControl,
  type ControlEvent,
  type ModelControl,
} from "./model-control.ts";
import { modelNodes, type ModelNode } from "./model-node.ts";
import { isServedAsDesired, nameOf, type Witness } from "./model-rules.ts";
import { NodeSteps, type Message } from "./node-steps.ts";
import type { ModelBounds, ModelOptions } from "./protocol-model.ts";

/** A session's link: what is on its way in it, by number, or -1. */
export interface ModelLink {
  readonly up: boolean;
  readonly slice: number;
  /** The slice is the first of its session. */
  readonly whole: boolean;
  readonly report: number;
}

/** What may still happen, and what the rules need to know. */
export type Ledger = ModelBounds & Witness;

// A state of the world is a row of numbers: of the three nodes, their links, the control service, the
// messages and the ledger.
export const linkAt = 3;
export const controlAt = 6;
export const messagesAt = 7;
export const ledgerAt = 8;

/** The parts that worlds are made of, each kept once and known by its number. */
export class ModelParts {
  readonly steps: NodeSteps;
  readonly bounds: ModelBounds;
  /** What is on its way in a session stays as it was when it was sent; else it is current when it arrives. */
  readonly lags: boolean;
  readonly forgetsLeases: boolean;
  readonly links: Interner<ModelLink> = new Interner<ModelLink>();
  readonly controls: Interner<ModelControl> = new Interner<ModelControl>();
  readonly messageSets: Interner<readonly number[]> = new Interner<readonly number[]>();
  readonly ledgers: Interner<Ledger> = new Interner<Ledger>();
  readonly #slices = new Map<number, number>();
  readonly #reports = new Map<number, number>();
  readonly #controlSteps = new Map<string, number>();

  constructor(options: ModelOptions, agent: AgentParts) {
    this.bounds = options.bounds;
    this.lags = options.lags ?? false;
    this.forgetsLeases = options.forgetsLeases ?? false;
    this.steps = new NodeSteps(agent);
  }

  initial(): readonly number[] {
    const { steps } = this;
    const nothing = steps.slices.idOf(null);
    const nodes = [...modelNodes.keys()].map((index) => {
      const off: ModelNode = {
        index,
        power: "up",
        copy: null,
        slice: null,
        birth: null,
        promised: null,
        memory: null,
      };
      const started = steps.step(steps.nodes.idOf(off), "start", 0, false);
      const linked = steps.step(started.node, "link-up", 0, false);
      return steps.step(linked.node, "whole-slice", nothing, false).node;
    });
    const link = this.links.idOf({ up: true, slice: -1, whole: false, report: -1 });
    const ledger = this.ledgers.idOf({ ...this.bounds, truth: "", born: false, lease: null });
    const control = this.controls.idOf(createdDataset);
    return [...nodes, link, link, link, control, this.messageSets.idOf([]), ledger];
  }

  node(state: ArrayLike<number>, index: number): ModelNode {
    return this.steps.nodes.valueOf(state[index] ?? -1);
  }

  allNodes(state: ArrayLike<number>): readonly ModelNode[] {
    return [this.node(state, 0), this.node(state, 1), this.node(state, 2)];
  }

  link(state: ArrayLike<number>, index: number): ModelLink {
    return this.links.valueOf(state[linkAt + index] ?? -1);
  }

  control(state: ArrayLike<number>): ModelControl {
    return this.controls.valueOf(state[controlAt] ?? -1);
  }

  inFlight(state: ArrayLike<number>): readonly number[] {
    return this.messageSets.valueOf(state[messagesAt] ?? -1);
  }

  witness(state: ArrayLike<number>): Ledger {
    return this.ledgers.valueOf(state[ledgerAt] ?? -1);
  }

  /** The number of the slice that the control service has for a node. */
  sliceFor(control: number, index: number): number {
    const key = control * 4 + index;
    const known = this.#slices.get(key);
    if (known !== undefined) return known;
    const slice = this.steps.slices.idOf(sliceFor(this.controls.valueOf(control), index));
    this.#slices.set(key, slice);
    return slice;
  }

  /** The number of what the control service knows of a node. */
  reportOf(control: number, index: number): number {
    const key = control * 4 + index;
    const known = this.#reports.get(key);
    if (known !== undefined) return known;
    const report = this.steps.reports.idOf(this.controls.valueOf(control).reports[index] ?? null);
    this.#reports.set(key, report);
    return report;
  }

  /** The number of a slice that the control service has to tell this node, or -1. */
  newSlice(state: ArrayLike<number>, index: number): number {
    const link = this.link(state, index);
    const isLive = this.node(state, index).memory?.session === "live";
    if (!link.up || !(link.whole || isLive)) return -1;
    const slice = this.sliceFor(state[controlAt] ?? -1, index);
    return link.whole || slice !== this.steps.sliceOf(state[index] ?? -1) ? slice : -1;
  }

  /** The slice that may arrive next at this node, or -1. */
  sliceDue(state: ArrayLike<number>, index: number): number {
    return this.lags ? this.link(state, index).slice : this.newSlice(state, index);
  }

  /** The report of this node that may arrive next, or -1. */
  reportDue(state: ArrayLike<number>, index: number): number {
    const link = this.link(state, index);
    if (this.lags || !link.up) return link.report;
    const { report } = this.steps.step(state[index] ?? -1, "report-acknowledged", 0, false);
    return report === this.reportOf(state[controlAt] ?? -1, index) ? -1 : report;
  }

  /** The control service after an event; `argument` numbers what is special in it. */
  controlAfter(control: number, event: ControlEvent, argument: number): number {
    const key = `${control} ${event.kind} ${argument}`;
    const known = this.#controlSteps.get(key);
    if (known !== undefined) return known;
    const after = this.controls.idOf(stepControl(this.controls.valueOf(control), event));
    this.#controlSteps.set(key, after);
    return after;
  }

  isOrphan(message: Message): boolean {
    return message.kind === "request" && message.id >= orphanOffset;
  }

  /**
   * By hand: somebody has made sure that the former holder's machine is off, and chooses a node that has
   * reported a copy that is no primary.
   */
  mayFailOver(state: ArrayLike<number>, index: number): boolean {
    const control = this.control(state);
    const owner = modelNodes.indexOf(control.ownership.owner);
    return (
      owner !== index &&
      control.ownership.born &&
      this.node(state, owner).power === "off" &&
      (control.reports[index]?.record?.role ?? "primary") !== "primary" &&
      this.node(state, index).copy !== null
    );
  }

  isConverged(state: ArrayLike<number>): boolean {
    const control = this.control(state);
    const kept = this.node(state, control.desired).copy?.record;
    // Where a former owner keeps its copy aside, nobody else moves there: the dataset is served where it is.
    if (kept?.role === "primary" && kept.epoch.term < control.ownership.epoch.term)
      return isServedAsDesired(this.allNodes(state), modelNodes.indexOf(control.ownership.owner));
    if (!isServedAsDesired(this.allNodes(state), control.desired)) return false;
    const connected = [0, 1, 2].map((index) => this.link(state, index).up);
    return isShownConverged(control, connected);
  }

  told(slice: number): string {
    const told = this.steps.slices.valueOf(slice);
    if (told === null) return "the dataset is not its business";
    const { desired, ownership, lease, relinquishedToYou, conflict } = told;
    const letter = (id: string | undefined): string => (id ?? "?").slice(0, 1).toUpperCase();
    return [
      `wanted on ${letter(desired?.primary)}`,
      ownership === null
        ? "no owner"
        : `owner ${letter(ownership.owner)} at ${formatEpoch(ownership.epoch)}${ownership.born ? "" : ", unborn"}`,
      ...(lease === null ? [] : [`leased on ${letter(lease.node)}`]),
      ...(relinquishedToYou === null
        ? []
        : [
            `${letter(relinquishedToYou.from)} relinquished to it at ${formatEpoch(relinquishedToYou.epoch)}`,
          ]),
      ...(conflict ? ["conflict"] : []),
    ].join(", ");
  }

  reported(report: number): string {
    const reported = this.steps.reports.valueOf(report);
    if (reported === null) return "nothing";
    const { record, renounced } = reported;
    if (record === null) return `renounced ${renounced === null ? "?" : formatEpoch(renounced)}`;
    return `${record.role} at ${formatEpoch(record.epoch)}`;
  }

  described(message: Message): string {
    if (message.kind === "reply") {
      const reply = message.reply === null ? "a failure" : `the answer to its ${message.reply.kind}`;
      const granted =
        message.reply?.kind === "take-back" ? ` (${message.reply.granted ? "granted" : "refused"})` : "";
      return `${reply}${granted} at ${nameOf(message.to)}`;
    }
    const { from, to, request } = message;
    const epoch = "epoch" in request ? ` at ${formatEpoch(request.epoch)}` : "";
    const snapshot =
      request.kind === "receive"
        ? ` of ${request.snapshot.guid}`
        : request.kind === "promote"
          ? ` of ${request.snapshot}`
          : "";
    return `${nameOf(from)}'s ${request.kind}${snapshot}${epoch} at ${nameOf(to)}`;
  }
}
