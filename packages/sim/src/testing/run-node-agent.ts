import { startNodeAgent } from "@flocker/agent";
import type { WorldNode } from "../world.ts";

/** Runs the real node agent on a node of the world, and again after each restart. */
export function runNodeAgent(node: WorldNode, version: string = "0.0.0-sim"): void {
  node.start((ports) => {
    const agent = startNodeAgent(ports, {
      node: node.machine.id,
      era: node.machine.era,
      incarnation: ports.ids.uuid(),
      name: node.name,
      version,
      dataAddress: { host: null, port: node.address.port },
      backend: { kind: ports.backend.kind, capabilities: ports.backend.capabilities },
    });
    ports.servePeers(agent.handlePeer);
  });
}
