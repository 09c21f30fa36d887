import { assert, failure } from "@flocker/core";
import type {
  Abort,
  Clock,
  Log,
  Milliseconds,
  PeerAddress,
  PeerReply,
  PeerRequest,
  Peers,
  Result,
} from "@flocker/core";
import type { CredentialsSource } from "../certificates.ts";
import { currentCredentials } from "../certificates.ts";
import { askExchange } from "./asking.ts";
import type { AskBody } from "./asking.ts";
import { bandwidthLimit } from "./bandwidth.ts";
import { dialPeer } from "./dialing.ts";
import { checkOwnRole, formatAddress } from "./identity.ts";
import { isAllowedSilence } from "./messages.ts";
import { OutgoingBody } from "./outgoing-body.ts";

/** What the asking side of the data channel is made of. */
export interface DataChannelPeersOptions {
  readonly credentials: CredentialsSource;
  readonly log: Log;
  readonly clock: Clock;
  /** For all bodies that this process sends, together. Without it there is no limit. */
  readonly bandwidthLimitBytesPerSecond?: number;
  /** After this silence the other side is taken for dead; also the time for a connection to come about. */
  readonly silenceMs?: Milliseconds;
}

/**
 * Asks other nodes over the data channel (design, section 10): TLS 1.3, and at the other end exactly the node
 * that was meant, proven by its certificate. Beside what the port promises: the other side's refusal comes
 * back as it is, at once, even in the middle of a body; a body that throws a ProblemError gives that problem;
 * what is not a ProblemError is thrown on. The body's iterator is closed on every path.
 */
export function dataChannelPeers(options: DataChannelPeersOptions): Peers {
  const { clock, log, bandwidthLimitBytesPerSecond, silenceMs = 30_000 } = options;
  assert(isAllowedSilence(silenceMs), "the silence that is borne is one that the other side accepts");
  const limit =
    bandwidthLimitBytesPerSecond === undefined
      ? undefined
      : bandwidthLimit(clock, bandwidthLimitBytesPerSecond);

  const attempt = async (
    peer: PeerAddress,
    request: PeerRequest,
    body: OutgoingBody,
    rest: { readonly abort: Abort; readonly onProgress: AskBody["onProgress"] },
  ): Promise<Result<PeerReply>> => {
    const credentials = currentCredentials(options.credentials);
    const own = checkOwnRole(credentials);
    if (!own.ok) return own;
    const socket = await dialPeer(peer, { credentials, clock, timeoutMs: silenceMs, abort: rest.abort });
    if (!socket.ok) return socket;
    return await askExchange(socket.value, {
      clock,
      peer,
      request,
      silenceMs,
      abort: rest.abort,
      body: { body, limit, onProgress: rest.onProgress },
    });
  };

  return {
    async ask(peer, request, { body, abort, onProgress }) {
      const startedAt = clock.monotonic();
      const outgoing = new OutgoingBody(body, { clock, log });
      try {
        if (body !== undefined && request.kind !== "receive") return bodyless(request);
        const result = await attempt(peer, request, outgoing, { abort, onProgress });
        log.write(result.ok ? "debug" : "info", "data-channel-asked", {
          peer: peer.node,
          address: formatAddress(peer.host, peer.port),
          kind: request.kind,
          dataset: request.dataset,
          tookMs: Math.round(clock.monotonic() - startedAt),
          ...(result.ok ? {} : { code: result.problem.code, message: result.problem.message }),
        });
        return result;
      } finally {
        await outgoing.close();
      }
    },
  };
}

function bodyless(request: PeerRequest): Result<never> {
  return failure(
    "internal",
    `Error while asking another node to ${request.kind}: only a request to receive has a body.`,
    "Report this as a bug, with the agent's log.",
  );
}
