import type { Problem, ProblemCode } from "@flocker/core";

/** What was tried when a TLS or socket error came, for the problem's words. */
export interface TlsAttempt {
  /** What we were doing, as it stands after "Error while": `connecting to 10.0.0.1:4524`. */
  readonly doing: string;
  /** The code for errors of the network, which depends on who was called. */
  readonly unreachable: "control-unreachable" | "peer-unreachable";
}

type Entry = readonly [code: ProblemCode, cause: string, remedy: string];

const theirsExpired: Entry = [
  "certificate-expired",
  "the other side's certificate, or its authority's, has expired",
  "Renew that certificate with `flocker ca renew` and install it on the other machine; check both clocks.",
];
const theirsEarly: Entry = [
  "certificate-invalid",
  "the other side's certificate is not valid yet",
  "Set the clocks of both machines right.",
];
const theirsForeign: Entry = [
  "certificate-foreign",
  "the other side's certificate is from an authority that the cluster certificate here does not contain",
  "Check that both machines belong to the same cluster and have the same cluster certificate file.",
];
const theirsWrongName: Entry = [
  "certificate-invalid",
  "the other side's certificate is for another name",
  "Check host and port in the configuration; a control service needs a certificate made with `flocker ca control`.",
];
const theirsUnusable: Entry = [
  "certificate-invalid",
  "the other side's certificate is not usable for this",
  "Make the other side's certificate again with `flocker ca`.",
];
const oursExpired: Entry = [
  "certificate-expired",
  "the other side says that our certificate has expired",
  "Renew it with `flocker ca renew` and install it here; check both clocks.",
];
const oursForeign: Entry = [
  "certificate-foreign",
  "the other side does not know the authority of our certificate",
  "Check that both machines belong to the same cluster and have the same cluster certificate file.",
];
const oursMissing: Entry = [
  "certificate-invalid",
  "the other side demands a certificate and got none",
  "Give a certificate and its key that were made with `flocker ca`.",
];
const oursUnusable: Entry = [
  "certificate-invalid",
  "the other side did not accept our certificate",
  "See the other side's log for its reason; make the certificate again with `flocker ca` if it is damaged.",
];
const noCommonVersion: Entry = [
  "protocol-version",
  "both sides have no TLS version or cipher in common",
  "Bring both sides to a version of Flocker that speaks TLS 1.3.",
];

const certificateEntries: Readonly<Record<string, Entry>> = {
  CERT_HAS_EXPIRED: theirsExpired,
  CERT_NOT_YET_VALID: theirsEarly,
  DEPTH_ZERO_SELF_SIGNED_CERT: theirsForeign,
  SELF_SIGNED_CERT_IN_CHAIN: theirsForeign,
  UNABLE_TO_GET_ISSUER_CERT: theirsForeign,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: theirsForeign,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: theirsForeign,
  CERT_SIGNATURE_FAILURE: theirsForeign,
  CERT_UNTRUSTED: theirsForeign,
  AUTHORITY_ISSUER_SERIAL_MISMATCH: theirsForeign,
  AUTHORITY_KEY_IDENTIFIER_MISMATCH: theirsForeign,
  ERR_TLS_CERT_ALTNAME_INVALID: theirsWrongName,
  HOSTNAME_MISMATCH: theirsWrongName,
  INVALID_PURPOSE: theirsUnusable,
  INVALID_CA: theirsUnusable,
  CERT_REJECTED: theirsUnusable,
  CERT_CHAIN_TOO_LONG: theirsUnusable,
  PATH_LENGTH_EXCEEDED: theirsUnusable,
  ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED: oursExpired,
  ERR_SSL_TLSV1_ALERT_UNKNOWN_CA: oursForeign,
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED: oursMissing,
  ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE: oursMissing,
  ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE: oursUnusable,
  ERR_SSL_SSLV3_ALERT_CERTIFICATE_UNKNOWN: oursUnusable,
  ERR_SSL_SSLV3_ALERT_CERTIFICATE_REVOKED: oursUnusable,
  ERR_SSL_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE: oursUnusable,
  ERR_SSL_TLSV1_ALERT_DECRYPT_ERROR: oursUnusable,
  ERR_SSL_TLSV1_ALERT_ACCESS_DENIED: oursUnusable,
  ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION: noCommonVersion,
  ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE: noCommonVersion,
  ERR_SSL_UNSUPPORTED_PROTOCOL: noCommonVersion,
  ERR_SSL_NO_SHARED_CIPHER: noCommonVersion,
};

