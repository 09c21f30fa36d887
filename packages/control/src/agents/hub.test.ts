// The hub with the real cluster and store in memory; agents are the other ends of in-memory links.
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import {
  agentProtocolVersion,
  firstEpoch,
  heartbeatIntervalMs,
  linkSilenceMs,
  type AgentToControl,
  type Clock,
  type ControlToAgent,
  type DatasetId,
  type Era,
  type Link,
  type NodeId,
} from "@flocker/core";
import { ringLog, systemIds } from "@flocker/host";
import type { ClusterCore } from "../cluster/cluster-core.ts";
import { createCluster } from "../cluster/create-cluster.ts";
import { openSqliteStore } from "../store/sqlite-store.ts";
import { AgentHub } from "./hub.ts";

const nodeA = "a0000000-0000-4000-8000-000000000000" as NodeId;
const nodeB = "b0000000-0000-4000-8000-000000000000" as NodeId;
const caller = { author: "user-test" };

/** A clock whose time the test sets; whoever sleeps is woken when that has passed. */
class TestClock implements Clock {
  #now = 1_000_000;
  readonly #sleepers = new Set<{ at: number; wake: () => void }>();
  now = (): number => this.#now;
  monotonic = (): number => this.#now;
  sleep: Clock["sleep"] = (ms, abort) =>
    new Promise((resolve) => {
      const sleeper = { at: this.#now + ms, wake: resolve };
      this.#sleepers.add(sleeper);
      abort?.addEventListener("abort", () => resolve(), { once: true });
    });

  async advance(ms: number): Promise<void> {
    const until = this.#now + ms;
    while (this.#now < until) {
      this.#now = Math.min(until, this.#now + 1_000);
      for (const sleeper of this.#sleepers) {
        if (sleeper.at > this.#now) continue;
        this.#sleepers.delete(sleeper);
        sleeper.wake();
      }
      await settled();
    }
  }
}

/** All that was caused has happened: microtasks run before the next turn of the event loop. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** An agent's end of a link. */
class AgentEnd {
  readonly heard: ControlToAgent[] = [];
  closed = false;
  readonly #queue: unknown[] = [];
  #wake: (() => void) | undefined;
  readonly link: Link = {
    send: (message) => void (this.closed || this.heard.push(message as ControlToAgent)),
    messages: () => this.#messages(),
    close: () => this.close(),
  };

  async *#messages(): AsyncGenerator<unknown> {
    for (;;) {
      while (this.#queue.length > 0) yield this.#queue.shift();
      if (this.closed) return;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  async say(message: unknown): Promise<void> {
    this.#queue.push(message);
    this.#wake?.();
    await settled();
  }

  close(): void {
    this.closed = true;
    this.#wake?.();
  }

  kinds(): string[] {
    return this.heard.map((message) => message.kind);
  }

  slices(): Extract<ControlToAgent, { kind: "slice" }>[] {
    return this.heard.filter((message) => message.kind === "slice");
  }

  refusal(): string | undefined {
    const last = this.heard.at(-1);
    return last?.kind === "refused" ? last.problem.code : undefined;
  }
}

interface Rig {
  readonly clock: TestClock;
  readonly cluster: ClusterCore;
  readonly hub: AgentHub;
  connect(node: NodeId, rest?: Partial<Extract<AgentToControl, { kind: "hello" }>>): Promise<AgentEnd>;
}

function openRig(t: TestContext): Rig {
  const clock = new TestClock();
  const store = openSqliteStore(":memory:", { clock, ids: systemIds });
  assert.ok(store.ok);
  const log = ringLog();
  const cluster = createCluster({ store: store.value, clock, ids: systemIds, log, graceMs: 1_000 });
  const hub = new AgentHub({ cluster, clock, log, version: "1" });
  const stopping = new AbortController();
  const running = hub.run(stopping.signal);
  t.after(async () => {
    stopping.abort();
    await running;
    store.value.close();
  });
  return {
    clock,
    cluster,
    hub,
    connect: async (node, rest = {}) => {
      const end = new AgentEnd();
      void hub.accept(end.link, node, "192.0.2.1");
      await end.say({ ...hello(node), ...rest });
      return end;
    },
  };
}

function hello(node: NodeId): Extract<AgentToControl, { kind: "hello" }> {
  return {
    kind: "hello",
    protocol: agentProtocolVersion,
    version: "1",
    node,
    era: "e0000000-0000-4000-8000-000000000000" as Era,
    incarnation: "first",
    name: `name-${node.slice(0, 1)}`,
    dataAddress: { host: null, port: 4525 },
    backend: {
      kind: "directory",
      capabilities: {
        liveSnapshots: false,
        resume: false,
        quota: false,
        clone: false,
        compression: false,
        encryption: false,
      },
    },
    knownRevision: 0,
  };
}

function create(rig: Rig, primary: NodeId): DatasetId {
  const made = rig.cluster.createDataset({ primary, maximumSizeBytes: null, metadata: {} }, caller);
  assert.ok(made.ok, made.ok ? "" : made.problem.message);
  return made.value.dataset;
}

const mounted = (dataset: DatasetId): AgentToControl => ({
  kind: "state",
  sequence: 1,
  complete: { begins: true, ends: true },
  datasets: [
    {
      dataset,
      copy: {
        record: { dataset, epoch: firstEpoch, role: "primary" },
        mountedAt: `/flocker/${dataset}`,
        trashedAt: null,
        maximumSizeBytes: null,
        usedBytes: null,
        snapshots: [],
      },
      unreadable: null,
      renounced: null,
      activity: null,
      reasons: [],
    },
  ],
  gone: [],
  capacity: null,
});

test("an agent is greeted with its whole slice, and hears of nothing that is not its business", async (t) => {
  const rig = openRig(t);
  const [a, b] = [await rig.connect(nodeA), await rig.connect(nodeB)];
  assert.deepEqual(a.kinds(), ["welcome", "slice"]);
  const dataset = create(rig, nodeA);
  assert.deepEqual(
    a
      .slices()
      .at(-1)
      ?.datasets.map((entry) => entry.dataset),
    [dataset],
  );
  assert.deepEqual(b.kinds(), ["welcome", "slice"], "the other agent hears nothing");
});

test("a change costs one message to each node that it concerns", async (t) => {
  const rig = openRig(t);
  const [a, b] = [await rig.connect(nodeA), await rig.connect(nodeB)];
  const dataset = create(rig, nodeA);
  await a.say(mounted(dataset));
  const before = [a.slices().length, b.slices().length];
  assert.ok(rig.cluster.updateDataset(dataset, { primary: nodeB }, caller).ok);
  assert.deepEqual(
    [a.slices().length, b.slices().length],
    before.map((count) => count + 1),
  );
  assert.equal(
    b
      .slices()
      .at(-1)
      ?.nodes.some((node) => node.node === nodeA),
    true,
    "it is told who holds it",
  );
});

test("an agent that no longer is concerned is told so", async (t) => {
  const rig = openRig(t);
  const b = await rig.connect(nodeB);
  await rig.connect(nodeA);
  const dataset = create(rig, nodeA);
  assert.ok(rig.cluster.updateDataset(dataset, { primary: nodeB }, caller).ok);
  assert.ok(rig.cluster.updateDataset(dataset, { primary: nodeA }, caller).ok);
  assert.deepEqual(b.slices().at(-1)?.removed, [dataset]);
});

test("a report is kept before it is acknowledged", async (t) => {
  const rig = openRig(t);
  const a = await rig.connect(nodeA);
  const dataset = create(rig, nodeA);
  await a.say(mounted(dataset));
  assert.ok(a.kinds().includes("state-acknowledged"));
  assert.equal(rig.cluster.dataset(dataset)?.ownership?.born, true);
});

test("a second agent with the same certificate is refused and shown; the first goes on", async (t) => {
  const rig = openRig(t);
  const first = await rig.connect(nodeA);
  const second = await rig.connect(nodeA, { incarnation: "second" });
  assert.equal(second.refusal(), "duplicate-node-session");
  assert.equal(second.closed, true);
  assert.equal(first.closed, false);
  assert.equal(rig.cluster.node(nodeA)?.refusedSession?.host, "192.0.2.1");
});

test("the same process that connects again takes its old session over", async (t) => {
  const rig = openRig(t);
  const old = await rig.connect(nodeA);
  const again = await rig.connect(nodeA);
  assert.equal(old.closed, true);
  assert.deepEqual(again.kinds(), ["welcome", "slice"]);
  assert.equal(
    rig.cluster.node(nodeA)?.connected,
    true,
    "the end of the old link is not the end of the session",
  );
});

test("an agent that speaks for another node is refused", async (t) => {
  const rig = openRig(t);
  const end = new AgentEnd();
  void rig.hub.accept(end.link, nodeA, "192.0.2.1");
  await end.say(hello(nodeB));
  assert.equal(end.refusal(), "protocol-violation");
});

test("versions one apart work together, others are refused with the remedy", async (t) => {
  const rig = openRig(t);
  assert.equal((await rig.connect(nodeA, { protocol: agentProtocolVersion + 1 })).refusal(), undefined);
  assert.equal(
    (await rig.connect(nodeB, { protocol: agentProtocolVersion + 2 })).refusal(),
    "protocol-version",
  );
});

test("what is not of the protocol ends the session, and nothing else", async (t) => {
  const rig = openRig(t);
  const [a, b] = [await rig.connect(nodeA), await rig.connect(nodeB)];
  for (const nonsense of [{ kind: "state" }, "text", null, { kind: "unheard-of" }]) {
    const end = await rig.connect(nodeA);
    await end.say(nonsense);
    assert.equal(end.refusal(), "protocol-violation", JSON.stringify(nonsense));
  }
  assert.equal(a.closed, true);
  assert.equal(b.closed, false);
});

test("an agent that says nothing is heard no more after 30 s, and shown as not connected", async (t) => {
  const rig = openRig(t);
  const a = await rig.connect(nodeA);
  await rig.clock.advance(heartbeatIntervalMs);
  assert.ok(a.kinds().includes("heartbeat"), "it hears of the control service meanwhile");
  await rig.clock.advance(linkSilenceMs);
  assert.equal(a.closed, true);
  assert.equal(rig.cluster.node(nodeA)?.connected, false);
});

test("a connection that never says hello is closed after 10 s", async (t) => {
  const rig = openRig(t);
  const end = new AgentEnd();
  void rig.hub.accept(end.link, nodeA, "192.0.2.1");
  await rig.clock.advance(10_000);
  assert.equal(end.closed, true);
});

test("a slow agent is not flooded: what changes meanwhile comes together once it has acknowledged", async (t) => {
  const rig = openRig(t);
  const a = await rig.connect(nodeA);
  const datasets = Array.from({ length: 40 }, () => create(rig, nodeA));
  const unread = a.slices();
  assert.ok(unread.length <= 8, `${unread.length} messages are on their way`);
  await a.say({ kind: "slice-acknowledged", sequence: unread.at(-1)?.sequence ?? 0 });
  const told = a.slices().flatMap((slice) => slice.datasets.map((entry) => entry.dataset));
  assert.deepEqual(new Set(told), new Set(datasets), "nothing is left out");
});

test("a lease counts once the agent has acknowledged the slice that has it", async (t) => {
  const rig = openRig(t);
  const a = await rig.connect(nodeA);
  const dataset = create(rig, nodeA);
  await a.say({ kind: "slice-acknowledged", sequence: a.slices().at(-1)?.sequence ?? 0 });
  assert.equal(rig.hub.hasAcknowledged(nodeA, dataset), true);
  assert.ok(rig.cluster.acquireLease({ dataset, node: nodeA, expiresAt: null }, caller).ok);
  assert.equal(rig.hub.hasAcknowledged(nodeA, dataset), false);
  await a.say({ kind: "slice-acknowledged", sequence: a.slices().at(-1)?.sequence ?? 0 });
  assert.equal(rig.hub.hasAcknowledged(nodeA, dataset), true);
  assert.equal(rig.hub.hasAcknowledged(nodeB, dataset), false);
});

test("a large slice comes in parts of which none is large", async (t) => {
  const rig = openRig(t);
  for (let index = 0; index < 1_200; index += 1) {
    const made = rig.cluster.createDataset(
      { primary: nodeA, maximumSizeBytes: null, metadata: {} },
      { ...caller, lenient: true },
    );
    assert.ok(made.ok);
  }
  const a = await rig.connect(nodeA);
  const parts = a.slices();
  assert.deepEqual(
    parts.map((part) => part.datasets.length),
    [500, 500, 200],
  );
  assert.deepEqual(
    parts.map((part) => part.complete),
    [
      { begins: true, ends: false },
      { begins: false, ends: false },
      { begins: false, ends: true },
    ],
  );
});

test("who listens is told once the holder's agent has taken a lease in, and of no other acknowledgement", async (t) => {
  const rig = openRig(t);
  const a = await rig.connect(nodeA);
  const dataset = create(rig, nodeA);
  const told: DatasetId[][] = [];
  rig.hub.onAcknowledged((datasets) => void told.push([...datasets]));
  const acknowledge = (): Promise<void> =>
    a.say({ kind: "slice-acknowledged", sequence: a.slices().at(-1)?.sequence ?? 0 });
  await acknowledge();
  assert.deepEqual(told, [], "no lease, no news");
  assert.ok(rig.cluster.acquireLease({ dataset, node: nodeA, expiresAt: null }, caller).ok);
  assert.deepEqual([told, rig.hub.hasAcknowledged(nodeA, dataset)], [[], false]);
  await acknowledge();
  assert.deepEqual([told, rig.hub.hasAcknowledged(nodeA, dataset)], [[[dataset]], true]);
});
