import type { SendRequest } from "@flocker/core";
import { fingerprint, formatFingerprint } from "./fingerprint.ts";
import type { Content } from "./model-content.ts";

/** One change that turns the base of a stream into its snapshot. */
export type Change = { readonly put: string; readonly text: string } | { readonly drop: string };

type Line =
  | { readonly stream: "model-1"; readonly base: string | null; readonly snapshot: string }
  | Change
  | { readonly end: number; readonly checksum: string };

/** What turns the base into the content, in the content's order; all of it where there is no base. */
export function changesBetween(base: Content | null, content: Content): readonly Change[] {
  const puts: Change[] = [...content]
    .filter(([key, block]) => base?.get(key) !== block)
    .map(([key, block]) => ({ put: key, text: block.text }));
  const drops: Change[] = [...(base?.keys() ?? [])]
    .filter((key) => !content.has(key))
    .map((key) => ({ drop: key }));
  return [...drops, ...puts];
}

/** A stream as chunks of JSON lines, each chunk with a few lines. */
export function* encodeStream(
  request: SendRequest,
  changes: readonly Change[],
  linesPerChunk: number,
): IterableIterator<Uint8Array> {
  const encoder = new TextEncoder();
  let checksum = fingerprint("");
  let pending: string[] = [];
  const lines = function* (): IterableIterator<Line> {
    yield { stream: "model-1", base: request.base, snapshot: request.snapshot };
    yield* changes;
  };
  for (const line of lines()) {
    const text = JSON.stringify(line);
    checksum = fingerprint(text, checksum);
    pending.push(text);
    if (pending.length >= linesPerChunk) {
      yield encoder.encode(`${pending.join("\n")}\n`);
      pending = [];
    }
  }
  pending.push(JSON.stringify({ end: changes.length, checksum: formatFingerprint(checksum) }));
  yield encoder.encode(`${pending.join("\n")}\n`);
}

/** Why a stream cannot be taken. */
export class StreamCorrupt extends Error {
  override readonly name = "StreamCorrupt";
}

/** Takes a stream apart, however it was cut into chunks. */
export class StreamDecoder {
  readonly #expected: { readonly base: string | null; readonly snapshot: string };
  readonly #decoder = new TextDecoder("utf-8", { fatal: true });
  #rest = "";
  #checksum = fingerprint("");
  #begun = false;
  #ended = false;
  #changeCount = 0;

  constructor(expected: { readonly base: string | null; readonly snapshot: string }) {
    this.#expected = expected;
  }

  /** The end of the stream has come, and all of it is right. */
  get complete(): boolean {
    return this.#ended;
  }

  /**
   * The changes in the next chunk. Throws {@link StreamCorrupt} on anything but the next part of a right
   * stream.
   */
  take(chunk: Uint8Array): readonly Change[] {
    const lines = (this.#rest + this.#text(chunk)).split("\n");
    this.#rest = lines.pop() ?? "";
    const changes: Change[] = [];
    for (const line of lines) {
      const change = this.#line(line);
      if (change !== null) changes.push(change);
    }
    if (this.#ended && this.#rest !== "") throw new StreamCorrupt("there is something after its end");
    return changes;
  }

  #text(chunk: Uint8Array): string {
    try {
      return this.#decoder.decode(chunk, { stream: true });
    } catch (error) {
      throw new StreamCorrupt("it is no text", { cause: error });
    }
  }

  #line(text: string): Change | null {
    if (this.#ended) throw new StreamCorrupt("there is something after its end");
    const line = parse(text);
    if ("end" in line) {
      this.#checkEnd(line);
      this.#ended = true;
      return null;
    }
    this.#checksum = fingerprint(text, this.#checksum);
    if ("stream" in line) {
      const { base, snapshot } = this.#expected;
      if (this.#begun || line.base !== base || line.snapshot !== snapshot) {
        throw new StreamCorrupt(`it is from ${line.base} to ${line.snapshot}`);
      }
      this.#begun = true;
      return null;
    }
    if (!this.#begun) throw new StreamCorrupt("it does not begin with a header");
    this.#changeCount += 1;
    return line;
  }

  #checkEnd(line: { readonly end: number; readonly checksum: string }): void {
    if (!this.#begun) throw new StreamCorrupt("it does not begin with a header");
    if (line.end !== this.#changeCount || line.checksum !== formatFingerprint(this.#checksum)) {
      throw new StreamCorrupt("its checksum is wrong");
    }
  }
}

function parse(text: string): Line {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new StreamCorrupt("a line is no JSON", { cause: error });
  }
  if (typeof value === "object" && value !== null) {
    if (
      "put" in value &&
      typeof value.put === "string" &&
      "text" in value &&
      typeof value.text === "string"
    ) {
      return { put: value.put, text: value.text };
    }
    if ("drop" in value && typeof value.drop === "string") return { drop: value.drop };
    if ("end" in value && typeof value.end === "number" && "checksum" in value) {
      if (typeof value.checksum === "string") return { end: value.end, checksum: value.checksum };
    }
    if ("stream" in value && value.stream === "model-1" && "base" in value && "snapshot" in value) {
      const { base, snapshot } = value;
      if ((base === null || typeof base === "string") && typeof snapshot === "string") {
        return { stream: "model-1", base, snapshot };
      }
    }
  }
  throw new StreamCorrupt("a line is none that belongs into it");
}
