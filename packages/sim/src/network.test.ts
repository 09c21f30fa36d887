// Links and the data channel: order, back-pressure, and every way in which a connection can end.
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseDatasetId, ProblemError, success } from "@flocker/core";
import type { Link, PeerHandler, PeerReply, PeerRequest, Result } from "@flocker/core";
import { World } from "./world.ts";
import type { WorldNode } from "./world.ts";

const never = new AbortController().signal;
const dataset = parseDatasetId("6c9f3a1e-0d5b-4c7e-9a42-1f2e3d4c5b6a");
assert.ok(dataset);
const describeIt: PeerRequest = { kind: "describe", dataset };

interface Conversation {
  readonly world: World;
  readonly control: WorldNode;
  readonly agent: WorldNode;
  readonly link: Link;
  readonly accepted: Link[];
  readonly atControl: unknown[];
  readonly atAgent: unknown[];
  readonly ended: string[];
}

/** A link between an agent and the control service, and what both ends see of it. */
async function conversation(seed: number): Promise<Conversation> {
  const world = new World({ seed });
  const [control, agent] = [world.node("control"), world.node("a")];
  const accepted: Link[] = [];
  const atControl: unknown[] = [];
  const atAgent: unknown[] = [];
  const ended: string[] = [];
  const collect = async (link: Link, into: unknown[], name: string): Promise<void> => {
    for await (const message of link.messages()) into.push(message);
    ended.push(name);
  };
  control.start((ports) =>
    ports.serveLinks((link, from) => {
      assert.deepEqual(from, { node: agent.machine.id, host: "a" });
      accepted.push(link);
      link.send("greeting");
      void collect(link, atControl, "control");
    }),
  );
  const dialled = await world.settle(agent.ports.dialer.dial(never));
  assert.ok(dialled.ok);
  void collect(dialled.value, atAgent, "agent");
  return { world, control, agent, link: dialled.value, accepted, atControl, atAgent, ended };
}

test("messages arrive in their order and as copies", async () => {
  const { world, link, accepted, atControl, atAgent } = await conversation(1);
  const message = { kind: "n", list: [0], gone: undefined };
  for (let n = 0; n < 50; n += 1) {
    message.list[0] = n;
    link.send(message);
    accepted[0]?.send(n);
  }
  await world.runFor(1_000);
  const numbers = Array.from({ length: 50 }, (_, n) => n);
  assert.deepEqual(
    atControl,
    numbers.map((n) => ({ kind: "n", list: [n] })),
  );
  assert.deepEqual(atAgent, ["greeting", ...numbers]);
  assert.deepEqual(world.node("a").machine.counters.counts().messages, { n: 50 });
});

test("a close is seen by the other side after everything that was sent before", async () => {
  const { world, link, atControl, ended, accepted } = await conversation(2);
  link.send(1);
  link.send(2);
  link.close();
  link.send(3);
  await world.runFor(100);
  accepted[0]?.send("into the void");
  await world.runFor(100);
  assert.deepEqual(atControl, [1, 2]);
  assert.deepEqual(new Set(ended), new Set(["agent", "control"]));
  assert.equal(world.network.openConnections(), 0);
});

test("both ends see the end of a link that is cut", async () => {
  const { world, control, agent, link, ended } = await conversation(3);
  world.network.cut(agent.machine, control.machine);
  link.send("lost");
  await world.runFor(100);
  assert.deepEqual(new Set(ended), new Set(["agent", "control"]));
  const again = await world.settle(agent.ports.dialer.dial(never));
  assert.ok(again.ok);
});

test("a partition that heals soon only delays, in order", async () => {
  const { world, control, agent, link, atControl, ended } = await conversation(4);
  link.send(1);
  world.network.partition(agent.machine, control.machine);
  link.send(2);
  await world.runFor(20_000);
  assert.deepEqual(atControl, []);
  world.network.heal(agent.machine, control.machine);
  link.send(3);
  await world.runFor(1_000);
  assert.deepEqual(atControl, [1, 2, 3]);
  await world.runFor(60_000);
  assert.deepEqual(ended, []);
});

test("a one-way partition ends the link at both sides after the silence", async () => {
  const { world, control, agent, link, accepted, atControl, atAgent, ended } = await conversation(5);
  world.network.partition(agent.machine, control.machine, "one-way");
  link.send("vanishes");
  accepted[0]?.send("arrives");
  await world.runFor(29_000);
  assert.deepEqual(ended, []);
  assert.deepEqual(atAgent, ["greeting", "arrives"]);
  await world.runFor(2_000);
  assert.deepEqual(new Set(ended), new Set(["agent", "control"]));
  world.network.heal();
  await world.runFor(1_000);
  assert.deepEqual(atControl, []);
});