const startIt = "Check that the other side's service runs, its host and port, and any firewall between.";
const checkNetwork =
  "Check the network and any firewall between the two machines; it is tried again by itself.";

/** Cause and remedy of network errors; their problem's code is the attempt's `unreachable`. */
const networkEntries: Readonly<Record<string, readonly [cause: string, remedy: string]>> = {
  ECONNREFUSED: ["nothing listens there", startIt],
  ECONNRESET: ["the other side broke the connection", startIt],
  EPIPE: ["the other side broke the connection", startIt],
  ETIMEDOUT: ["no answer came in time", checkNetwork],
  ERR_TLS_HANDSHAKE_TIMEOUT: ["the TLS handshake did not finish in time", startIt],
  EHOSTUNREACH: ["there is no way to that machine", checkNetwork],
  ENETUNREACH: ["there is no way to that network", checkNetwork],
  EHOSTDOWN: ["that machine is down", checkNetwork],
  ENOTFOUND: [
    "that host name is unknown",
    "Check the host's spelling in the configuration and the name service.",
  ],
  EAI_AGAIN: ["the name service does not answer", "Check this machine's name service (DNS)."],
  EPROTO: [
    "what answers does not speak TLS as we do",
    "Check the port: another service may be listening there.",
  ],
  ERR_SSL_WRONG_VERSION_NUMBER: [
    "what answers does not speak TLS",
    "Check the port: another service may be listening there.",
  ],
  ERR_SSL_PACKET_LENGTH_TOO_LONG: [
    "what answers does not speak TLS",
    "Check the port: another service may be listening there.",
  ],
  EMFILE: ["this process has too many open files", "Raise the service's limit of open files (LimitNOFILE)."],
};

/** Errors of a server that wants to listen. */
const listenEntries: Readonly<Record<string, Entry>> = {
  EADDRINUSE: [
    "port-in-use",
    "another program already listens on that port",
    "Stop the other program (`ss -ltnp` shows it) or configure another port.",
  ],
  EADDRNOTAVAIL: [
    "configuration-invalid",
    "this machine does not have that address",
    "Configure an address of this machine, or :: for all of them.",
  ],
  EACCES: [
    "configuration-invalid",
    "this user may not listen on that port",
    "Configure a port above 1023 or run the service as a user that may.",
  ],
};

/**
 * Turns an error of Node's TLS, sockets or servers into a problem that names the cause and what to do about
 * it.
 */
export function tlsProblem(error: unknown, attempt: TlsAttempt): Problem {
  const code = codeOf(error);
  const entry = certificateEntries[code] ?? listenEntries[code];
  if (entry !== undefined) {
    return { code: entry[0], message: sentence(attempt, entry[1], error), remedy: entry[2] };
  }
  const network = networkEntries[code] ?? ["the connection failed", startIt];
  return { code: attempt.unreachable, message: sentence(attempt, network[0], error), remedy: network[1] };
}

function sentence(attempt: TlsAttempt, cause: string, error: unknown): string {
  return `Error while ${attempt.doing}: ${cause} (${detail(error)}).`;
}

function detail(error: unknown): string {
  const code = codeOf(error);
  const message = error instanceof Error ? error.message : String(error);
  // OpenSSL's messages carry thread ids and source lines that tell people nothing.
  if (code.startsWith("ERR_SSL_") || code === "EPROTO" || message === "") return code;
  return message.includes(code) ? message : `${code}: ${message}`;
}

function codeOf(error: unknown): string {
  if (typeof error === "object" && error !== null && "code" in error && typeof error.code === "string") {
    return error.code;
  }
  // A connection to a name with several addresses fails with one error for each.
  if (error instanceof AggregateError && error.errors.length > 0) return codeOf(error.errors[0]);
  return error instanceof Error ? error.name : "unknown";
}
