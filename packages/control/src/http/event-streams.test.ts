import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, request, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { readEvents, type ClusterEvent } from "@flocker/api";
import type { DatasetId, NodeId } from "@flocker/core";
import { countingIds, testAcknowledgements, testClock, type TestClock } from "./api-fixtures.test.ts";
import type { ClusterChange } from "../cluster/cluster.ts";
import { createListeners } from "../listeners.ts";
import { createBacklog, createJournal } from "./event-backlog.ts";
import {
  createEventStreams,
  defaultEventLimits,
  type EventLimits,
  type EventStreams,
} from "./event-streams.ts";

const dataset = (index: number) => `16bc5d94-95ad-4d80-ae1d-${String(index).padStart(12, "0")}` as DatasetId;
const node = "aaaaaaaa-0000-4000-8000-000000000001" as NodeId;

interface Bench extends AsyncDisposable {
  /** Something changes in the cluster, which is at revision 7. */
  change(datasets: readonly DatasetId[], nodes?: readonly NodeId[]): void;
  /** The holders' agents have taken in that these datasets are leased. */
  readonly acknowledge: (...datasets: readonly DatasetId[]) => void;
  readonly clock: TestClock;
  readonly streams: EventStreams;
  /** The server's side of the streams. */
  readonly served: readonly ServerResponse[];
  /** Opens a stream; its text comes as it arrives. */
  listen(lastEventId?: string): Promise<IncomingMessage>;
}

