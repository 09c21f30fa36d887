import { connect } from "node:tls";
import type { TLSSocket } from "node:tls";
import { failure, success } from "@flocker/core";
import type { Abort, Clock, Milliseconds, PeerAddress, Result } from "@flocker/core";
import type { Credentials } from "../certificates.ts";
import { tlsOptions } from "../certificates.ts";
import { tlsProblem } from "../tls-problem.ts";
import { checkPeer, formatAddress } from "./identity.ts";

/** How a node is called. */
export interface DialingOptions {
  readonly credentials: Credentials;
  readonly clock: Clock;
  readonly timeoutMs: Milliseconds;
  readonly abort: Abort;
}

/**
 * Connects to a node and checks that it is that node. Fails with `peer-unreachable` or a certificate's
 * problem.
 */
export async function dialPeer(peer: PeerAddress, options: DialingOptions): Promise<Result<TLSSocket>> {
  const { abort, clock, credentials, timeoutMs } = options;
  const address = formatAddress(peer.host, peer.port);
  if (abort.aborted) return abandoned(peer);
  const socket = connect({
    host: peer.host,
    port: peer.port,
    ...tlsOptions(credentials),
    // The chain is verified by TLS; the name is a node's, not a host's, and checked below.
    checkServerIdentity: () => undefined,
  });
  const over = new AbortController();
  const give = (): void => over.abort();
  abort.addEventListener("abort", give, { once: true });
  try {
    const outcome = await Promise.race([
      established(socket, peer, address),
      clock.sleep(timeoutMs, over.signal).then(() => "late" as const),
    ]);
    if (abort.aborted) return destroyed(socket, abandoned(peer));
    if (outcome === "late") return destroyed(socket, late(peer, address, timeoutMs));
    if (!outcome.ok) return destroyed(socket, outcome);
    const checked = checkPeer(socket, credentials, peer);
    return checked.ok ? success(socket) : destroyed(socket, checked);
  } finally {
    abort.removeEventListener("abort", give);
    over.abort();
  }
}

function established(socket: TLSSocket, peer: PeerAddress, address: string): Promise<Result<void>> {
  return new Promise((resolve) => {
    socket.once("secureConnect", () => resolve(success()));
    // Stays for the socket's life: an error after a failed attempt has nobody else to hear it.
    socket.on("error", (error) => {
      const doing = `connecting to node ${peer.node} at ${address}`;
      resolve({ ok: false, problem: tlsProblem(error, { doing, unreachable: "peer-unreachable" }) });
    });
    socket.once("close", () => {
      const error = Object.assign(new Error("closed"), { code: "ECONNRESET" });
      const doing = `connecting to node ${peer.node} at ${address}`;
      resolve({ ok: false, problem: tlsProblem(error, { doing, unreachable: "peer-unreachable" }) });
    });
  });
}

function destroyed<Failure>(socket: TLSSocket, result: Failure): Failure {
  socket.destroy();
  return result;
}

function late(peer: PeerAddress, address: string, timeoutMs: Milliseconds): Result<never> {
  return failure(
    "peer-unreachable",
    `Error while connecting to node ${peer.node} at ${address}: no answer within ${timeoutMs / 1000} s.`,
    "Check that its machine and its agent run, and the network between the two; it is tried again by itself.",
  );
}

/** The answer of whatever was stopped by the asking side itself. */
export function abandoned(peer: PeerAddress): Result<never> {
  return failure(
    "transfer-interrupted",
    `Error while talking to node ${peer.node}: this agent itself has stopped it.`,
    "Nothing needs to be done: what is still wanted is tried again by itself.",
  );
}
