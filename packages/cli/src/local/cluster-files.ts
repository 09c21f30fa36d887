import { randomInt, webcrypto } from "node:crypto";
import { access, mkdir, readFile, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import {
  authorityPaths,
  certificateIds,
  createFiles,
  initialiseAuthority,
  issueControl,
  issueNode,
  issueUser,
  openAuthority,
  readAuthorityFiles,
  type Authority,
  type IssuedCertificate,
  type IssuingContext,
} from "@flocker/ca";
import { assert, failure, success, type Clock, type NodeId, type Result } from "@flocker/core";

/** One node of a cluster on this machine: its folder has everything that belongs to it. */
export interface LocalNode {
  readonly name: string;
  readonly node: NodeId;
  readonly folder: string;
  readonly configurationFile: string;
  readonly mountRoot: string;
  readonly datasetRoot: string;
  readonly dataPort: number;
}

/** A cluster whose parts all run on this machine, as it lies in its folder. */
export interface LocalClusterFiles {
  readonly folder: string;
  readonly apiPort: number;
  readonly agentPort: number;
  readonly controlFolder: string;
  readonly controlConfigurationFile: string;
  readonly clientConfigurationFile: string;
  readonly authorityFolder: string;
  readonly nodes: readonly LocalNode[];
}

export interface LocalClusterPlan {
  readonly folder: string;
  readonly nodeCount: number;
  /** The ports to use, in the order API, agents, then one per node; undefined takes any free ones. */
  readonly firstPort?: number | undefined;
  /** How long deleted datasets are kept, as in control.yml. */
  readonly graceTime?: string;
  readonly logLevel?: "debug" | "info" | "warn" | "error";
  readonly clock: Clock;
}

interface Layout {
  readonly apiPort: number;
  readonly agentPort: number;
  readonly nodes: readonly { readonly name: string; readonly node: string; readonly dataPort: number }[];
}

/**
 * Makes the folder of a cluster on this machine, with its own certificate authority, certificates and
 * configuration files, or reads what is there: a folder that was used before keeps its nodes, ports and data.
 */
export async function prepareLocalCluster(plan: LocalClusterPlan): Promise<Result<LocalClusterFiles>> {
  const layoutFile = join(plan.folder, "local.json");
  if (await exists(layoutFile)) return success(describe(plan.folder, await readLayout(layoutFile)));
  const ports = await choosePorts(2 + plan.nodeCount, plan.firstPort);
  if (!ports.ok) return ports;
  const [apiPort, agentPort, ...dataPorts] = ports.value;
  assert(apiPort !== undefined && agentPort !== undefined, "as many ports were chosen as were asked for");
  const context: IssuingContext = {
    crypto: webcrypto as IssuingContext["crypto"],
    now: plan.clock.now(),
    ids: certificateIds(webcrypto as IssuingContext["crypto"]),
  };
  const layout: Layout = {
    apiPort,
    agentPort,
    nodes: dataPorts.map((dataPort, index) => ({
      name: `node-${index + 1}`,
      node: context.ids.uuid(),
      dataPort,
    })),
  };
  const files = describe(plan.folder, layout);
  const made = await writeCertificates(files, context);
  if (!made.ok) return made;
  await writeConfigurations(files, plan);
  // Written last: a folder that has it is complete.
  await writeFile(layoutFile, `${JSON.stringify(layout, null, 2)}\n`);
  return success(files);
}

function describe(folder: string, layout: Layout): LocalClusterFiles {
  const controlFolder = join(folder, "control");
  return {
    folder,
    apiPort: layout.apiPort,
    agentPort: layout.agentPort,
    controlFolder,
    controlConfigurationFile: join(controlFolder, "control.yml"),
    clientConfigurationFile: join(folder, "client.yaml"),
    authorityFolder: join(folder, "ca"),
    nodes: layout.nodes.map(({ name, node, dataPort }) => {
      const nodeFolder = join(folder, name);
      return {
        name,
        node: node as NodeId,
        folder: nodeFolder,
        configurationFile: join(nodeFolder, "agent.yml"),
        mountRoot: join(nodeFolder, "flocker"),
        datasetRoot: join(nodeFolder, "datasets"),
        dataPort,
      };
    }),
  };
}

async function writeCertificates(files: LocalClusterFiles, context: IssuingContext): Promise<Result<void>> {
  await mkdir(files.authorityFolder, { recursive: true, mode: 0o700 });
  const paths = authorityPaths(files.authorityFolder);
  if (!(await exists(paths.certificate))) {
    const made = await initialiseAuthority({ name: "local" }, context);
    const written = await writePair(made, paths);
    if (!written.ok) return written;
  }
  const authorityFiles = await readAuthorityFiles(files.authorityFolder);
  if (!authorityFiles.ok) return authorityFiles;
  const authority = await openAuthority(authorityFiles.value, context);
  if (!authority.ok) return authority;
  return writeLeaves(files, {
    authority: authority.value,
    pem: authorityFiles.value.certificatePem,
    context,
  });
}

async function writeLeaves(
  files: LocalClusterFiles,
  from: { readonly authority: Authority; readonly pem: string; readonly context: IssuingContext },
): Promise<Result<void>> {
  const { authority, pem, context } = from;
  const leaves: readonly { folder: string; base: string; issue: () => Promise<Result<IssuedCertificate>> }[] =
    [
      {
        folder: files.controlFolder,
        base: "control-service",
        issue: () => issueControl(authority, { hosts: ["127.0.0.1", "localhost"] }, context),
      },
      ...files.nodes.map((node) => ({
        folder: node.folder,
        base: "node",
        issue: () => issueNode(authority, { uuid: node.node }, context),
      })),
      { folder: files.folder, base: "user", issue: () => issueUser(authority, { name: "local" }, context) },
    ];
  for (const { folder, base, issue } of leaves) {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const certificate = join(folder, `${base}.crt`);
    if (await exists(certificate)) continue;
    await writeFile(join(folder, "cluster.crt"), pem, { mode: 0o600 });
    const written = await writePair(await issue(), { certificate, key: join(folder, `${base}.key`) });
    if (!written.ok) return written;
  }
  return success();
}

function writePair(
  made: Result<IssuedCertificate>,
  paths: { readonly certificate: string; readonly key: string },
): Promise<Result<void>> {
  if (!made.ok) return Promise.resolve(made);
  assert(made.value.keyPem !== null, "a new certificate comes with its key");
  return createFiles([
    { path: paths.key, text: made.value.keyPem },
    { path: paths.certificate, text: made.value.certificatePem },
  ]);
}

async function writeConfigurations(files: LocalClusterFiles, plan: LocalClusterPlan): Promise<void> {
  const logLevel = plan.logLevel ?? "info";
  await writeFile(
    files.controlConfigurationFile,
    `# The control service of a cluster on this machine.
version: 1
api: { address: 127.0.0.1, port: ${files.apiPort} }
agents: { address: 127.0.0.1, port: ${files.agentPort} }
data-directory: data
grace-time: ${plan.graceTime ?? "7d"}
log-level: ${logLevel}
`,
  );
  for (const node of files.nodes)
    await writeFile(
      node.configurationFile,
      `# One node of a cluster on this machine. All nodes share its disk, so each has a mount root of its own.
version: 1
name: ${node.name}
control-service: { hostname: 127.0.0.1, port: ${files.agentPort} }
data-channel: { address: 127.0.0.1, port: ${node.dataPort} }
dataset: { backend: directory, root: datasets, mount-root: flocker }
state-directory: state
log-level: ${logLevel}
`,
    );
  await writeFile(
    files.clientConfigurationFile,
    `# How the flocker command reaches the cluster on this machine.
server: https://127.0.0.1:${files.apiPort}
cluster-certificate: cluster.crt
certificate: user.crt
key: user.key
`,
  );
}

/** Below what Linux gives to outgoing connections, which would take a port while its service is restarted. */
const choosablePorts = { from: 10_240, to: 32_768 };
const choosingAttempts = 100;

async function choosePorts(count: number, firstPort: number | undefined): Promise<Result<readonly number[]>> {
  for (let attempt = 0; firstPort === undefined && attempt < choosingAttempts; attempt += 1) {
    const first = randomInt(choosablePorts.from, choosablePorts.to - count);
    if ((await firstTakenPort(first, count)) === undefined) return success(portsFrom(first, count));
  }
  const first = firstPort ?? choosablePorts.from;
  const taken = await firstTakenPort(first, count);
  if (taken === undefined) return success(portsFrom(first, count));
  return failure(
    "port-in-use",
    `Port ${taken} of this machine is in use; the cluster needs ports ${first} to ${first + count - 1}.`,
    "End what uses it, or choose other ports with --port.",
  );
}

function portsFrom(first: number, count: number): readonly number[] {
  return Array.from({ length: count }, (_, index) => first + index);
}

async function firstTakenPort(first: number, count: number): Promise<number | undefined> {
  const servers: Server[] = [];
  try {
    for (const port of portsFrom(first, count)) {
      const server = createServer();
      const isFree = await new Promise<boolean>((settle) => {
        server.once("error", () => settle(false));
        server.listen(port, "127.0.0.1", () => settle(true));
      });
      if (!isFree) return port;
      servers.push(server);
    }
    return undefined;
  } finally {
    for (const server of servers) server.close();
  }
}

async function readLayout(path: string): Promise<Layout> {
  return JSON.parse(await readFile(path, "utf8")) as Layout;
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