async function bench(limits: Partial<EventLimits> = {}): Promise<Bench> {
  const clock = testClock();
  const listeners = createListeners<ClusterChange>();
  const cluster = {
    revision: () => 7,
    subscribe: (listener: (change: ClusterChange) => void) => listeners.add(listener),
  };
  const leases = testAcknowledgements();
  const streams = createEventStreams({
    cluster,
    leases,
    clock,
    ids: countingIds(),
    limits: { ...defaultEventLimits, ...limits },
  });
  const served: ServerResponse[] = [];
  const server = createServer((incoming, response) => {
    served.push(response);
    const lastEventId = incoming.headers["last-event-id"];
    if (!streams.open(response, typeof lastEventId === "string" ? lastEventId : undefined))
      response.writeHead(503).end();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    change: (datasets, nodes = []) => listeners.tell({ datasets, nodes }),
    acknowledge: leases.acknowledge,
    clock,
    streams,
    served,
    async listen(lastEventId) {
      const outgoing = request({
        host: "127.0.0.1",
        port: (server.address() as AddressInfo).port,
        agent: false,
        headers: lastEventId === undefined ? {} : { "last-event-id": lastEventId },
      });
      outgoing.end();
      const [response] = (await once(outgoing, "response")) as [IncomingMessage];
      return response.setEncoding("utf8");
    },
    async [Symbol.asyncDispose]() {
      streams.close();
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

async function next(events: AsyncGenerator<ClusterEvent>): Promise<ClusterEvent> {
  const result = await events.next();
  assert.ok(result.done !== true);
  return result.value;
}

test("a new stream begins with a reset, and then tells what changes", async () => {
  await using api = await bench();
  const response = await api.listen();
  assert.equal(response.headers["content-type"], "text/event-stream");
  const events = readEvents(response as AsyncIterable<string>);
  assert.deepEqual(await next(events), {
    kind: "reset",
    id: "dddddddd-0000-4000-8000-000000000001/0",
    data: { revision: 7 },
  });
  api.change([dataset(1)], [node]);
  assert.deepEqual(await next(events), {
    kind: "change",
    id: "dddddddd-0000-4000-8000-000000000001/1",
    data: { revision: 7, datasets: [dataset(1)], nodes: [node] },
  });
});

test("that a lease counts now is told as a change of its dataset", async () => {
  await using api = await bench();
  const events = readEvents((await api.listen()) as AsyncIterable<string>);
  await next(events);
  api.acknowledge(dataset(3));
  const { data } = await next(events);
  assert.deepEqual(data, { revision: 7, datasets: [dataset(3)], nodes: [] });
});

test("a client that comes back is told what it has missed, and nothing else", async () => {
  await using api = await bench();
  const first = await api.listen();
  const events = readEvents(first as AsyncIterable<string>);
  await next(events);
  api.change([dataset(1)]);
  const { id } = await next(events);
  first.destroy();
  api.change([dataset(2)]);
  api.change([dataset(3), dataset(2)], [node]);
  const again = readEvents((await api.listen(id)) as AsyncIterable<string>);
  const missed = await next(again);
  assert.deepEqual(missed.data, { revision: 7, datasets: [dataset(2), dataset(3)], nodes: [node] });
  assert.equal(missed.kind, "change");
});

test("a client that comes back too late, or to another process, begins anew", async () => {
  await using api = await bench({ keptChanges: 2 });
  for (let index = 0; index < 4; index += 1) api.change([dataset(index)]);
  const own = "dddddddd-0000-4000-8000-000000000001";
  for (const id of [`${own}/1`, `${own}/5`, `${own}/x`, "other/4", "nonsense"]) {
    const events = readEvents((await api.listen(id)) as AsyncIterable<string>);
    assert.equal((await next(events)).kind, "reset", id);
  }
  const events = readEvents((await api.listen(`${own}/2`)) as AsyncIterable<string>);
  assert.deepEqual((await next(events)).data, { revision: 7, datasets: [dataset(2), dataset(3)], nodes: [] });
});

test("a quiet stream is kept alive by comments", async () => {
  await using api = await bench({ keepAliveMs: 1000 });
  const response = await api.listen();
  let text = "";
  const alive = new Promise<void>((resolve) => {
    response.on("data", (piece: string) => {
      text += piece;
      if (text.includes(": keep-alive\n\n")) resolve();
    });
  });
  api.clock.advance(1000);
  await alive;
});

test("there are only so many streams at once, and one that ends makes room", async () => {
  await using api = await bench({ clients: 1 });
  const first = await api.listen();
  assert.equal((await api.listen()).statusCode, 503);
  first.destroy();
  for (let attempt = 0; ; attempt += 1) {
    const response = await api.listen();
    if (response.statusCode === 200) break;
    assert.ok(attempt < 200);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
});

test("closing ends every stream and lets no new one begin", async () => {
  await using api = await bench();
  const response = await api.listen();
  const ended = once(response, "end");
  response.resume();
  api.streams.close();
  await ended;
  assert.equal((await api.listen()).statusCode, 503);
});

test("a client that does not read costs a bounded amount, and is dropped in the end", async () => {
  await using api = await bench({ keepAliveMs: 1000, waitingIds: 10 });
  const response = await api.listen();
  response.pause();
  response.socket.pause();
  const [served] = api.served;
  assert.ok(served !== undefined);
  // Until the connection takes no more, and then on.
  const many = Array.from({ length: 9 }, (_, index) => dataset(index));
  let blockedRounds = 0;
  for (let round = 0; blockedRounds < 20; round += 1) {
    blockedRounds = served.writableNeedDrain ? blockedRounds + 1 : 0;
    for (let index = 0; index < 500; index += 1) api.change(many);
    assert.ok(served.writableLength < 2 ** 20);
    assert.ok(round < 10_000);
    await new Promise((resolve) => setImmediate(resolve));
  }
  const closed = new Promise((resolve) => served.once("close", resolve));
  for (let interval = 0; interval < 4; interval += 1) {
    assert.equal(served.destroyed, false);
    api.clock.advance(1000);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await closed;
  response.on("error", () => undefined);
  response.destroy();
});

test("a backlog gathers ids, and becomes a reset when there are too many", () => {
  const backlog = createBacklog(3);
  assert.equal(backlog.take("1", 1), undefined);
  backlog.add({ datasets: [dataset(1), dataset(2)], nodes: [] });
  backlog.add({ datasets: [dataset(2)], nodes: [node] });
  assert.deepEqual(backlog.take("2", 5), {
    kind: "change",
    id: "2",
    data: { revision: 5, datasets: [dataset(1), dataset(2)], nodes: [node] },
  });
  assert.equal(backlog.take("3", 5), undefined);
  backlog.add({ datasets: [dataset(1), dataset(2), dataset(3)], nodes: [node] });
  backlog.add({ datasets: [dataset(4)], nodes: [] });
  assert.deepEqual(backlog.take("4", 6), { kind: "reset", id: "4", data: { revision: 6 } });
  assert.equal(backlog.take("5", 6), undefined);
});

test("a journal knows what came after an event for as long as it keeps it", () => {
  const journal = createJournal("me", 2);
  assert.deepEqual(journal.after("me/0"), []);
  assert.equal(journal.currentId(), "me/0");
  const changes = [1, 2, 3].map((index) => ({ datasets: [dataset(index)], nodes: [] }));
  for (const change of changes) journal.add(change);
  assert.equal(journal.currentId(), "me/3");
  assert.deepEqual(journal.after("me/3"), []);
  assert.deepEqual(journal.after("me/1"), changes.slice(1));
  assert.equal(journal.after("me/0"), undefined);
  assert.equal(journal.after("me/4"), undefined);
  assert.equal(journal.after("you/3"), undefined);
});
