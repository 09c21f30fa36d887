import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import type { Socket } from "node:net";

/** More than this waits in no socket. */
const bufferBytes = 256 * 1024;

/** The output of a program, read into one buffer again and again. */
export interface CommandOutput {
  /** For the program; to be destroyed here once the program has it. */
  readonly programEnd: Socket;
  /** The next bytes, which are overwritten once more are asked for; undefined at the end. */
  next(): Promise<Uint8Array | undefined>;
  /** From now on there is only the end. */
  close(): void;
}

/**
 * Opens one. Node reads the output of its children into new memory each time, and at full speed the garbage
 * collector, which comes for every few MiB of it, takes longer than all of the reading. Only for sockets that
 * it connects itself does Node accept a buffer. Throws what the system says where it has no more sockets.
 */
export async function openCommandOutput(): Promise<CommandOutput> {
  const buffer = Buffer.allocUnsafe(bufferBytes);
  let wake: ((chunk: Uint8Array | undefined) => void) | null = null;
  const give = (chunk: Uint8Array | undefined): void => {
    const waiting = wake;
    wake = null;
    waiting?.(chunk);
  };
  const { ourEnd, programEnd } = await socketPair({
    buffer,
    callback: (bytes) => {
      give(buffer.subarray(0, bytes));
      return false;
    },
  });
  ourEnd.once("close", () => give(undefined));
  return {
    programEnd,
    next() {
      if (ourEnd.destroyed) return Promise.resolve(undefined);
      return new Promise((resolve) => {
        wake = resolve;
        ourEnd.resume();
      });
    },
    close() {
      programEnd.destroy();
      ourEnd.destroy();
    },
  };
}

/**
 * Two sockets that are connected to each other. They meet at a name that is no file and is gone afterwards;
 * a word that only they know tells ours from anybody else's that comes there.
 */
async function socketPair(onread: {
  readonly buffer: Buffer;
  readonly callback: (bytes: number) => boolean;
}): Promise<{ readonly ourEnd: Socket; readonly programEnd: Socket }> {
  const path = `\0flocker-${randomUUID()}`;
  const word = randomUUID();
  const { promise: known, resolve } = Promise.withResolvers<Socket>();
  const came = new Set<Socket>();
  const server = createServer((socket) => {
    came.add(socket);
    socket.on("error", () => undefined);
    socket.once("data", (said) => {
      if (String(said) === word) resolve(socket.pause());
    });
  });
  try {
    await once(server.listen(path), "listening");
    const ourEnd = connect({ path, onread });
    await once(ourEnd, "connect");
    ourEnd.on("error", () => undefined);
    ourEnd.pause().write(word);
    const programEnd = await known;
    came.delete(programEnd);
    return { ourEnd, programEnd };
  } finally {
    server.close();
    for (const stranger of came) stranger.destroy();
  }
}