test("the crash of a program is seen soon, that of a machine after the silence", async () => {
  for (const seed of [1, 2, 3, 4]) {
    const program = await conversation(seed);
    program.agent.machine.crash("program");
    await program.world.runFor(100);
    assert.deepEqual(program.ended, ["control"]);
    const machine = await conversation(seed);
    machine.agent.machine.crash("machine");
    await machine.world.runFor(29_000);
    assert.deepEqual(machine.ended, []);
    await machine.world.runFor(2_000);
    assert.deepEqual(machine.ended, ["control"]);
  }
});

test("a message to a machine that has started anew ends the link", async () => {
  const { world, agent, accepted, ended } = await conversation(6);
  agent.machine.crash("machine");
  agent.restart();
  await world.runFor(1_000);
  assert.deepEqual(ended, []);
  accepted[0]?.send("who are you");
  await world.runFor(100);
  assert.deepEqual(ended, ["control"]);
});

test("a paused side is taken for dead after the silence", async () => {
  const { world, agent, ended, atAgent, accepted } = await conversation(7);
  await world.runFor(100);
  agent.machine.pause();
  accepted[0]?.send("waits");
  await world.runFor(31_000);
  assert.deepEqual(ended, ["control"]);
  assert.deepEqual(atAgent, ["greeting"]);
  agent.machine.resume();
  await world.runFor(100);
  assert.deepEqual(ended, ["control", "agent"]);
  assert.deepEqual(atAgent, ["greeting", "waits"]);
});

test("dialling fails where nobody listens, is refused, unreachable, or called off", async () => {
  const world = new World({ seed: 8 });
  const [control, agent] = [world.node("control"), world.node("a")];
  const dial = async (): Promise<{ code: string; tookMs: number }> => {
    const since = world.elapsedMs;
    const result = await world.settle(agent.ports.dialer.dial(never));
    assert.ok(!result.ok);
    return { code: result.problem.code, tookMs: world.elapsedMs - since };
  };
  const nobody = await dial();
  assert.equal(nobody.code, "control-unreachable");
  assert.ok(nobody.tookMs < 10);
  control.start((ports) => ports.serveLinks(() => {}));
  world.network.refuse(control.machine);
  assert.ok((await dial()).tookMs < 10);
  world.network.accept(control.machine);
  world.network.partition(control.machine, agent.machine, "one-way");
  assert.ok((await dial()).tookMs >= 10_000);
  const controller = new AbortController();
  const calledOff = agent.ports.dialer.dial(controller.signal);
  await world.runFor(500);
  controller.abort();
  const since = world.elapsedMs;
  const result = await world.settle(calledOff);
  assert.ok(!result.ok && result.problem.code === "control-unreachable");
  assert.equal(world.elapsedMs, since);
});

/** Two nodes, of which b answers with the handler. */
function pair(seed: number, handler: PeerHandler): { world: World; a: WorldNode; b: WorldNode } {
  const world = new World({ seed });
  const [a, b] = [world.node("a"), world.node("b")];
  b.start((ports) => ports.servePeers(handler));
  return { world, a, b };
}

const nothingHeld: Result<PeerReply> = success({
  kind: "describe",
  record: null,
  snapshots: [],
  unchangedSince: null,
});

/** A body that counts how many chunks were asked for, and whether it was left. */
function countedBody(chunks: number): {
  body: AsyncIterable<Uint8Array>;
  made: () => number;
  left: () => boolean;
} {
  let made = 0;
  let left = false;
  const generate = async function* (): AsyncGenerator<Uint8Array> {
    try {
      for (; made < chunks;) {
        made += 1;
        yield Uint8Array.of(made);
      }
    } finally {
      left = true;
    }
  };
  return { body: generate(), made: () => made, left: () => left };
}

test("a request is answered by the handler, who knows who asks", async () => {
  const { world, a, b } = pair(10, async (from, request) => {
    assert.equal(from, a.machine.id);
    assert.deepEqual(request, describeIt);
    return nothingHeld;
  });
  const result = await world.settle(a.ports.peers.ask(b.address, describeIt, { abort: never }));
  assert.deepEqual(result, nothingHeld);
  assert.deepEqual(a.machine.counters.counts().asks, { describe: 1 });
  await world.runFor(100);
  assert.equal(world.network.openConnections("peer"), 0);
});

