import { assert } from "../assert.ts";
import type { PartialReceive } from "../model/copy.ts";
import type { Milliseconds } from "../model/ids.ts";
import { failure, success, type Result } from "../model/problem.ts";
import type { Judgement, Verdict } from "../plan/judge.ts";
import type { PeerReply, PeerRequest } from "../protocol/peer.ts";
import { isOutdated, type AgentEvent, type AgentState, type Job, type Lane } from "./state.ts";

/** So many requests of other agents wait for one lane; more are told to come again. */
const jobsWaitingMaximum = 8;
/** So many streams are taken in at once; more are told to come again. */
const receivesMaximum = 8;

/**
 * Another agent asks: its request waits for its lane's turn, so that nothing else happens to the copy
 * meanwhile.
 */
export function queueJob(state: AgentState, lane: Lane, job: Job): void {
  if (lane.jobs.length >= jobsWaitingMaximum)
    return reply(state, job.id, busy("too many requests wait for this dataset"));
  lane.jobs.push(job);
}

export function withdrawn(state: AgentState, id: number): void {
  for (const lane of state.lanes.values()) {
    const index = lane.jobs.findIndex((job) => job.id === id);
    if (index < 0) continue;
    lane.jobs.splice(index, 1);
    reply(
      state,
      id,
      failure("transfer-interrupted", "The asking node has gone away.", "It asks again by itself."),
    );
  }
}

/** Answers the lane's first job, or begins the work that it asks for; the lane is running then. */
export function startJob(state: AgentState, lane: Lane, now: Milliseconds): void {
  const job = lane.jobs.shift();
  assert(job !== undefined, "a lane that starts a job has one");
  const answer = consider(state, lane, job);
  if (answer !== needsWork) return reply(state, job.id, answer);
  lane.running = { kind: "job", job, since: now, startedAt: now + state.wallOffsetMs, overdueAt: null };
  if (job.request.kind === "receive") state.receiving += 1;
  if (state.lookingAtAll) lane.touchedDuringLook = true;
  state.effects.push({ kind: "serve", id: job.id, dataset: lane.dataset, request: job.request });
}

/**
 * Answers what needs no work while the lane waits for another agent's word: two agents that ask each other
 * would wait for each other for ever. The copy does not change meanwhile, so what was last seen of it is
 * true.
 */
export function answerAtOnce(state: AgentState, lane: Lane): void {
  for (const job of lane.jobs.splice(0)) {
    const answer = consider(state, lane, job);
    if (answer === needsWork) lane.jobs.push(job);
    else reply(state, job.id, answer);
  }
}

const needsWork = Symbol("needs work");

function consider(state: AgentState, lane: Lane, job: Job): Result<PeerReply> | typeof needsWork {
  const { partial, slice, promised } = lane;
  const local: Lane["local"] = isOutdated(lane) ? { kind: "unknown" } : lane.local;
  const judgement: Judgement = { local, partial, slice, promised, from: job.from };
  const { request } = job;
  switch (request.kind) {
    case "describe":
      return describe(lane, local);
    case "take-back":
      return takeBack(state, lane, judgement, request);
    case "promote":
      return answerOf(state.rules.judgePromote(judgement, request), { kind: "promote" });
    case "receive": {
      const verdict =
        state.receiving >= receivesMaximum ? tellBusy : state.rules.judgeReceive(judgement, request);
      return answerOf(verdict, { kind: "receive", receivedBytes: 0 });
    }
  }
}

function answerOf(verdict: Verdict, already: PeerReply): Result<PeerReply> | typeof needsWork {
  switch (verdict.kind) {
    case "refuse":
      return { ok: false, problem: verdict.problem };
    case "already":
      return success(already);
    case "accept":
      return needsWork;
  }
}

/** The work that a job asked for has ended: its asker is told, and the lane has to look again. */
export function jobEnded(
  state: AgentState,
  lane: Lane,
  event: Extract<AgentEvent, { kind: "served" }>,
): void {
  assert(lane.running?.kind === "job" && lane.running.job.id === event.id, "a job that ended was running");
  if (lane.running.job.request.kind === "receive") state.receiving -= 1;
  lane.running = null;
  lane.mustLook = true;
  reply(state, event.id, event.result);
}

function describe(lane: Lane, local: Lane["local"]): Result<PeerReply> {
  const interrupted = lane.partial === null ? {} : { partial: withoutDataset(lane.partial) };
  switch (local.kind) {
    case "unknown":
      return busy("it has not read its storage yet");
    case "unreadable":
      return { ok: false, problem: local.problem };
    case "absent":
      return success<PeerReply>({
        kind: "describe",
        record: null,
        snapshots: [],
        unchangedSince: null,
        ...interrupted,
      });
    case "copy": {
      const { record, snapshots, unchangedSince } = local.copy;
      return success<PeerReply>({
        kind: "describe",
        record,
        snapshots: snapshots.map((snapshot) => snapshot.guid),
        unchangedSince,
        ...interrupted,
      });
    }
  }
}

function withoutDataset({ snapshot, base, token }: PartialReceive): Omit<PartialReceive, "dataset"> {
  return { snapshot, base, token };
}

/** The promise is durable before the other node hears of it. */
function takeBack(
  state: AgentState,
  lane: Lane,
  judgement: Judgement,
  request: Extract<PeerRequest, { kind: "take-back" }>,
): Result<PeerReply> {
  const answer = state.rules.judgeTakeBack(judgement, request);
  if ("problem" in answer) return { ok: false, problem: answer.problem };
  if (answer.promise !== null) {
    lane.promised = answer.promise;
    state.effects.push({
      kind: "write",
      changes: [{ table: "promises", key: lane.dataset, value: answer.promise }],
    });
  }
  return success<PeerReply>({ kind: "take-back", granted: answer.granted });
}

function busy(why: string): { ok: false; problem: ReturnType<typeof failure>["problem"] } {
  return failure("peer-busy", `The other node is busy: ${why}.`, "It is tried again by itself.");
}

const tellBusy: Verdict = {
  kind: "refuse",
  problem: busy("it takes in as many transfers as it can at once").problem,
};

function reply(state: AgentState, id: number, result: Result<PeerReply>): void {
  state.effects.push({ kind: "reply", id, result });
}
