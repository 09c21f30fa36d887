import type { Static } from "typebox";
import type { ChangeEvent, ResetEvent } from "./schemas.ts";

/** An event of /v2/events. After a `reset`, read everything again; after a `change`, what it names. */
export type ClusterEvent =
  | { readonly kind: "change"; readonly id: string; readonly data: Static<typeof ChangeEvent> }
  | { readonly kind: "reset"; readonly id: string; readonly data: Static<typeof ResetEvent> };

/** Writes one event as the service sends it. */
export function writeEvent(event: ClusterEvent): string {
  return `id: ${event.id}\nevent: ${event.kind}\ndata: ${JSON.stringify(event.data)}\n\n`;
}

/**
 * Reads the events out of the text of an answer of /v2/events, in whatever pieces it comes (WHATWG HTML,
 * "Server-sent events", for the lines that the service writes). Comments and events of other kinds are
 * skipped. It ends with the text.
 */
export async function* readEvents(text: AsyncIterable<string>): AsyncGenerator<ClusterEvent> {
  let rest = "";
  for await (const piece of text) {
    const blocks = (rest + piece).split("\n\n");
    rest = blocks.pop() ?? "";
    for (const block of blocks) {
      const event = readBlock(block);
      if (event !== undefined) yield event;
    }
  }
}

function readBlock(block: string): ClusterEvent | undefined {
  const fields = new Map<string, string>();
  for (const line of block.split("\n")) {
    const colon = line.indexOf(": ");
    if (colon > 0) fields.set(line.slice(0, colon), line.slice(colon + 2));
  }
  const kind = fields.get("event");
  const id = fields.get("id") ?? "";
  const data = fields.get("data");
  if (data === undefined || (kind !== "change" && kind !== "reset")) return undefined;
  return { kind, id, data: JSON.parse(data) as never };
}
