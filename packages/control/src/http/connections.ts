import type { ServerResponse } from "node:http";
import type { Server } from "node:https";
import type { Duplex } from "node:stream";
import type { TLSSocket } from "node:tls";

/** The connections of a server, so that it can stop without waiting for silent ones. */
export interface Connections {
  /** Those whose handshake is over. */
  secured(): Iterable<TLSSocket>;
  /** Ends when no request is under way. */
  quiet(): Promise<void>;
  /** Says goodbye on every connection: what has been sent arrives, and clients see an orderly end. */
  end(): void;
  /** Cuts what is left. */
  cut(): void;
}

export function trackConnections(server: Server): Connections {
  const sockets = new Set<Duplex>();
  const secure = new Set<TLSSocket>();
  const underWay = new Set<ServerResponse>();
  // A handshake may end after everybody else has been told goodbye.
  let isEnding = false;
  let whenQuiet: (() => void) | undefined;
  // Before TLS, so that unfinished handshakes are among them.
  server.prependListener("connection", (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  server.prependListener("secureConnection", (socket) => {
    secure.add(socket);
    socket.once("close", () => secure.delete(socket));
    if (isEnding) socket.end();
  });
  server.prependListener("request", (_request, response) => {
    underWay.add(response);
    response.once("close", () => {
      underWay.delete(response);
      if (underWay.size === 0) whenQuiet?.();
    });
  });
  return {
    secured: () => secure,
    quiet: () =>
      new Promise((resolve) => {
        if (underWay.size === 0) resolve();
        else whenQuiet = resolve;
      }),
    end() {
      isEnding = true;
      for (const socket of secure) socket.end();
    },
    cut() {
      for (const socket of sockets) socket.destroy();
    },
  };
}
