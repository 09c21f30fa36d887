import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { AgentStarter, Said, VmNode } from "../../test/vm/vm-cluster.ts";
import type { VmAgentOrder } from "./vm-agent.ts";

/** Starts agents as processes of their own, with the options that Node has for them in an installation. */
export class VmAgentProcesses {
  readonly #children = new Map<VmNode, ChildProcess>();

  readonly start: AgentStarter = async (node, tell) => {
    const { name, folder, node: id } = node.local;
    const { agentPort, machine, storage } = node;
    const order: VmAgentOrder = {
      local: { name, folder, node: id },
      agentPort,
      machinePort: machine.port,
      pool: storage.pool,
    };
    const argv = ["--max-semi-space-size=1", join(import.meta.dirname, "vm-agent.ts"), JSON.stringify(order)];
    const child = spawn(process.execPath, argv, { stdio: ["ignore", "pipe", "inherit"] });
    this.#children.set(node, child);
    const started = Promise.withResolvers<void>();
    const lines = createInterface({ input: child.stdout });
    lines.on("line", (line) => {
      const said = JSON.parse(line) as Said;
      if (said.event === "agent-started") started.resolve();
      tell(said);
    });
    child.once("exit", () => started.reject(new Error("the agent has ended")));
    await started.promise;
    return async () => {
      this.#children.delete(node);
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill();
      await once(child, "exit");
    };
  };

  pidOf(node: VmNode): number {
    const pid = this.#children.get(node)?.pid;
    if (pid === undefined) throw new Error("the agent runs");
    return pid;
  }
}
