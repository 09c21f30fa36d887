import { Duration, durationMs, loadConfigurationFile, Size, sizeBytes } from "@flocker/host";
import { success, type LogLevel, type Milliseconds, type Result } from "@flocker/core";
import { hostname } from "node:os";
import { dirname, resolve } from "node:path";
import Type from "typebox";

const closed = { additionalProperties: false } as const;
const port = Type.Integer({ minimum: 1, maximum: 65_535 });
const name = Type.String({ minLength: 1, maxLength: 255 });
const path = Type.String({ minLength: 1 });

const schema = Type.Object(
  {
    version: Type.Literal(1),
    "control-service": Type.Object({ hostname: name, port: Type.Optional(port) }, closed),
    dataset: Type.Object(
      {
        backend: Type.Union([Type.Literal("directory"), Type.Literal("btrfs")]),
        root: Type.Optional(path),
        "mount-root": Type.Optional(path),
        quota: Type.Optional(Type.Boolean()),
      },
      closed,
    ),
    name: Type.Optional(name),
    "certificates-directory": Type.Optional(path),
    "state-directory": Type.Optional(path),
    "data-channel": Type.Optional(
      Type.Object(
        {
          address: Type.Optional(name),
          port: Type.Optional(port),
          advertise: Type.Optional(name),
          "bandwidth-limit": Type.Optional(Size),
          silence: Type.Optional(Duration),
        },
        closed,
      ),
    ),
    "log-level": Type.Optional(
      Type.Union([Type.Literal("debug"), Type.Literal("info"), Type.Literal("warn"), Type.Literal("error")]),
    ),
  },
  closed,
);

/**
 * agent.yml, in the shape that the original Flocker's had, with its defaults filled in and its paths made
 * absolute.
 */
export interface AgentConfiguration {
  readonly controlService: { readonly host: string; readonly port: number };
  readonly backend: {
    readonly kind: "directory" | "btrfs";
    readonly root: string;
    readonly mountRoot: string;
    /** For btrfs: switch quotas on for the whole file system, so that maximum sizes are enforced. */
    readonly quota: boolean;
  };
  /** What people call this node; the machine's host name by default. */
  readonly name: string;
  /** Where cluster.crt, node.crt and node.key are; the folder of agent.yml by default. */
  readonly certificatesFolder: string;
  readonly stateFolder: string;
  readonly dataChannel: {
    /** The address to listen on; all (`::`) by default. */
    readonly address: string;
    readonly port: number;
    /** The address that other nodes dial; null for the one that the control service sees. */
    readonly advertise: string | null;
    /** For all transfers that this node sends, together; null for no limit. */
    readonly bandwidthLimitBytesPerSecond: number | null;
    /** A peer that says nothing for so long is taken for gone. */
    readonly silenceMs: Milliseconds;
  };
  readonly logLevel: LogLevel;
}

/**
 * Reads agent.yml; paths in it are relative to its own folder. `configuration-invalid` or `file-unreadable`.
 */
export function loadAgentConfiguration(file: string): Result<AgentConfiguration> {
  const loaded = loadConfigurationFile(file, schema);
  if (!loaded.ok) return loaded;
  const { dataset, "control-service": control, "data-channel": channel, ...rest } = loaded.value;
  const folder = dirname(resolve(file));
  const limit = channel?.["bandwidth-limit"];
  return success({
    controlService: { host: control.hostname, port: control.port ?? 4524 },
    backend: {
      kind: dataset.backend,
      root: resolve(folder, dataset.root ?? "/var/lib/flocker/datasets"),
      mountRoot: resolve(folder, dataset["mount-root"] ?? "/flocker"),
      quota: dataset.quota ?? false,
    },
    name: rest.name ?? hostname(),
    certificatesFolder: resolve(folder, rest["certificates-directory"] ?? "."),
    stateFolder: resolve(folder, rest["state-directory"] ?? "/var/lib/flocker/agent"),
    dataChannel: {
      address: channel?.address ?? "::",
      port: channel?.port ?? 4525,
      advertise: channel?.advertise ?? null,
      bandwidthLimitBytesPerSecond: limit === undefined ? null : sizeBytes(limit),
      silenceMs: durationMs(channel?.silence ?? "30s"),
    },
    logLevel: rest["log-level"] ?? "info",
  });
}
