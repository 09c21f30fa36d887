import { machineCommands } from "../../test/vm/machine-commands.ts";
import { startVmAgent } from "../../test/vm/vm-agent.ts";
import { ZfsNode } from "../../test/vm/zfs-nodes.ts";
import type { VmAgentOptions } from "../../test/vm/vm-agent.ts";
import type { Log } from "@flocker/core";

// One agent in a process of its own, for a node whose virtual machine another process has started. It writes
// its log on its standard output, and ends when it is told to.

/** What such a process is told, as JSON. */
export interface VmAgentOrder extends Pick<VmAgentOptions, "local" | "agentPort"> {
  readonly machinePort: number;
  readonly pool: string;
}

const { machinePort, pool, ...rest } = JSON.parse(process.argv[2] ?? "") as VmAgentOrder;
const storage = new ZfsNode({ commands: machineCommands(() => machinePort) }, pool);
const log: Log = {
  write: (_level, event, fields = {}) => void process.stdout.write(`${JSON.stringify({ event, fields })}\n`),
  with: () => log,
};
const stop = await startVmAgent({ ...rest, storage, log });
log.write("info", "agent-started");
process.once("SIGTERM", () => void stop().then(() => process.exit(0)));
