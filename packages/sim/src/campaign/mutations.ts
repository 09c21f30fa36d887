import {
  agentRules,
  assert,
  nextStep,
  type Action,
  type AgentRules,
  type CopyRecord,
  type Decision,
  type LaneInput,
} from "@flocker/core";
import { methodsOf } from "../control-store.ts";
import type { NodePorts, WorldNode } from "../world.ts";
import type { Mutation } from "./mutation.ts";

type Planner = AgentRules["planDataset"];

/** A mutation that replaces what the plan says. */
function planning(
  name: string,
  mistake: string,
  plan: (input: LaneInput, right: Planner) => Decision,
): Mutation {
  const planDataset: Planner = (input) => plan(input, agentRules.planDataset);
  return { name, mistake, make: () => ({ rules: { ...agentRules, planDataset } }) };
}

function atOnce(action: Action): Decision {
  return { kind: "act", urgent: true, action };
}

function isWaitingFor(decision: Decision, code: string): boolean {
  return decision.kind === "wait" && decision.waits.some((wait) => wait.code === code);
}

/** The deliberate mistakes that the campaign has to notice. */
export const mutations: readonly Mutation[] = [
  planning(
    "skip-the-relinquish",
    "The successor is promoted while the old copy still says primary.",
    (input, right) => {
      const decision = right(input);
      if (decision.kind !== "act" || decision.action.do !== "write-record") return decision;
      const { record } = decision.action;
      const address =
        record.successor === undefined ? null : (input.nodes.get(record.successor)?.dataAddress ?? null);
      if (record.role !== "relinquished" || address === null) return decision;
      assert(record.successor !== undefined && record.snapshot !== undefined, "a relinquishment names both");
      const peer = { node: record.successor, ...address };
      return {
        ...decision,
        action: { do: "hand-over", peer, epoch: record.epoch, snapshot: record.snapshot },
      };
    },
  ),
  planning("create-when-holder-unknown", "What nobody can show is created anew.", (input, right) => {
    const decision = right(input);
    const ownership = input.slice?.ownership ?? null;
    if (!isWaitingFor(decision, "holder-unknown") || ownership === null || input.local.kind !== "absent")
      return decision;
    const record = { dataset: input.dataset, epoch: nextStep(ownership.epoch), role: "primary" } as const;
    return atOnce({ do: "create", record, maximumSizeBytes: null, origin: {} });
  }),
  planning(
    "create-what-is-missing",
    "A copy that should be here and is not is created anew.",
    (input, right) => {
      const decision = right(input);
      const ownership = input.slice?.ownership ?? null;
      if (!isWaitingFor(decision, "copy-missing") || ownership === null || input.local.kind !== "absent")
        return decision;
      const record = { dataset: input.dataset, epoch: ownership.epoch, role: "primary" } as const;
      return atOnce({ do: "create", record, maximumSizeBytes: null, origin: {} });
    },
  ),
  planning(
    "destroy-without-purge",
    "What lies in the trash is destroyed before the grace time is over.",
    (input, right) => {
      const { local, slice } = input;
      const isTrashed = local.kind === "copy" && local.copy.trashedAt !== null;
      if (isTrashed && slice?.desired?.deletion?.purged === false) return atOnce({ do: "destroy" });
      return right(input);
    },
  ),
  planning("ignore-leases", "A lease keeps nothing where it is.", (input, right) =>
    right(input.slice === null ? input : { ...input, slice: { ...input.slice, lease: null } }),
  ),
  planning(
    "forget-the-unmount",
    "The last snapshot is taken, and the copy given up, while it is in use.",
    (input, right) => {
      const { local } = input;
      if (local.kind !== "copy" || local.copy.mountedAt === null) return right(input);
      const newest = local.copy.snapshots.at(-1)?.guid ?? null;
      const decision = right(input);
      if (decision.kind !== "act" || decision.action.do !== "unmount" || decision.urgent) return decision;
      return right({
        ...input,
        local: { kind: "copy", copy: { ...local.copy, mountedAt: null, unchangedSince: newest } },
      });
    },
  ),
  planning(
    "take-back-without-word",
    "What was relinquished is taken back without asking the successor.",
    (input, right) => {
      const decision = right(input);
      if (decision.kind !== "act" || decision.action.do !== "take-back") return decision;
      const record = {
        dataset: input.dataset,
        epoch: nextStep(decision.action.epoch),
        role: "primary",
      } as const;
      return atOnce({ do: "write-record", record });
    },
  ),
  planning(
    "settle-too-early",
    "What was relinquished becomes a replica before anybody has taken over.",
    (input, right) => {
      const { local } = input;
      if (local.kind !== "copy" || local.copy.record.role !== "relinquished") return right(input);
      if (right(input).kind !== "act") return right(input);
      const { epoch } = local.copy.record;
      return atOnce({ do: "write-record", record: { dataset: input.dataset, epoch, role: "replica" } });
    },
  ),
  planning(
    "promote-by-wish",
    "A replica becomes primary because the configuration wants it here.",
    (input, right) => {
      const decision = right(input);
      const { local } = input;
      const waits = isWaitingFor(decision, "held-by-node") || isWaitingFor(decision, "holder-unknown");
      if (!waits || local.kind !== "copy" || local.copy.record.role !== "replica") return decision;
      const epoch = nextStep(local.copy.record.epoch);
      return atOnce({ do: "write-record", record: { dataset: input.dataset, epoch, role: "primary" } });
    },
  ),
  planning(
    "delete-without-session",
    "What the last known configuration calls deleted is destroyed without asking.",
    (input, right) => right({ ...input, session: true }),
  ),
  planning(
    "mount-before-epoch-check",
    "A copy that should be served here is mounted without a look at what its record says.",
    (input, right) => {
      const { local, slice, self } = input;
      const isWanted = slice?.desired?.primary === self && slice.desired.deletion === null;
      if (!isWanted || local.kind !== "copy" || local.copy.trashedAt !== null) return right(input);
      const { mountedAt, record } = local.copy;
      return mountedAt === null && record.role !== "primary" ? atOnce({ do: "mount" }) : right(input);
    },
  ),
  planning("serve-what-is-superseded", "The owner of before a failover goes on serving.", (input, right) =>
    isWaitingFor(right(input), "superseded") ? atOnce({ do: "mount" }) : right(input),
  ),
  planning(
    "mount-before-birth-is-known",
    "A new copy is mounted before the control service knows that it was born.",
    (input, right) =>
      isWaitingFor(right(input), "birth-unconfirmed") ? atOnce({ do: "mount" }) : right(input),
  ),
  planning(
    "relinquish-without-the-last-snapshot",
    "The copy is given up for a successor that holds an older snapshot.",
    (input, right) => {
      const decision = right(input);
      const { local, peer, slice } = input;
      const held = peer?.unchangedSince ?? null;
      if (decision.kind !== "act" || decision.action.do !== "send" || local.kind !== "copy") return decision;
      const { record, snapshots, mountedAt } = local.copy;
      const isOlder = snapshots.some(({ guid }) => guid === held);
      if (mountedAt !== null || record.role !== "primary" || held === null || !isOlder) return decision;
      const successor = slice?.desired?.primary;
      assert(successor !== undefined, "what is handed over has a successor");
      const epoch = nextStep(record.epoch);
      const given = {
        dataset: input.dataset,
        epoch,
        role: "relinquished",
        successor,
        snapshot: held,
      } as const;
      return atOnce({ do: "write-record", record: given });
    },
  ),
  planning("keep-the-epoch", "A copy is given up without raising its epoch.", (input, right) => {
    const decision = right(input);
    if (decision.kind !== "act" || decision.action.do !== "write-record" || input.local.kind !== "copy")
      return decision;
    const { record } = decision.action;
    if (record.role !== "relinquished") return decision;
    return {
      ...decision,
      action: { do: "write-record", record: { ...record, epoch: input.local.copy.record.epoch } },
    };
  }),
  {
    name: "forget-the-fsync",
    mistake:
      "A record is not on the disk yet when the agent takes it for written, and may go with the power.",
    make: () => ({ agentPorts: withoutFsync }),
  },
  {
    name: "drop-leases-on-restart",
    mistake: "A control service that is started again has forgotten all leases.",
    make: () => {
      let isFirst = true;
      return {
        controlStore: (store) => {
          const current = isFirst ? store.current() : { ...store.current(), leases: [] };
          isFirst = false;
          return { ...methodsOf(store), current: () => current };
        },
      };
    },
  },
  {
    name: "break-promises",
    mistake: "A promise to a former holder is given and not kept.",
    make: () => ({
      rules: {
        ...agentRules,
        planDataset: (input) => agentRules.planDataset({ ...input, promised: null }),
        judgePromote: (judgement, request) =>
          agentRules.judgePromote({ ...judgement, promised: null }, request),
        judgeTakeBack: (judgement, request) => {
          const answer = agentRules.judgeTakeBack(judgement, request);
          return "granted" in answer ? { granted: true, promise: null } : answer;
        },
      },
    }),
  },
  {
    name: "purge-at-once",
    mistake: "The control service orders destruction before the grace time is over.",
    make: () => ({
      cluster: (cluster) =>
        new Proxy(cluster, {
          get: (target, key) =>
            key === "purgeDue"
              ? (now: number) => target.purgeDue(now + 10 * 365 * 86_400_000)
              : bound(Reflect.get(target, key), target),
        }),
    }),
  },
];

