import type { TLSSocket } from "node:tls";
import { failure, success } from "@flocker/core";
import type { NodeId, PeerAddress, Result } from "@flocker/core";
import type { Credentials } from "../certificates.ts";
import { peerIdentity } from "../certificates.ts";

/** An address as people write it. */
export function formatAddress(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** The node at the other end, proven by its certificate: of this cluster, and of no other role. */
export function peerNode(socket: TLSSocket, credentials: Credentials, where: string): Result<NodeId> {
  const identity = peerIdentity(socket, credentials);
  if (!identity.ok) return identity;
  const { clusterId, commonName, role } = identity.value;
  if (clusterId !== credentials.clusterId) {
    return failure(
      "certificate-foreign",
      `Error while checking who is at ${where}: the certificate ${commonName} is of the cluster ${clusterId}, ` +
        `and this node is of the cluster ${credentials.clusterId}.`,
      "Check that both nodes were given certificates of the same cluster.",
    );
  }
  if (role.role !== "node") {
    return failure(
      "certificate-role",
      `Error while checking who is at ${where}: the certificate ${commonName} is not a node's, ` +
        "and only nodes exchange data with each other.",
      "Use the data port only from an agent, with a certificate made by `flocker ca node`.",
    );
  }
  return success(role.node);
}

/** Checks that exactly the expected node is at the other end, whatever the host is called. */
export function checkPeer(socket: TLSSocket, credentials: Credentials, peer: PeerAddress): Result<void> {
  const where = formatAddress(peer.host, peer.port);
  const node = peerNode(socket, credentials, where);
  if (!node.ok) return node;
  if (node.value === peer.node) return success();
  return failure(
    "peer-unreachable",
    `Error while connecting to node ${peer.node} at ${where}: node ${node.value} is there instead.`,
    "Check the data address that the node's agent announces, and that no two machines share an address.",
  );
}

/** Fails where our own certificate could never be accepted on a data channel. */
export function checkOwnRole(credentials: Credentials): Result<void> {
  if (credentials.role.role === "node") return success();
  return failure(
    "certificate-role",
    `Error while opening the data channel: the certificate ${credentials.commonName} of this process is not a node's.`,
    "Give the agent a certificate made by `flocker ca node`.",
  );
}
