import { isIP } from "node:net";
import { domainToASCII } from "node:url";
import { failure, roleOf, success, type Result } from "@flocker/core";

/** X.520 allows at most this many characters in a common name (RFC 5280, appendix A.1, ub-common-name). */
export const commonNameCharactersMax = 64;

const userNamePattern = /^[A-Za-z0-9](?:[A-Za-z0-9._@-]*[A-Za-z0-9])?$/;
const hostLabelPattern = /^(?!-)[A-Za-z0-9_-]{1,63}(?<!-)$/;

/** A name that a certificate can be asked for by: `DNS:name` or `IP:address`. */
export interface HostName {
  readonly type: "dns" | "ip";
  readonly value: string;
}

/** Checks the name of an API user, which becomes part of the common name and of file names. */
export function checkUserName(name: string): Result<string> {
  const remedy =
    "Choose a name of letters, digits and . _ @ - that begins and ends with a letter or digit, such as alice.";
  const lengthMax = commonNameCharactersMax - "user-".length;
  if (name.length > lengthMax) {
    return failure(
      "bad-request",
      `A user name has at most ${lengthMax} characters; ${JSON.stringify(name)} has ${name.length}.`,
      remedy,
      "name",
    );
  }
  if (!userNamePattern.test(name)) {
    return failure("bad-request", `${JSON.stringify(name)} cannot be a user name.`, remedy, "name");
  }
  if (name.toLowerCase() === "cluster") {
    return failure(
      "bad-request",
      "A user cannot be called cluster: the files would have the names of the certificate authority's.",
      "Choose another name.",
      "name",
    );
  }
  return success(name);
}

/** Checks the name of a cluster: any printable text that fits and cannot be taken for the name of a role. */
export function checkClusterName(name: string): Result<string> {
  const characters = Array.from(name).length;
  if (characters === 0 || characters > commonNameCharactersMax) {
    return failure(
      "bad-request",
      `A cluster's name has 1 to ${commonNameCharactersMax} characters; this one has ${characters}.`,
      "Choose a name such as mycluster.",
      "name",
    );
  }
  if (/[\p{Cc}\p{Cs}\p{Zl}\p{Zp}]/u.test(name) || name.trim() !== name) {
    return failure(
      "bad-request",
      `${JSON.stringify(name)} cannot be a cluster's name: it has control characters, or spaces around it.`,
      "Choose a name of printable characters, such as mycluster.",
      "name",
    );
  }
  if (roleOf(name) !== null) {
    return failure(
      "bad-request",
      `A cluster cannot be called ${name}: that is the name of a certificate that the authority issues.`,
      "Choose a name that is not control-service and does not begin with node- or user-.",
      "name",
    );
  }
  return success(name);
}

/** Tells an IP address from a DNS name, and checks it. IPv6 may stand in brackets, as in a URL. */
export function parseHost(text: string): Result<HostName> {
  const bare = text.startsWith("[") && text.endsWith("]") ? text.slice(1, -1) : text;
  if (isIP(bare) !== 0) {
    if (!bare.includes("%")) return success({ type: "ip", value: bare });
    return failure(
      "bad-request",
      `${JSON.stringify(text)} names a network interface, which a certificate cannot contain.`,
      "Give the address without the part after %.",
      "host",
    );
  }
  const name = domainToASCII(bare.endsWith(".") ? bare.slice(0, -1) : bare);
  const labels = name.split(".");
  // A name whose last part is a number is an address with a slip of the finger (RFC 3696, section 2).
  const numeric = /^\d+$/.test(labels.at(-1) ?? "");
  if (
    bare !== text ||
    name.length > 253 ||
    numeric ||
    !labels.every((label) => hostLabelPattern.test(label))
  ) {
    return failure(
      "bad-request",
      `${JSON.stringify(text)} is neither a host name nor an IP address.`,
      "Give the name or address that clients dial, without scheme and port: control.example.org or 192.0.2.1.",
      "host",
    );
  }
  return success({ type: "dns", value: name });
}
