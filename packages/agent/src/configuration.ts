import { Duration, durationMs, loadConfigurationFile, Size, sizeBytes } from "@flocker/host";
import { failure, success, type LogLevel, type Milliseconds, type Result } from "@flocker/core";
import { hostname } from "node:os";
import { dirname, resolve } from "node:path";
import Type, { type Static } from "typebox";
import type { ZfsProfile } from "./backends/zfs/profiles.ts";

const closed = { additionalProperties: false } as const;
const port = Type.Integer({ minimum: 1, maximum: 65_535 });
const name = Type.String({ minLength: 1, maxLength: 255 });
const path = Type.String({ minLength: 1 });
/** A property of ZFS: a native one, or a user's, which has a colon. */
const zfsProperty = "^[a-z][a-z0-9_.:-]*$";
const properties = Type.Record(Type.String({ pattern: zfsProperty }), name);

const schema = Type.Object(
  {
    version: Type.Literal(1),
    "control-service": Type.Object({ hostname: name, port: Type.Optional(port) }, closed),
    dataset: Type.Object(
      {
        backend: Type.Union([Type.Literal("directory"), Type.Literal("btrfs"), Type.Literal("zfs")]),
        root: Type.Optional(path),
        pool: Type.Optional(name),
        properties: Type.Optional(properties),
        profiles: Type.Optional(
          Type.Record(
            Type.String({ minLength: 1, maxLength: 256 }),
            Type.Object({ pool: Type.Optional(name), properties: Type.Optional(properties) }, closed),
          ),
        ),
        snapshots: Type.Optional(Type.Union([Type.Literal("newest"), Type.Literal("all")])),
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
    readonly kind: "directory" | "btrfs" | "zfs";
    readonly root: string;
    /** For zfs: the pool, or a dataset in one, that has all that is Flocker's; `flocker` by default. */
    readonly pool: string;
    /** For zfs: properties that new copies get, such as `compression` → `zstd`. */
    readonly properties: Readonly<Record<string, string>>;
    /** For zfs: the sets of properties, and the pools, that datasets ask for by name. */
    readonly profiles: Readonly<Record<string, ZfsProfile>>;
    /** For zfs: moves take along the snapshots that people have made. */
    readonly carriesSnapshots: boolean;
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
  const misplaced = checkDataset(file, dataset);
  if (misplaced !== undefined) return misplaced;
  const folder = dirname(resolve(file));
  const limit = channel?.["bandwidth-limit"];
  return success({
    controlService: { host: control.hostname, port: control.port ?? 4524 },
    backend: {
      kind: dataset.backend,
      pool: dataset.pool ?? "flocker",
      properties: dataset.properties ?? {},
      profiles: profilesOf(dataset),
      carriesSnapshots: dataset.snapshots === "all",
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

type Dataset = Static<typeof schema>["dataset"];

/** What belongs to another backend is a mistake: whoever wrote it expects something of it. */
function checkDataset(file: string, dataset: Dataset): ReturnType<typeof failure> | undefined {
  const { backend } = dataset;
  const foreign =
    backend === "zfs"
      ? (["root", "quota"] as const)
      : (["pool", "properties", "profiles", "snapshots"] as const);
  const key = foreign.find((each) => dataset[each] !== undefined);
  if (key !== undefined)
    return failure(
      "configuration-invalid",
      `${file}: dataset.${key} means nothing to the ${backend} backend.`,
      backend === "zfs" ? "Name a pool instead (pool)." : "Name a folder instead (root).",
      `dataset.${key}`,
    );
  const sets = [
    ["dataset.properties", dataset.properties ?? {}] as const,
    ...Object.entries(dataset.profiles ?? {}).map(
      ([profile, set]) => [`dataset.profiles.${profile}.properties`, set.properties ?? {}] as const,
    ),
  ];
  for (const [place, set] of sets) {
    const reserved = Object.keys(set).find((each) => isReserved(each));
    if (reserved !== undefined)
      return failure(
        "configuration-invalid",
        `${file}: the property ${reserved} of ZFS is set by Flocker itself.`,
        `Leave it out of ${place}.`,
        `${place}.${reserved}`,
      );
  }
  return undefined;
}

function profilesOf({ profiles }: Dataset): AgentConfiguration["backend"]["profiles"] {
  return Object.fromEntries(
    Object.entries(profiles ?? {}).map(([profile, { pool, properties: set = {} }]) => [
      profile,
      pool === undefined ? { properties: set } : { pool, properties: set },
    ]),
  );
}

function isReserved(property: string): boolean {
  const own = ["mountpoint", "canmount", "overlay", "readonly", "refquota", "quota"];
  return own.includes(property) || property.startsWith("flocker:");
}