/** So long a record that was written without fsync is in the memory alone, as with a lazy file system. */
const unsyncedMs = 30_000;

function withoutFsync(node: WorldNode, ports: NodePorts): NodePorts {
  const { backend, clock } = ports;
  const written: { readonly before: CopyRecord; readonly at: number }[] = [];
  node.machine.incarnation.onDown((kind) => {
    if (kind !== "machine") return;
    const lost = written.filter(({ at }) => clock.monotonic() - at <= unsyncedMs);
    for (const { before } of lost.toReversed()) {
      const copy = node.disk.copies.get(before.dataset);
      if (copy === undefined) continue;
      copy.record = before;
      copy.observed = null;
    }
  });
  return {
    ...ports,
    backend: {
      ...backend,
      writeRecord: (record) => {
        const before = node.disk.copies.get(record.dataset)?.record;
        if (before !== undefined) written.push({ before, at: clock.monotonic() });
        return backend.writeRecord(record);
      },
    },
  };
}

function bound(value: unknown, target: object): unknown {
  return typeof value === "function" ? (value.bind(target) as unknown) : value;
}

/** The mistake of that name; that there is one is the caller's business. */
export function mutationNamed(name: string): Mutation {
  const found = mutations.find((mutation) => mutation.name === name);
  assert(
    found !== undefined,
    `there is a mutation called ${name}: ${mutations.map((m) => m.name).join(", ")}`,
  );
  return found;
}
