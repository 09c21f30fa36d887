import { agentRules, assert, type AgentRules } from "@flocker/core";
import type { Emit } from "./exploration.ts";
import { isLocal } from "./model-disk.ts";
import { modelNodes } from "./model-node.ts";
import { nameOf } from "./model-rules.ts";
import { ModelParts } from "./model-parts.ts";
import { Draft } from "./world-draft.ts";

/** How much may happen in a world of the model. Every state within these bounds is visited. */
export interface ModelBounds {
  /** New wishes where the dataset should be. */
  readonly moves: number;
  /** Crashes of an agent and power cuts of a node. */
  readonly crashes: number;
  /** Restarts of the control service, which lose what it has heard. */
  readonly controlRestarts: number;
  /** Lost, late or doubled messages between agents, cut sessions, and steps on a disk that fail or say so. */
  readonly faults: number;
  readonly writes: number;
  readonly leases: number;
  readonly failovers: number;
}

/** What is put into the model. */
export interface ModelOptions {
  readonly bounds: ModelBounds;
  readonly start?: "created" | "served";
  /** The backend takes snapshots while a copy is in use, so that moves begin with a round of copying. */
  readonly liveSnapshots?: boolean;
  /** What is on its way in a session stays as it was when it was sent; else it is current when it arrives. */
  readonly lags?: boolean;
  /**
   * What a disk does and what is on its way between agents ends before anything else happens but faults:
   * fewer orders of independent steps, so that more wishes and faults can be visited to the end.
   */
  readonly prompt?: boolean;
  /** The agents' own rules unless somebody tries out others. */
  readonly rules?: AgentRules;
  /** A mistake of the storage: a record may be as before after a power cut. */
  readonly forgetsFsync?: boolean;
  /** A mistake of the control service: it knows of no lease after a restart. */
  readonly forgetsLeases?: boolean;
}

/** All worlds that the ownership and move protocol can get into, one step after another. */
export class ProtocolModel {
  readonly #parts: ModelParts;
  readonly #start: "created" | "served";
  readonly #prompt: boolean;

