import { resolve } from "node:path";
import { success, type Result } from "@flocker/core";
import type { CommandLine } from "../command-line.ts";
import { openLocalClient, waitUntilReady } from "../local/local-client.ts";
import { openLocalCluster, type LocalCluster } from "../local/local-cluster.ts";
import { printLines, printNote, renderTable, type Column } from "../output.ts";

const startTimeoutMs = 60_000;

/** The options of `flocker local`. */
export interface LocalOptions {
  readonly folder: string;
  readonly nodes: number;
  readonly port: number;
}

/** Runs a cluster on this machine until the user ends it. */
export async function runLocal(cli: CommandLine, options: LocalOptions): Promise<Result<void>> {
  const folder = resolve(cli.workingFolder, options.folder);
  const opened = await openLocalCluster({
    folder,
    nodeCount: options.nodes,
    firstPort: options.port,
    clock: cli.clock,
  });
  if (!opened.ok) return opened;
  const cluster = opened.value;
  const client = openLocalClient(cluster);
  if (!client.ok) return client;
  cluster.start();
  try {
    printNote(cli.terminal, `Starting a control service and ${cluster.nodes.length} agents in ${folder} …`);
    const ready = await waitUntilReady(cluster, client.value, {
      clock: cli.clock,
      timeoutMs: startTimeoutMs,
    });
    if (!ready.ok) return ready;
    showCluster(cli, cluster);
    await untilEnd(cli, cluster);
    return success();
  } finally {
    client.value.close();
    printNote(cli.terminal, "Stopping; all data is kept.");
    await cluster.stop();
  }
}

interface ServiceRow {
  readonly service: string;
  readonly pid: string;
  readonly address: string;
  readonly where: string;
}

function showCluster(cli: CommandLine, cluster: LocalCluster): void {
  const { files } = cluster;
  const rows: ServiceRow[] = [
    {
      service: "control",
      pid: String(cluster.control.pid ?? "-"),
      address: `https://127.0.0.1:${files.apiPort}`,
      where: files.controlFolder,
    },
    ...cluster.nodes.map((node) => ({
      service: node.name,
      pid: String(node.agent.pid ?? "-"),
      address: `127.0.0.1:${node.dataPort}`,
      where: node.mountRoot,
    })),
  ];
  const columns: Column<ServiceRow>[] = [
    { title: "SERVICE", value: (row) => row.service },
    { title: "PID", value: (row) => row.pid, alignRight: true },
    { title: "ADDRESS", value: (row) => row.address },
    { title: "DATA", value: (row) => row.where },
  ];
  const config = files.clientConfigurationFile;
  printLines(
    cli.terminal,
    ...renderTable(cli.terminal, columns, rows),
    "",
    "The cluster runs. Try, in another terminal:",
    "",
    `  export FLOCKER_CONFIG=${config}`,
    "  npx flocker create web-data --node node-1 --wait",
    "  npx flocker move web-data node-2 --wait",
    "  npx flocker list",
    "",
    "Ctrl-C stops it; starting it again finds everything as it was.",
  );
}

/** Until the user ends it, or a service ends by itself: that is shown and the service is started again. */
async function untilEnd(cli: CommandLine, cluster: LocalCluster): Promise<void> {
  const services = [cluster.control, ...cluster.nodes.map((node) => node.agent)];
  while (!cli.interrupted.aborted) {
    await cli.clock.sleep(500, cli.interrupted);
    for (const service of services) {
      if (service.running || cli.interrupted.aborted) continue;
      const { code, signal } = await service.ended();
      printNote(cli.terminal, `${service.name} ended (${signal ?? `exit code ${code}`}); starting it again.`);
      service.start();
    }
  }
}
