import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { LocalProcess } from "./local-process.ts";
import {
  prepareLocalCluster,
  type LocalClusterFiles,
  type LocalClusterPlan,
  type LocalNode,
} from "./cluster-files.ts";
import { success, type Result } from "@flocker/core";

/** A node of a local cluster with its agent's process. */
export interface RunnableNode extends LocalNode {
  readonly agent: LocalProcess;
}

/** A cluster of separate processes on this machine. */
export interface LocalCluster {
  readonly files: LocalClusterFiles;
  readonly control: LocalProcess;
  readonly nodes: readonly RunnableNode[];
  /** Starts whatever does not run. */
  start(): void;
  /** Ends all: agents first, so that the control service sees them go. */
  stop(): Promise<void>;
}

/** Opens the cluster that lies in a folder, or makes a new one there. Nothing is started yet. */
export async function openLocalCluster(plan: LocalClusterPlan): Promise<Result<LocalCluster>> {
  const prepared = await prepareLocalCluster(plan);
  if (!prepared.ok) return prepared;
  const files = prepared.value;
  const logs = join(files.folder, "logs");
  await mkdir(logs, { recursive: true });
  const service = (name: string, kind: "control" | "agent", configurationFile: string): LocalProcess =>
    new LocalProcess({
      name,
      logFile: join(logs, `${name}.log`),
      argv: [...flockerCommand(kind === "agent" ? [smallNursery] : []), kind, "--config", configurationFile],
    });
  const control = service("control", "control", files.controlConfigurationFile);
  const nodes = files.nodes.map((node) => ({
    ...node,
    agent: service(node.name, "agent", node.configurationFile),
  }));
  const all = [control, ...nodes.map((node) => node.agent)];
  return success({
    files,
    control,
    nodes,
    start() {
      for (const process of all) if (!process.running) process.start();
    },
    async stop() {
      await Promise.all(nodes.map((node) => node.agent.stop()));
      await control.stop();
    },
  });
}

/**
 * The command line that runs the `flocker` of this very installation: sources in a checkout, else what was
 * built.
 */
export function flockerCommand(flags: readonly string[] = []): readonly string[] {
  const main = fileURLToPath(
    new URL(import.meta.url.endsWith(".ts") ? "../main.ts" : "../main.js", import.meta.url),
  );
  return [
    process.execPath,
    ...process.execArgv.filter((argument) => argument.startsWith("--conditions")),
    ...flags,
    main,
  ];
}

/**
 * A transfer makes few objects, and much memory outside of the heap that hangs on them: a nursery that stays
 * small is swept often, which keeps an agent small whatever it sends. The launcher does the same.
 */
const smallNursery = "--max-semi-space-size=1";