test("a body is made no faster than the handler takes it", async () => {
  const taken: number[] = [];
  const progress: number[] = [];
  const { world, a, b } = pair(11, async (_from, _request, body) => {
    for await (const chunk of body) {
      taken.push(chunk[0] ?? 0);
      await b.ports.clock.sleep(1_000);
    }
    return success({ kind: "receive", receivedBytes: taken.length });
  });
  const { body, made, left } = countedBody(30);
  const asked = a.ports.peers.ask(b.address, describeIt, {
    body,
    abort: never,
    onProgress: (doneBytes) => progress.push(doneBytes),
  });
  await world.runFor(10_500);
  assert.ok(made() >= taken.length && made() <= taken.length + 5, `${made()} made, ${taken.length} taken`);
  const result = await world.settle(asked);
  assert.deepEqual(result, success({ kind: "receive", receivedBytes: 30 }));
  assert.deepEqual(
    taken,
    Array.from({ length: 30 }, (_, index) => index + 1),
  );
  assert.deepEqual(progress, taken);
  assert.ok(left());
});

test("a handler that answers early ends the body", async () => {
  const { world, a, b } = pair(12, async () => ({
    ok: false,
    problem: { code: "target-holds-primary", message: "No.", remedy: "Do not." },
  }));
  const { body, left, made } = countedBody(1_000);
  const result = await world.settle(a.ports.peers.ask(b.address, describeIt, { body, abort: never }));
  assert.ok(!result.ok && result.problem.code === "target-holds-primary");
  await world.runFor(100);
  assert.ok(left() && made() < 20);
});

test("a body that was left before its end cannot be a success", async () => {
  const { world, a, b } = pair(13, async (_from, _request, body) => {
    for await (const _chunk of body) break;
    return nothingHeld;
  });
  const { body } = countedBody(3);
  const result = await world.settle(a.ports.peers.ask(b.address, describeIt, { body, abort: never }));
  assert.ok(!result.ok && result.problem.code === "internal");
});

interface Broken {
  readonly result: Result<PeerReply>;
  readonly handlerStarted: boolean;
  readonly handlerCode: string | null;
  readonly handlerAborted: boolean;
  readonly takenChunks: number;
  readonly tookMs: number;
}

/** A transfer to which something happens; the handler reads the body and then works for a second. */
async function brokenTransfer(
  seed: number,
  happen: (world: World, a: WorldNode, b: WorldNode, controller: AbortController) => void,
): Promise<Broken> {
  let handlerStarted = false;
  let handlerCode: string | null = null;
  let handlerAborted = false;
  let takenChunks = 0;
  const { world, a, b } = pair(seed, async (_from, _request, body, abort) => {
    handlerStarted = true;
    abort.addEventListener("abort", () => {
      handlerAborted = true;
    });
    const { clock } = b.ports;
    try {
      for await (const _chunk of body) {
        takenChunks += 1;
        await clock.sleep(100);
      }
      await clock.sleep(1_000);
    } catch (error) {
      assert.ok(error instanceof ProblemError);
      handlerCode = error.problem.code;
      throw error;
    }
    return success({ kind: "receive", receivedBytes: takenChunks });
  });
  const controller = new AbortController();
  const { body, left } = countedBody(20);
  happen(world, a, b, controller);
  const result = await world.settle(
    a.ports.peers.ask(b.address, describeIt, { body, abort: controller.signal }),
  );
  const tookMs = world.elapsedMs;
  await world.runFor(100_000);
  assert.ok(left() || !handlerStarted, "a body that was begun is ended");
  return { result, handlerStarted, handlerCode, handlerAborted, takenChunks, tookMs };
}

function codeOf(result: Result<PeerReply>): string {
  return result.ok ? "ok" : result.problem.code;
}

test("a connection that is cut at any chunk interrupts both sides", async () => {
  for (const chunks of [0, 1, 7, 15]) {
    const broken = await brokenTransfer(20 + chunks, (world) => {
      world.peerFates = () => ({ kind: "cut-after-chunks", chunks });
    });
    assert.equal(codeOf(broken.result), "transfer-interrupted");
    assert.equal(broken.handlerCode, "transfer-interrupted");
    // What was on its way reaches the handler before the break does.
    assert.ok(broken.takenChunks >= chunks && broken.takenChunks <= chunks + 5);
  }
});

test("a cut after the whole body leaves the handler to its end", async () => {
  const broken = await brokenTransfer(40, (world) => {
    world.peerFates = () => ({ kind: "cut-after-chunks", chunks: 20 });
  });
  assert.equal(codeOf(broken.result), "transfer-interrupted");
  assert.equal(broken.takenChunks, 20);
  assert.ok(broken.handlerAborted);
});

