import assert from "node:assert/strict";
import { copyFile, mkdir, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { join } from "node:path";
import type { TestContext } from "node:test";
import type { v2 } from "@flocker/api";
import { flockerCommand, LocalProcess, pollUntil, type RunnableNode } from "@flocker/cli/local";
import { systemClock } from "@flocker/host";
import type { Rig } from "./rig.ts";

/** A plugin's process for one node of a rig. */
export interface RunnablePlugin {
  readonly process: LocalProcess;
  readonly socket: string;
  readonly folder: string;
  readonly node: RunnableNode;
  /** Starts it, unless it runs, and waits until it listens. */
  start(): Promise<void>;
}

/** An answer of a plugin, as it came over the socket. */
export interface PluginReply {
  readonly status: number;
  readonly body: Record<string, unknown>;
}

/** Makes a plugin for a node; it is ended after the test. */
export async function makePlugin(
  t: TestContext,
  rig: Rig,
  node: RunnableNode,
  options: {
    readonly name?: string;
    readonly settings?: string;
    readonly sockets?: readonly string[];
    readonly argv?: readonly string[];
  } = {},
): Promise<RunnablePlugin> {
  const name = options.name ?? `plugin-${node.name}`;
  const folder = join(rig.cluster.files.folder, name);
  await mkdir(folder, { recursive: true });
  const from = rig.cluster.files.folder;
  await copyFile(join(from, "cluster.crt"), join(folder, "cluster.crt"));
  await copyFile(join(from, "user.crt"), join(folder, "plugin.crt"));
  await copyFile(join(from, "user.key"), join(folder, "plugin.key"));
  const sockets = options.sockets ?? [join(folder, "flocker.sock")];
  const [socket] = sockets;
  assert.ok(socket !== undefined);
  await writeFile(
    join(folder, "plugin.yml"),
    `version: 1
control-service: { hostname: 127.0.0.1, port: ${rig.cluster.files.apiPort} }
node: ${node.node}
state-directory: state
sockets: ${JSON.stringify(sockets)}
docker-socket: docker.sock
log-level: debug
${options.settings ?? ""}
`,
  );
  const plugin = new LocalProcess({
    name,
    logFile: join(from, "logs", `${name}.log`),
    argv: [
      ...flockerCommand(),
      "docker-plugin",
      "--config",
      join(folder, "plugin.yml"),
      ...(options.argv ?? []),
    ],
  });
  t.after(() => plugin.stop("SIGKILL"));
  return {
    process: plugin,
    socket,
    folder,
    node,
    async start() {
      if (plugin.running) return;
      const listening = line(plugin, "plugin-listening");
      plugin.start();
      await Promise.race([
        listening,
        plugin.ended().then(() => assert.fail(`the plugin has ended by itself:\n${plugin.tail}`)),
      ]);
    },
  };
}

/** Waits until the process has logged an event, with these texts in its line. */
export function line(process: LocalProcess, event: string, ...texts: readonly string[]): Promise<string> {
  return new Promise((resolve) => {
    const end = process.onLine((text) => {
      if (!text.includes(`"event":"${event}"`) || !texts.every((part) => text.includes(part))) return;
      end();
      resolve(text);
    });
  });
}

/** Headers as dockerd sends them: an empty Host, and no content type. */
export const dockerHeaders: Readonly<Record<string, string>> = {
  host: "",
  "user-agent": "Go-http-client/1.1",
  accept: "application/vnd.docker.plugins.v1.2+json",
};
/** Headers as Podman sends them. */
export const podmanHeaders: Readonly<Record<string, string>> = {
  host: "plugin",
  "user-agent": "Go-http-client/1.1",
  "content-type": "application/vnd.docker.plugins.v1.1+json",
  accept: "application/vnd.docker.plugins.v1.1+json",
};

/** Makes one call as dockerd does; undefined as the body sends none. Rejects where the connection breaks. */
export function call(
  plugin: Pick<RunnablePlugin, "socket">,
  path: string,
  body?: unknown,
  options: { readonly headers?: Readonly<Record<string, string>>; readonly abort?: AbortSignal } = {},
): Promise<PluginReply> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      {
        socketPath: plugin.socket,
        path,
        method: "POST",
        headers: options.headers ?? dockerHeaders,
        agent: false,
        // Otherwise an empty Host would be replaced.
        setHost: false,
        ...(options.abort === undefined ? {} : { signal: options.abort }),
      },
      (response) => {
        let text = "";
        response.setEncoding("utf8");
        response.on("error", reject);
        response.on("data", (piece: string) => (text += piece));
        response.on("end", () =>
          resolve({ status: response.statusCode ?? 0, body: JSON.parse(text) as Record<string, unknown> }),
        );
      },
    );
    outgoing.on("error", reject);
    outgoing.end(body === undefined ? undefined : `${JSON.stringify(body)}\n`);
  });
}

/** Makes a call that must work, and answers its body. */
export async function must(
  plugin: Pick<RunnablePlugin, "socket">,
  path: string,
  body?: unknown,
): Promise<Record<string, unknown>> {
  const reply = await call(plugin, path, body);
  assert.equal(reply.status, 200, JSON.stringify(reply.body));
  assert.equal(reply.body["Err"], "");
  return reply.body;
}

/** The calls of the protocol by short names, for tests that read as stories. */
export const create = (
  plugin: Pick<RunnablePlugin, "socket">,
  name: string,
  opts?: object,
): Promise<unknown> => must(plugin, "/VolumeDriver.Create", { Name: name, Opts: opts ?? null });
export const mount = async (
  plugin: Pick<RunnablePlugin, "socket">,
  name: string,
  id: string,
): Promise<string> =>
  String((await must(plugin, "/VolumeDriver.Mount", { Name: name, ID: id }))["Mountpoint"]);
export const unmount = (plugin: Pick<RunnablePlugin, "socket">, name: string, id: string): Promise<unknown> =>
  must(plugin, "/VolumeDriver.Unmount", { Name: name, ID: id });
export const remove = (plugin: Pick<RunnablePlugin, "socket">, name: string): Promise<PluginReply> =>
  call(plugin, "/VolumeDriver.Remove", { Name: name });

/** What the control service says of a volume; undefined where there is none that is not deleted. */
export async function datasetNamed(rig: Rig, name: string): Promise<v2.Dataset | undefined> {
  const answer = await rig.client.api.listDatasets({ query: { name } });
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  return (answer.body as v2.DatasetPage).datasets[0];
}

/** Waits until the control service says so of a volume. */
export async function untilDataset(
  rig: Rig,
  name: string,
  what: string,
  isSo: (dataset: v2.Dataset | undefined) => boolean,
): Promise<void> {
  let seen: v2.Dataset | undefined;
  const result = await pollUntil(systemClock, {
    waitingFor: `${name} to be ${what}`,
    timeoutMs: 20_000,
    ask: async () => (isSo((seen = await datasetNamed(rig, name))) ? true : undefined),
  });
  assert.ok(result.ok, `${name} should be ${what}: ${JSON.stringify(seen)}`);
}

/** Waits until nobody has a lease on a volume. */
export const untilFree = (rig: Rig, name: string): Promise<void> =>
  untilDataset(rig, name, "free", (dataset) => dataset?.lease === null);
