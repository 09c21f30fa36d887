import type { Socket } from "node:net";
import { assert } from "@flocker/core";
import type { Link, Log } from "@flocker/core";
import { WebSocket } from "ws";

/** The largest message that either side takes; what is larger ends the link. */
export const maxMessageBytes: number = 64 * 2 ** 20;
/** How much may wait to be sent, before the other side counts as gone. */
const maxUnsentBytes = 4 * maxMessageBytes;
/** How much may wait for a slow consumer, before reading from the network stops. */
const maxUnreadMessages = 256;
const maxUnreadBytes = 4 * 2 ** 20;
/** How long a closed link waits for the other side to take what was sent and to close as well. */
const closeGraceMs = 2000;
const keepAliveDelayMs = 15_000;

/** What both ends give to `ws`. Compression costs more than it saves on small messages in a data centre. */
export const webSocketOptions: { readonly perMessageDeflate: false; readonly maxPayload: number } = {
  perMessageDeflate: false,
  maxPayload: maxMessageBytes,
};

/** Sets a link's socket to send at once, and to notice by itself when the other machine has vanished. */
export function tuneSocket(socket: Socket): void {
  socket.setNoDelay(true);
  socket.setKeepAlive(true, keepAliveDelayMs);
}

interface Unread {
  readonly text: string;
  readonly sizeBytes: number;
}

/**
 * A link over a web socket. Make it before the socket's first event, so that no message is missed. Reading
 * from the network stops while too many messages wait for the consumer. What is no JSON text ends the link
 * and is logged, as is any error of the connection.
 */
export function linkOver(socket: WebSocket, log: Log): Link {
  const inbox = new Inbox(socket);
  let closing = false;
  const close = (): void => {
    if (closing) return;
    closing = true;
    inbox.end();
    socket.close(1000);
    const timer = setTimeout(() => socket.terminate(), closeGraceMs);
    socket.once("close", () => clearTimeout(timer));
  };
  socket.on("message", (data, isBinary) => {
    if (closing) return;
    assert(data instanceof Buffer, "ws hands out messages as one buffer");
    if (isBinary) {
      log.write("warn", "link-broken", { problem: "a message was not text" });
      close();
      return;
    }
    inbox.add({ text: data.toString("utf8"), sizeBytes: data.length });
  });
  socket.on("error", (error) => log.write("warn", "link-broken", { problem: error.message }));
  socket.once("close", () => inbox.end({ keepUnread: true }));

  let iterated = false;
  async function* messages(): AsyncGenerator<unknown> {
    try {
      for (;;) {
        const text = await inbox.next();
        if (text === undefined) return;
        let message: unknown;
        try {
          message = JSON.parse(text);
        } catch {
          log.write("warn", "link-broken", { problem: "a message was no JSON", start: text.slice(0, 80) });
          return;
        }
        yield message;
      }
    } finally {
      close();
    }
  }
  return {
    send(message) {
      if (closing || socket.readyState !== WebSocket.OPEN) return;
      socket.send(JSON.stringify(message));
      if (socket.bufferedAmount > maxUnsentBytes) {
        log.write("warn", "link-broken", {
          problem: "the other side does not read",
          unsentBytes: socket.bufferedAmount,
        });
        inbox.end();
        socket.terminate();
      }
    },
    messages() {
      assert(!iterated, "a link's messages are iterated once");
      iterated = true;
      return messages();
    },
    close,
  };
}

/** Messages on their way to one consumer; pauses the socket while there are too many. */
class Inbox {
  readonly #socket: WebSocket;
  #unread: Unread[] = [];
  #unreadBytes = 0;
  #ended = false;
  #wake: (() => void) | undefined;

  constructor(socket: WebSocket) {
    this.#socket = socket;
  }

  add(message: Unread): void {
    if (this.#ended) return;
    this.#unread.push(message);
    this.#unreadBytes += message.sizeBytes;
    if (this.#unread.length >= maxUnreadMessages || this.#unreadBytes >= maxUnreadBytes) this.#socket.pause();
    this.#wake?.();
  }

  /** The next message, or undefined at the end. */
  async next(): Promise<string | undefined> {
    while (this.#unread.length === 0) {
      if (this.#ended) return undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    const message = this.#unread.shift();
    this.#unreadBytes -= message?.sizeBytes ?? 0;
    if (
      this.#socket.isPaused &&
      this.#unread.length < maxUnreadMessages / 2 &&
      this.#unreadBytes < maxUnreadBytes / 2
    ) {
      this.#socket.resume();
    }
    return message?.text;
  }

  /** Nothing more comes. Reading goes on, so that the end of the connection is seen. */
  end(options: { readonly keepUnread: boolean } = { keepUnread: false }): void {
    this.#ended = true;
    if (!options.keepUnread) {
      this.#unread = [];
      this.#unreadBytes = 0;
    }
    this.#socket.resume();
    this.#wake?.();
  }
}