test("an answer may be lost although the handler has done its work", async () => {
  const broken = await brokenTransfer(41, (world) => {
    world.peerFates = () => ({ kind: "answer-lost" });
  });
  assert.equal(codeOf(broken.result), "transfer-interrupted");
  assert.equal(broken.takenChunks, 20);
  assert.equal(broken.handlerCode, null);
});

test("a request may be lost or refused before the handler hears of it", async () => {
  const lost = await brokenTransfer(42, (world) => {
    world.peerFates = () => ({ kind: "request-lost" });
  });
  assert.equal(codeOf(lost.result), "transfer-interrupted");
  assert.equal(lost.handlerStarted, false);
  const refused = await brokenTransfer(43, (world) => {
    world.peerFates = () => ({ kind: "refused" });
  });
  assert.equal(codeOf(refused.result), "peer-unreachable");
  assert.equal(refused.handlerStarted, false);
});

test("a partition in the middle makes the peer unreachable after the silence", async () => {
  const broken = await brokenTransfer(44, (world, a, b) => {
    world.scheduler.after(550, "partition", () => world.network.partition(a.machine, b.machine));
  });
  assert.equal(codeOf(broken.result), "peer-unreachable");
  assert.ok(broken.tookMs >= 30_500 && broken.tookMs < 31_000, String(broken.tookMs));
  assert.equal(broken.handlerCode, "transfer-interrupted");
});

test("a request that is called off ends at once, and the handler hears of it", async () => {
  const broken = await brokenTransfer(45, (world, _a, _b, controller) => {
    world.scheduler.after(550, "abort", () => controller.abort());
  });
  assert.equal(codeOf(broken.result), "transfer-interrupted");
  assert.equal(broken.tookMs, 550);
  assert.equal(broken.handlerCode, "transfer-interrupted");
});

test("the crash of the answering side interrupts, or is silence where the machine is gone", async () => {
  const program = await brokenTransfer(46, (world, _a, b) => {
    world.scheduler.after(550, "crash", () => b.machine.crash("program"));
  });
  assert.equal(codeOf(program.result), "transfer-interrupted");
  const machine = await brokenTransfer(47, (world, _a, b) => {
    world.scheduler.after(550, "crash", () => b.machine.crash("machine"));
  });
  assert.equal(codeOf(machine.result), "peer-unreachable");
  assert.equal(machine.handlerCode, null, "what has crashed sees nothing");
});

test("the crash of the asking side interrupts the handler", async () => {
  let seen: string | null = null;
  const { world, a, b } = pair(48, async (_from, _request, body) => {
    try {
      for await (const _chunk of body) await b.ports.clock.sleep(100);
    } catch (error) {
      seen = error instanceof ProblemError ? error.problem.code : "other";
    }
    return nothingHeld;
  });
  let settled = false;
  const asked = a.ports.peers.ask(b.address, describeIt, { body: countedBody(50).body, abort: never });
  void asked.finally(() => {
    settled = true;
  });
  await world.runFor(500);
  a.machine.crash();
  await world.runFor(5_000);
  assert.equal(seen, "transfer-interrupted");
  assert.equal(settled, false, "a promise of a crashed incarnation never settles");
});

test("a body that fails gives its problem to the asking side and interrupts the other", async () => {
  let seen: string | null = null;
  const { world, a, b } = pair(49, async (_from, _request, body) => {
    try {
      for await (const _chunk of body);
    } catch (error) {
      seen = error instanceof ProblemError ? error.problem.code : "other";
      throw error;
    }
    return nothingHeld;
  });
  const failing = async function* (): AsyncGenerator<Uint8Array> {
    yield Uint8Array.of(1);
    throw new ProblemError({
      code: "storage-unreadable",
      message: "The disk is broken.",
      remedy: "Replace it.",
    });
  };
  const result = await world.settle(
    a.ports.peers.ask(b.address, describeIt, { body: failing(), abort: never }),
  );
  assert.equal(codeOf(result), "storage-unreadable");
  await world.runFor(100);
  assert.equal(seen, "transfer-interrupted");
});

test("a node that is down, unknown, or another than expected", async () => {
  const { world, a, b } = pair(50, async () => nothingHeld);
  const ask = async (address: typeof b.address): Promise<string> =>
    codeOf(await world.settle(a.ports.peers.ask(address, describeIt, { abort: never })));
  assert.equal(await ask({ ...b.address, node: a.machine.id }), "peer-refused");
  assert.equal(await ask({ ...b.address, host: "nowhere" }), "peer-unreachable");
  b.machine.crash();
  assert.equal(await ask(b.address), "peer-unreachable");
});
