import type { SendRequest } from "@flocker/core";
import { fingerprint, formatFingerprint } from "./fingerprint.ts";
import type { Fingerprint } from "./fingerprint.ts";
import type { Content } from "./model-content.ts";

/** One change that turns the base of a stream into its snapshot. */
export type Change = { readonly put: string; readonly text: string } | { readonly drop: string };

type Line =
  | {
      readonly stream: "model-1";
      readonly base: string | null;
      readonly snapshot: string;
      /** How many changes the receiver has already. */
      readonly from?: number;
    }
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

/** What a stream from base to snapshot begins with; the checksum is over it and all changes. */
function headerOf({ base, snapshot }: Pick<SendRequest, "base" | "snapshot">): Line {
  return { stream: "model-1", base, snapshot };
}

function checksumOf(
  request: Pick<SendRequest, "base" | "snapshot">,
  changes: readonly Change[],
): Fingerprint {
  const lines: readonly Line[] = [headerOf(request), ...changes];
  return lines.reduce((sum, line) => fingerprint(JSON.stringify(line), sum), fingerprint(""));
}

/** Where a stream goes on after these first changes: how many they are, and which. */
export function tokenAfter(
  request: Pick<SendRequest, "base" | "snapshot">,
  changes: readonly Change[],
): string {
  return `${changes.length}:${formatFingerprint(checksumOf(request, changes))}`;
}

/** How many changes come before where a token goes on, or undefined where it is not of this stream. */
export function countBefore(request: SendRequest, changes: readonly Change[]): number | undefined {
  const count = Number(request.resume?.split(":")[0] ?? "0");
  if (request.resume === undefined) return 0;
  return tokenAfter(request, changes.slice(0, count)) === request.resume ? count : undefined;
}

/** A stream as chunks of JSON lines, each chunk with a few lines, without so many first changes. */
export function* encodeStream(
  request: SendRequest,
  changes: readonly Change[],
  options: { readonly linesPerChunk: number; readonly from: number },
): IterableIterator<Uint8Array> {
  const { linesPerChunk, from } = options;
  const encoder = new TextEncoder();
  const checksum = checksumOf(request, changes);
  let pending: string[] = [];
  const header = from === 0 ? headerOf(request) : { ...headerOf(request), from };
  for (const line of [header, ...changes.slice(from)]) {
    pending.push(JSON.stringify(line));
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
  readonly #from: number;
  readonly #decoder = new TextDecoder("utf-8", { fatal: true });
  #rest = "";
  #checksum = fingerprint("");
  #begun = false;
  #ended = false;
  #changeCount = 0;

  /** `before` are the changes that came in a stream of the same which was interrupted. */
  constructor(
    expected: { readonly base: string | null; readonly snapshot: string },
    before: readonly Change[] = [],
  ) {
    this.#expected = expected;
    this.#from = before.length;
    this.#changeCount = before.length;
    if (before.length > 0) this.#checksum = checksumOf(expected, before);
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
    if ("stream" in line) {
      const { base, snapshot } = this.#expected;
      if (this.#begun || line.base !== base || line.snapshot !== snapshot) {
        throw new StreamCorrupt(`it is from ${line.base} to ${line.snapshot}`);
      }
      if ((line.from ?? 0) !== this.#from) throw new StreamCorrupt(`it goes on after ${line.from} changes`);
      this.#begun = true;
      if (this.#from === 0) this.#checksum = fingerprint(text, this.#checksum);
      return null;
    }
    this.#checksum = fingerprint(text, this.#checksum);
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
      const from = "from" in value && typeof value.from === "number" ? { from: value.from } : {};
      if ((base === null || typeof base === "string") && typeof snapshot === "string") {
        return { stream: "model-1", base, snapshot, ...from };
      }
    }
  }
  throw new StreamCorrupt("a line is none that belongs into it");
}
