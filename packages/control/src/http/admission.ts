import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import { failure, type Log, type Problem, type Result } from "@flocker/core";
import { peerIdentity, tlsProblem, type Credentials, type Identity } from "@flocker/host";

/**
 * Who is at the other end of a connection, where its certificate is of an API user. It is worked out once a
 * connection, and again when the credentials are others; a refusal is logged then.
 */
export function admission(log: Log, current: () => Credentials): (socket: Socket) => Result<Identity> {
  let identities = new WeakMap<Socket, Result<Identity>>();
  let judgedBy: Credentials | undefined;
  return (socket) => {
    const credentials = current();
    // What was judged by an older list of revoked certificates is judged anew.
    if (judgedBy?.revocations !== credentials.revocations) identities = new WeakMap();
    judgedBy = credentials;
    const known = identities.get(socket);
    if (known !== undefined) return known;
    const identity = identify(socket, credentials);
    identities.set(socket, identity);
    if (!identity.ok) {
      const { code, message, remedy } = identity.problem;
      log.write("warn", "api-connection-refused", {
        from: socket.remoteAddress,
        code,
        problem: message,
        remedy,
      });
    }
    return identity;
  };
}

function identify(socket: Socket, credentials: Credentials): Result<Identity> {
  if (!(socket instanceof TLSSocket)) return notTls;
  const identity = peerIdentity(socket, credentials);
  if (!identity.ok) return socket.authorized ? identity : refusedCertificate(socket, identity.problem);
  if (identity.value.role.role === "user") return identity;
  const owner =
    identity.value.role.role === "node"
      ? "a node's agent, and agents control the system but never change its configuration"
      : "the control service itself";
  return failure(
    "certificate-role",
    `The certificate ${identity.value.commonName} was used on the API, but it is that of ${owner}.`,
    `Use the certificate of an API user. ${makeOne}`,
  );
}

const makeOne = "`flocker ca user NAME` makes one where the cluster's authority is kept.";

const notTls: Result<Identity> = failure(
  "certificate-invalid",
  "The request did not come over TLS.",
  `Use https and a client certificate. ${makeOne}`,
);

/** Says to whom it concerns, in words for either side, why a certificate was not accepted. */
function refusedCertificate(socket: TLSSocket, problem: Problem): Result<Identity> {
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) {
    return failure(
      "certificate-invalid",
      "The client showed no certificate, and the API is only for those who have one.",
      `Give a client certificate and its key. ${makeOne}`,
    );
  }
  const name = `The client certificate ${JSON.stringify(certificate.subject.replaceAll("\n", ", ").slice(0, 200))}`;
  switch (problem.code) {
    case "certificate-expired":
      return failure(
        problem.code,
        `${name} is valid until ${dateText(certificate.validTo)}, or its authority's is over.`,
        "Renew it with `flocker ca renew` where the cluster's authority is kept, and check the clocks of both machines.",
      );
    case "certificate-foreign":
      return failure(
        problem.code,
        `${name} was not issued by the authority of this cluster.`,
        `Use a certificate of this cluster, and check that host and port are the right cluster's. ${makeOne}`,
      );
    default:
      return failure(
        problem.code,
        `${name}, valid from ${dateText(certificate.validFrom)}, was not accepted: ${String(socket.authorizationError)}.`,
        `Check the clocks of both machines, or use another certificate. ${makeOne}`,
      );
  }
}

function dateText(opensslDate: string): string {
  return new Date(Date.parse(opensslDate)).toISOString();
}

/**
 * Tells the log why a handshake failed. What is no TLS at all (a port scan, a lost connection) is only debug.
 */
export function logFailedHandshake(log: Log, error: Error, socket: TLSSocket): void {
  const from = socket.remoteAddress;
  const doing = `shaking hands with ${from ?? "a client that is gone"}`;
  const { code, message, remedy } = tlsProblem(error, { doing, unreachable: "peer-unreachable" });
  const level = code === "peer-unreachable" ? "debug" : "warn";
  log.write(level, "api-handshake-failed", { from, code, problem: message, remedy });
}
