import assert from "node:assert/strict";
import { copyFile, mkdir, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { flockerCommand, LocalProcess, type RunnableNode } from "@flocker/cli/local";
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
    readonly settings?: string;
    readonly sockets?: readonly string[];
    readonly argv?: readonly string[];
  } = {},
): Promise<RunnablePlugin> {
  const folder = join(rig.cluster.files.folder, `plugin-${node.name}`);
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
    name: `plugin-${node.name}`,
    logFile: join(from, "logs", `plugin-${node.name}.log`),
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
