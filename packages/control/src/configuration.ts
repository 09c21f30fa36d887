import { Duration, durationMs, loadConfigurationFile } from "@flocker/host";
import { success, type LogLevel, type Milliseconds, type Result } from "@flocker/core";
import { dirname, resolve } from "node:path";
import Type from "typebox";

const closed = { additionalProperties: false } as const;
const path = Type.String({ minLength: 1 });

const listener = Type.Object(
  {
    address: Type.Optional(Type.String({ minLength: 1, maxLength: 255 })),
    port: Type.Optional(Type.Integer({ minimum: 1, maximum: 65_535 })),
  },
  closed,
);

const schema = Type.Object(
  {
    version: Type.Literal(1),
    api: Type.Optional(listener),
    agents: Type.Optional(listener),
    "certificates-directory": Type.Optional(path),
    "data-directory": Type.Optional(path),
    "grace-time": Type.Optional(Duration),
    "log-level": Type.Optional(
      Type.Union([Type.Literal("debug"), Type.Literal("info"), Type.Literal("warn"), Type.Literal("error")]),
    ),
  },
  closed,
);

/** Where a server listens: an address (`::` for all) and a port. */
export interface ListenAddress {
  readonly address: string;
  readonly port: number;
}

/** control.yml with its defaults filled in and its paths made absolute. */
export interface ControlConfiguration {
  /** Where clients come; port 4523 unless told otherwise. */
  readonly api: ListenAddress;
  /** Where agents come; port 4524 unless told otherwise. */
  readonly agents: ListenAddress;
  /**
   * Where cluster.crt, control-service.crt and control-service.key are; the folder of control.yml by default.
   */
  readonly certificatesFolder: string;
  readonly dataFolder: string;
  /** How long deleted datasets can be had back; seven days by default. */
  readonly graceMs: Milliseconds;
  readonly logLevel: LogLevel;
}

/**
 * Reads control.yml; paths in it are relative to its own folder. `configuration-invalid` or
 * `file-unreadable`.
 */
export function loadControlConfiguration(file: string): Result<ControlConfiguration> {
  const loaded = loadConfigurationFile(file, schema);
  if (!loaded.ok) return loaded;
  const { api, agents, "log-level": logLevel, ...rest } = loaded.value;
  const folder = dirname(resolve(file));
  return success({
    api: { address: api?.address ?? "::", port: api?.port ?? 4523 },
    agents: { address: agents?.address ?? "::", port: agents?.port ?? 4524 },
    certificatesFolder: resolve(folder, rest["certificates-directory"] ?? "."),
    dataFolder: resolve(folder, rest["data-directory"] ?? "/var/lib/flocker/control"),
    graceMs: durationMs(rest["grace-time"] ?? "7d"),
    logLevel: logLevel ?? "info",
  });
}
