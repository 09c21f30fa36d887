import assert from "node:assert/strict";
import { test } from "node:test";
import { readEvents, writeEvent, type ClusterEvent } from "./events.ts";

async function* pieces(texts: readonly string[]): AsyncGenerator<string> {
  yield* texts;
}

async function collect(texts: readonly string[]): Promise<ClusterEvent[]> {
  const events: ClusterEvent[] = [];
  for await (const event of readEvents(pieces(texts))) events.push(event);
  return events;
}

const events: readonly ClusterEvent[] = [
  { kind: "reset", id: "a-0", data: { revision: 3 } },
  { kind: "change", id: "a-1", data: { revision: 4, datasets: ["x"], nodes: [] } },
];

test("what is written is read again, however it is cut into pieces", async () => {
  const text = events.map(writeEvent).join("");
  for (const size of [1, 2, 7, text.length]) {
    const cut = Array.from({ length: Math.ceil(text.length / size) }, (_, index) =>
      text.slice(index * size, (index + 1) * size),
    );
    assert.deepEqual(await collect(cut), events);
  }
});

test("comments, unknown kinds and an unfinished event are skipped", async () => {
  const text = `: hello\n\nevent: other\ndata: {}\n\n${writeEvent(events[0] as ClusterEvent)}id: 5\nevent: change\n`;
  assert.deepEqual(await collect([text]), [events[0]]);
});
