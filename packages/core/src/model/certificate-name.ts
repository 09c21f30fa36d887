import { parseNodeId, type NodeId } from "./ids.ts";

/** The common name of the control service's certificate, and the name that clients check besides the host. */
export const controlCommonName = "control-service";

/** Who a certificate speaks for, by its common name. */
export type CertificateRole =
  | { readonly role: "control" }
  | { readonly role: "node"; readonly node: NodeId }
  | { readonly role: "user"; readonly name: string };

/**
 * The role that a common name stands for: `control-service`, `node-<uuid>` or `user-<name>`, as the
 * original's certificates have them; null for any other name. It says nothing about who signed the
 * certificate.
 */
export function roleOf(commonName: string): CertificateRole | null {
  if (commonName === controlCommonName) return { role: "control" };
  if (commonName.startsWith("node-")) {
    const node = parseNodeId(commonName.slice("node-".length));
    return node === undefined ? null : { role: "node", node };
  }
  if (commonName.startsWith("user-")) {
    const name = commonName.slice("user-".length);
    return name === "" ? null : { role: "user", name };
  }
  return null;
}

/** The common name of a node's certificate, which is also the name that other nodes check it by. */
export function nodeCommonName(node: NodeId): string {
  return `node-${node}`;
}

/** The common name of an API user's certificate. */
export function userCommonName(name: string): string {
  return `user-${name}`;
}