  constructor(options: ModelOptions) {
    this.#prompt = options.prompt ?? false;
    this.#start = options.start ?? "created";
    this.#parts = new ModelParts(options, {
      rules: options.rules ?? agentRules,
      liveSnapshots: options.liveSnapshots ?? false,
      forgetsFsync: options.forgetsFsync ?? false,
    });
  }

  /**
   * All agents are connected, and the dataset was just created for node A, or is served there with a first
   * write.
   */
  initial(): readonly number[] {
    let state = new Draft(this.#parts, this.#parts.initial()).settled();
    if (this.#start === "created") return state;
    // Of what may happen by itself there is one thing at a time until it is served.
    while (!this.isGoal(state) || this.#parts.sliceDue(state, 0) >= 0) {
      let next: readonly number[] | undefined;
      this.successors(state, (made, kind) => {
        if (kind === "free") next ??= made.settled();
      });
      assert(next !== undefined, "a dataset that is created comes to be served");
      state = next;
    }
    return new Draft(this.#parts, state).writes(0).settled();
  }

  isGoal(state: ArrayLike<number>): boolean {
    return this.#parts.isConverged(state);
  }

  /** Every state that may come next. */
  successors(state: ArrayLike<number>, emit: Emit): void {
    if (this.#isToAndFro(state) && this.#overdueSlice(state, emit)) return;
    if (this.#prompt && this.#urgentSteps(state, emit)) {
      for (const index of modelNodes.keys()) this.#failures(state, index, emit);
      return;
    }
    for (const index of modelNodes.keys()) {
      this.#ownSteps(state, index, emit);
      this.#sessionSteps(state, index, emit);
      this.#failures(state, index, emit);
    }
    this.#deliveries(state, emit);
    this.#wishes(state, emit);
  }

  /**
   * Two nodes with different old wishes would hand the dataset to and fro for as long as nobody tells them
   * the new one. What the control service has to say does not take that long: after so many changes of hands
   * it comes first. Without this there were no end to the states.
   */
  #isToAndFro(state: ArrayLike<number>): boolean {
    const { moves, crashes, faults, failovers } = this.#parts.bounds;
    const expected = 1 + moves + crashes + faults + failovers;
    return this.#parts.allNodes(state).some(({ copy }) => (copy?.record.epoch.step ?? 0) > expected);
  }

  #overdueSlice(state: ArrayLike<number>, emit: Emit): boolean {
    for (const index of modelNodes.keys()) {
      if (!this.#parts.link(state, index).up) continue;
      const slice = this.#parts.sliceDue(state, index);
      if (slice < 0) continue;
      const label = () => `${nameOf(index)} hears at last: ${this.#parts.told(slice)}`;
      emit(this.#draft(state).hearsSlice(index), "free", label);
      return true;
    }
    return false;
  }

  /** The step that comes before all others, with what may go wrong in it; false where there is none. */
  #urgentSteps(state: ArrayLike<number>, emit: Emit): boolean {
    for (const index of modelNodes.keys()) if (this.#work(state, index, emit)) return true;
    for (const id of this.#parts.inFlight(state))
      if (!this.#parts.isOrphan(this.#parts.steps.messages.valueOf(id))) {
        this.#delivery(state, id, emit);
        return true;
      }
    return false;
  }

  #draft(state: ArrayLike<number>): Draft {
    return new Draft(this.#parts, state);
  }

  /** What a node does on its disk ends, well or not; false where it does nothing there. */
  #work(state: ArrayLike<number>, index: number, emit: Emit): boolean {
    const running = this.#parts.node(state, index).memory?.running ?? null;
    if (running === null || !(running.kind === "job" || isLocal(running.action))) return false;
    const name = nameOf(index);
    const what = running.kind === "job" ? running.job.request.kind : running.action.do;
    emit(this.#draft(state).happens(index, "completes"), "free", () => `${name} has done: ${what}`);
    if (this.#parts.witness(state).faults > 0)
      for (const kind of ["fails", "fails-with-effect"] as const)
        emit(
          this.#draft(state).pays("faults").happens(index, kind),
          "fault",
          () => `${name} ${kind}: ${what}`,
        );
    return true;
  }

  #ownSteps(state: ArrayLike<number>, index: number, emit: Emit): void {
    const node = this.#parts.node(state, index);
    const running = node.memory?.running ?? null;
    const name = nameOf(index);
    this.#work(state, index, emit);
    if (node.memory?.heldBack === true && running === null)
      emit(this.#draft(state).happens(index, "wake"), "free", () => `${name} tries again`);
    if (node.power !== "up") emit(this.#draft(state).starts(index), "free", () => `${name} starts`);
    if (node.copy?.mounted === true && this.#parts.witness(state).writes > 0)
      emit(this.#draft(state).pays("writes").writes(index), "fault", () => `a program writes on ${name}`);
  }

  #sessionSteps(state: ArrayLike<number>, index: number, emit: Emit): void {
    const name = nameOf(index);
    const link = this.#parts.link(state, index);
    if (!link.up) {
      if (this.#parts.node(state, index).power === "up")
        emit(this.#draft(state).connects(index), "free", () => `${name} connects to the control service`);
      return;
    }
    const slice = this.#parts.sliceDue(state, index);
    if (slice >= 0)
      emit(this.#draft(state).hearsSlice(index), "free", () => `${name} hears: ${this.#parts.told(slice)}`);
    const report = this.#parts.reportDue(state, index);
    if (report >= 0)
      emit(
        this.#draft(state).reports(index),
        "free",
        () => `the control service hears of ${name}: ${this.#parts.reported(report)}`,
      );
    if (this.#parts.witness(state).faults > 0)
      emit(this.#draft(state).pays("faults").disconnects(index), "fault", () => `${name} loses its session`);
  }

  #failures(state: ArrayLike<number>, index: number, emit: Emit): void {
    const { power, memory, copy } = this.#parts.node(state, index);
    const name = nameOf(index);
    const { crashes, faults } = this.#parts.witness(state);
    const running = memory?.running ?? null;
    const works = running !== null && (running.kind === "job" || isLocal(running.action));
    if (crashes > 0 && power !== "off") {
      const ways = power === "up" ? (["crash", "power-cut"] as const) : (["power-cut"] as const);
      for (const way of ways) {
        emit(this.#draft(state).pays("crashes").ends(index, way), "fault", () => `${name}: ${way}`);
        const after = `${way}-with-effect` as const;
        if (works)
          emit(this.#draft(state).pays("crashes").ends(index, after), "fault", () => `${name}: ${after}`);
      }
      if (copy !== null && copy.unsynced !== null)
        emit(
          this.#draft(state).pays("crashes").ends(index, "power-cut-that-reverts"),
          "fault",
          () => `${name}: power cut, its record is as before`,
        );
    }
    if (faults > 0 && running?.kind === "action" && !isLocal(running.action)) {
      const { action } = running;
      emit(
        this.#draft(state).pays("faults").givesUp(index),
        "fault",
        () => `${name} loses the connection of its ${action.do}`,
      );
    }
  }

  #deliveries(state: ArrayLike<number>, emit: Emit): void {
    for (const id of this.#parts.inFlight(state)) this.#delivery(state, id, emit);
  }

  #delivery(state: ArrayLike<number>, id: number, emit: Emit): void {
    const message = this.#parts.steps.messages.valueOf(id);
    const label = (what: string) => () => `${what}: ${this.#parts.described(message)}`;
    emit(this.#draft(state).delivers(id), "free", label("arrives"));
    if (message.kind === "reply") return;
    const isUp = this.#parts.node(state, message.to).power === "up";
    if (this.#parts.isOrphan(message))
      emit(this.#draft(state).drops(id), "free", label("is lost after its asker has given up"));
    else if (isUp && this.#parts.witness(state).faults > 0)
      emit(this.#draft(state).pays("faults").doubles(id), "fault", label("arrives and will again"));
  }

  #wishes(state: ArrayLike<number>, emit: Emit): void {
    const { moves, leases, failovers, controlRestarts } = this.#parts.witness(state);
    const control = this.#parts.control(state);
    const owner = modelNodes.indexOf(control.ownership.owner);
    for (const index of modelNodes.keys()) {
      const name = nameOf(index);
      // B and C are alike until one has been asked for: a first wish for C is the same world with other
      // names.
      const isFirst = moves === this.#parts.bounds.moves;
      if (moves > 0 && index !== control.desired && !(isFirst && index === 2))
        emit(this.#draft(state).pays("moves").moves(index), "fault", () => `somebody wants it on ${name}`);
      if (leases > 0 && control.lease === null && (index === control.desired || index === owner))
        emit(this.#draft(state).pays("leases").leases(index), "fault", () => `somebody leases it on ${name}`);
      if (failovers > 0 && this.#parts.mayFailOver(state, index))
        emit(this.#draft(state).pays("failovers").failsOver(index), "fault", () => `a failover to ${name}`);
    }
    if (control.lease !== null) emit(this.#draft(state).releases(), "free", () => "the lease is released");
    if (controlRestarts > 0)
      emit(
        this.#draft(state).pays("controlRestarts").restarts(),
        "fault",
        () => "the control service is started anew",
      );
  }
}
