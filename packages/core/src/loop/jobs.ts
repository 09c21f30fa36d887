import { assert } from "../assert.ts";
import type { Milliseconds } from "../model/ids.ts";
import { failure, success, type Result } from "../model/problem.ts";
import { judgePromote, judgeReceive, judgeTakeBack, type Judgement, type Verdict } from "../plan/judge.ts";
import type { PeerReply } from "../protocol/peer.ts";
import type { AgentEvent, AgentState, Job, Lane } from "./state.ts";

/** So many requests of other agents wait for one lane; more are told to come again. */
const jobsWaitingMaximum = 8;
/** So many streams are taken in at once; more are told to come again. */
const receivesMaximum = 8;

/** Another agent asks: its request waits for its lane's turn, so that nothing else happens to the copy meanwhile. */
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
  const judgement: Judgement = {
    local: lane.local,
    slice: lane.slice,
    promised: lane.promised,
    from: job.from,
  };
  const { request } = job;
  switch (request.kind) {
    case "describe":
      return reply(state, job.id, describe(lane));
    case "take-back":
      return takeBack(state, lane, job, judgement);
    case "promote":
      return judged(
        state,
        lane,
        { job, verdict: judgePromote(judgement, request), already: { kind: "promote" } },
        now,
      );
    case "receive": {
      const verdict = state.receiving >= receivesMaximum ? tellBusy : judgeReceive(judgement, request);
      return judged(state, lane, { job, verdict, already: { kind: "receive", receivedBytes: 0 } }, now);
    }
  }
}

function judged(
  state: AgentState,
  lane: Lane,
  what: { readonly job: Job; readonly verdict: Verdict; readonly already: PeerReply },
  now: Milliseconds,
): void {
  const { job, verdict, already } = what;
  switch (verdict.kind) {
    case "refuse":
      return reply(state, job.id, { ok: false, problem: verdict.problem });
    case "already":
      return reply(state, job.id, success(already));
    case "accept":
      lane.running = { kind: "job", job, since: now, startedAt: now + state.wallOffsetMs, overdueAt: null };
      if (job.request.kind === "receive") state.receiving += 1;
      if (state.lookingAtAll) lane.touchedDuringLook = true;
      state.effects.push({ kind: "serve", id: job.id, dataset: lane.dataset, request: job.request });
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

function describe(lane: Lane): Result<PeerReply> {
  const { local } = lane;
  switch (local.kind) {
    case "unknown":
      return busy("it has not read its storage yet");
    case "unreadable":
      return { ok: false, problem: local.problem };
    case "absent":
      return success<PeerReply>({ kind: "describe", record: null, snapshots: [], unchangedSince: null });
    case "copy": {
      const { record, snapshots, unchangedSince } = local.copy;
      return success<PeerReply>({
        kind: "describe",
        record,
        snapshots: snapshots.map((snapshot) => snapshot.guid),
        unchangedSince,
      });
    }
  }
}

/** The promise is durable before the other node hears of it. */
function takeBack(state: AgentState, lane: Lane, job: Job, judgement: Judgement): void {
  assert(job.request.kind === "take-back", "the job is the question");
  const answer = judgeTakeBack(judgement, job.request);
  if ("problem" in answer) return reply(state, job.id, { ok: false, problem: answer.problem });
  if (answer.promise !== null) {
    lane.promised = answer.promise;
    state.effects.push({
      kind: "write",
      changes: [{ table: "promises", key: lane.dataset, value: answer.promise }],
    });
  }
  reply(state, job.id, success<PeerReply>({ kind: "take-back", granted: answer.granted }));
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
