import { access } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { failure, success, type Result } from "@flocker/core";
import { loadConfigurationFile, type CredentialFiles } from "@flocker/host";
import { Type } from "typebox";

/** The port of the control service's API, unless told otherwise. */
export const apiPortDefault = 4523;

/** How to reach a cluster's control service. */
export interface ClientSettings {
  readonly host: string;
  readonly port: number;
  readonly files: CredentialFiles;
  /** The name that the service's certificate must have, where it is not the host. */
  readonly serverName: string | undefined;
}

/** The settings as texts, from one source; file names are absolute already. */
interface SettingTexts {
  readonly server?: string | undefined;
  readonly clusterCertificate?: string | undefined;
  readonly certificate?: string | undefined;
  readonly key?: string | undefined;
  readonly serverName?: string | undefined;
}

/** The options of the command line that name a connection. */
export interface ConnectionFlags extends SettingTexts {
  readonly config?: string;
}

export interface SettingsSources {
  readonly flags: ConnectionFlags;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly workingFolder: string;
  readonly homeFolder: string;
}

/**
 * Puts the settings together: an option wins over an environment variable, and that over the file.
 * Certificates that nobody named are looked for beside the file, under the names of `flocker ca`'s manual:
 * cluster.crt, user.crt, user.key.
 */
export async function resolveSettings(sources: SettingsSources): Promise<Result<ClientSettings>> {
  const { flags, env, workingFolder } = sources;
  const named = flags.config ?? nonEmpty(env["FLOCKER_CONFIG"]);
  const path = named === undefined ? defaultFile(sources) : resolve(workingFolder, named);
  const file = named !== undefined || (await exists(path)) ? readSettingsFile(path) : success({});
  if (!file.ok) return file;
  const texts: readonly SettingTexts[] = [
    absolute(flags, workingFolder),
    absolute(fromEnvironment(env), workingFolder),
    absolute(file.value, dirname(path)),
  ];
  const pick = (name: keyof SettingTexts): string | undefined =>
    texts.map((source) => source[name]).find((text) => text !== undefined);
  const server = pick("server");
  if (server === undefined) {
    return failure(
      "configuration-invalid",
      "Which control service to talk to is not known.",
      `Give --server HOST, set FLOCKER_SERVER, or write "server: https://HOST:${apiPortDefault}" into ${path}.`,
      "server",
    );
  }
  const address = parseServer(server);
  if (!address.ok) return address;
  const beside = (name: string): string => join(dirname(path), name);
  return success({
    ...address.value,
    files: {
      clusterCertificateFile: pick("clusterCertificate") ?? beside("cluster.crt"),
      certificateFile: pick("certificate") ?? beside("user.crt"),
      keyFile: pick("key") ?? beside("user.key"),
    },
    serverName: pick("serverName"),
  });
}

/** Host and port in `https://host:port`, `host:port` or `host`. */
export function parseServer(text: string): Result<{ readonly host: string; readonly port: number }> {
  const remedy = `Write a host name or address, with a port if it is not ${apiPortDefault}: https://control.example.org:4523`;
  const refused = failure(
    "configuration-invalid",
    `${JSON.stringify(text)} is no address of a control service.`,
    remedy,
    "server",
  );
  const whole = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `https://${text}`;
  const url = URL.parse(whole);
  if (url === null || url.protocol !== "https:" || url.hostname === "") return refused;
  if ((url.pathname !== "/" && url.pathname !== "") || url.search !== "" || url.hash !== "") return refused;
  if (url.username !== "" || url.password !== "") return refused;
  const host = url.hostname.startsWith("[") ? url.hostname.slice(1, -1) : url.hostname;
  // URL leaves out the port that is usual for https, though it was written.
  const port = /:443\/?$/.test(whole) ? 443 : Number(url.port === "" ? apiPortDefault : url.port);
  return port === 0 ? refused : success({ host, port });
}

function defaultFile({ env, homeFolder }: SettingsSources): string {
  const base = nonEmpty(env["XDG_CONFIG_HOME"]) ?? join(homeFolder, ".config");
  return join(base, "flocker", "client.yaml");
}

const text = Type.Optional(Type.String({ minLength: 1 }));

/** client.yaml; paths in it are relative to its own folder. */
const settingsSchema = Type.Object(
  { server: text, "cluster-certificate": text, certificate: text, key: text, "server-name": text },
  { additionalProperties: false },
);

function readSettingsFile(path: string): Result<SettingTexts> {
  const file = loadConfigurationFile(path, settingsSchema);
  if (!file.ok) return file;
  const { server, certificate, key, ...others } = file.value;
  return success({
    server,
    clusterCertificate: others["cluster-certificate"],
    certificate,
    key,
    serverName: others["server-name"],
  });
}

function fromEnvironment(env: SettingsSources["env"]): SettingTexts {
  return {
    server: nonEmpty(env["FLOCKER_SERVER"]),
    clusterCertificate: nonEmpty(env["FLOCKER_CLUSTER_CERTIFICATE"]),
    certificate: nonEmpty(env["FLOCKER_CERTIFICATE"]),
    key: nonEmpty(env["FLOCKER_KEY"]),
    serverName: nonEmpty(env["FLOCKER_SERVER_NAME"]),
  };
}

function absolute(texts: SettingTexts, folder: string): SettingTexts {
  const path = (text: string | undefined): string | undefined =>
    text === undefined ? undefined : resolve(folder, text);
  return {
    ...texts,
    clusterCertificate: path(texts.clusterCertificate),
    certificate: path(texts.certificate),
    key: path(texts.key),
  };
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === "" ? undefined : text;
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
