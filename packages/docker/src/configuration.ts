import { dirname, resolve } from "node:path";
import {
  failure,
  parseNodeId,
  success,
  type LogLevel,
  type Milliseconds,
  type NodeId,
  type Result,
} from "@flocker/core";
import { Duration, durationMs, loadConfigurationFile } from "@flocker/host";
import Type from "typebox";
import { readSize } from "./create-options.ts";

const closed = { additionalProperties: false } as const;
const port = Type.Integer({ minimum: 1, maximum: 65_535 });
const host = Type.String({ minLength: 1, maxLength: 255 });
const path = Type.String({ minLength: 1 });
const logLevel = Type.Union([
  Type.Literal("debug"),
  Type.Literal("info"),
  Type.Literal("warn"),
  Type.Literal("error"),
]);

const schema = Type.Object(
  {
    version: Type.Literal(1),
    "control-service": Type.Object({ hostname: host, port: Type.Optional(port) }, closed),
    "server-name": Type.Optional(host),
    node: Type.Optional(Type.String()),
    "certificates-directory": Type.Optional(path),
    "state-directory": Type.Optional(path),
    sockets: Type.Optional(Type.Array(path, { minItems: 1 })),
    "docker-socket": Type.Optional(path),
    "mount-timeout": Type.Optional(Duration),
    "default-size": Type.Optional(Type.String()),
    "keep-on-remove": Type.Optional(Type.Boolean()),
    "log-level": Type.Optional(logLevel),
  },
  closed,
);

/** What the original plugin took from agent.yml: all else in it is the agent's business. */
const agentSchema = Type.Object({
  version: Type.Literal(1),
  "control-service": Type.Object({ hostname: host }),
  "certificates-directory": Type.Optional(path),
  "log-level": Type.Optional(logLevel),
});

/** The plugin's configuration, with defaults filled in and paths made absolute. */
export interface PluginConfiguration {
  readonly controlService: {
    readonly host: string;
    readonly port: number;
    readonly serverName: string | undefined;
  };
  /** This machine's node; null to find it by the kernel's boot id. */
  readonly node: NodeId | null;
  /** Where cluster.crt, plugin.crt and plugin.key are; the folder of the file by default. */
  readonly certificatesFolder: string;
  readonly stateFolder: string;
  readonly sockets: readonly string[];
  /** Docker's own socket, to ask at the start which mounts are still in use. */
  readonly dockerSocket: string;
  /** A mount that has not come about by then is answered with an error; Docker waits for 2 minutes. */
  readonly mountTimeoutMs: Milliseconds;
  readonly defaultSizeBytes: number | null;
  readonly keepOnRemove: boolean;
  readonly logLevel: LogLevel;
}

/** Where Docker looks for plugins: the usual socket, and the one that the original had. */
export const defaultSockets: readonly string[] = [
  "/run/docker/plugins/flocker.sock",
  "/run/docker/plugins/flocker/flocker.sock",
];
const apiPort = 4523;

/**
 * Reads plugin.yml, or what the plugin needs of an agent.yml (a file with a `dataset` section), as the
 * original did. Paths are relative to the file's folder. `configuration-invalid` or `file-unreadable`.
 */
export function loadPluginConfiguration(file: string): Result<PluginConfiguration> {
  const any = loadConfigurationFile(file, Type.Object({}));
  if (!any.ok) return any;
  return "dataset" in any.value ? fromAgentFile(file) : fromPluginFile(file);
}

function fromAgentFile(file: string): Result<PluginConfiguration> {
  const loaded = loadConfigurationFile(file, agentSchema);
  if (!loaded.ok) return loaded;
  const { "control-service": control, ...rest } = loaded.value;
  // The port in agent.yml is the agents'.
  return complete(file, { version: 1, "control-service": { hostname: control.hostname }, ...picked(rest) });
}

function picked(agent: Readonly<Record<string, unknown>>): Partial<Type.Static<typeof schema>> {
  const { "certificates-directory": folder, "log-level": level } = agent;
  return {
    ...(folder === undefined ? {} : { "certificates-directory": folder as string }),
    ...(level === undefined ? {} : { "log-level": level as LogLevel }),
  };
}

function fromPluginFile(file: string): Result<PluginConfiguration> {
  const loaded = loadConfigurationFile(file, schema);
  return loaded.ok ? complete(file, loaded.value) : loaded;
}

function complete(file: string, value: Type.Static<typeof schema>): Result<PluginConfiguration> {
  const folder = dirname(resolve(file));
  const node = value.node === undefined ? null : parseNodeId(value.node);
  if (node === undefined)
    return invalid(
      file,
      "node",
      `${JSON.stringify(value.node)} is no node's id`,
      "Give the uuid that flocker nodes shows.",
    );
  const size = value["default-size"] === undefined ? success(null) : readSize(value["default-size"]);
  if (!size.ok) return invalid(file, "default-size", size.problem.message, size.problem.remedy);
  const { hostname, port: controlPort = apiPort } = value["control-service"];
  return success({
    controlService: { host: hostname, port: controlPort, serverName: value["server-name"] },
    node,
    certificatesFolder: resolve(folder, value["certificates-directory"] ?? "."),
    stateFolder: resolve(folder, value["state-directory"] ?? "/var/lib/flocker/docker-plugin"),
    sockets: (value.sockets ?? defaultSockets).map((socket) => resolve(folder, socket)),
    dockerSocket: resolve(folder, value["docker-socket"] ?? "/run/docker.sock"),
    mountTimeoutMs: durationMs(value["mount-timeout"] ?? "110s"),
    defaultSizeBytes: size.value,
    keepOnRemove: value["keep-on-remove"] ?? false,
    logLevel: value["log-level"] ?? "info",
  });
}

function invalid(file: string, field: string, why: string, remedy: string): ReturnType<typeof failure> {
  return failure(
    "configuration-invalid",
    `The configuration file ${file} cannot be used: ${field}: ${why}.`,
    remedy,
    field,
  );
}
