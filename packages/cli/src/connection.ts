import { createClient, v2Endpoints, type Client, type Transport } from "@flocker/api";
import { failure, type Result } from "@flocker/core";
import { createHttpsClient, loadCredentials } from "@flocker/host";
import { Option, type Command } from "commander";
import { resolveSettings, type ConnectionFlags } from "./client-settings.ts";
import { perform, wholeNumber, type CommandLine } from "./command-line.ts";

/** The typed client of the control service's API. */
export type ClusterClient = Client<typeof v2Endpoints>;

/** The options that every command has which talks to the control service. */
export interface ConnectedOptions extends ConnectionFlags {
  readonly json?: boolean;
  readonly requestTimeout?: number;
}

const requestTimeoutSeconds = 30;

/** Gives a command the options that name a connection, and --json. */
export function withConnectionOptions(command: Command): Command {
  const group = "Connection (the manual: flocker help connection):";
  const option = (flags: string, description: string): Option =>
    new Option(flags, description).helpGroup(group);
  return command
    .option("--json", "print JSON, for programs")
    .addOption(option("--server <address>", "the control service: HOST, HOST:PORT or https://HOST:PORT"))
    .addOption(option("--cluster-certificate <file>", "the cluster's authority"))
    .addOption(option("--certificate <file>", "your certificate"))
    .addOption(option("--key <file>", "its private key"))
    .addOption(option("--server-name <name>", "the name that the service's certificate must have"))
    .addOption(option("--config <file>", "a file with these settings"))
    .addOption(
      option("--request-timeout <seconds>", "how long one request may take")
        .argParser(wholeNumber(1, 3600))
        .default(requestTimeoutSeconds),
    );
}

/** Runs a command's body with a client of the control service, and tells what goes wrong. */
export function performConnected(
  cli: CommandLine,
  options: ConnectedOptions,
  body: (client: ClusterClient) => Promise<Result<unknown>>,
): Promise<void> {
  return perform(cli, options.json ?? false, () => withClient(cli, options, body));
}

/** Opens a client, hands it to the body, and closes it. */
export function withClient(
  cli: CommandLine,
  options: ConnectedOptions,
  body: (client: ClusterClient) => Promise<Result<unknown>>,
): Promise<Result<unknown>> {
  return withTransport(cli, options, (transport) => body(createClient(v2Endpoints, transport)));
}

/** Opens a connection for a client of whichever version of the API, hands it to the body, and closes it. */
export async function withTransport(
  cli: CommandLine,
  options: ConnectedOptions,
  body: (transport: Transport) => Promise<Result<unknown>>,
): Promise<Result<unknown>> {
  const settings = await resolveSettings({ ...cli, flags: options });
  if (!settings.ok) return settings;
  const { host, port, files, serverName } = settings.value;
  const credentials = loadCredentials({ ...files, now: cli.clock.now() });
  if (!credentials.ok) return credentials;
  if (credentials.value.role.role !== "user") {
    return failure(
      "certificate-role",
      `The certificate in ${files.certificateFile} is that of ${credentials.value.commonName}, not of a user.`,
      "Give a certificate made with flocker ca user NAME, by --certificate and --key.",
    );
  }
  const https = createHttpsClient({
    host,
    port,
    serverName,
    credentials: credentials.value,
    timeoutMs: (options.requestTimeout ?? requestTimeoutSeconds) * 1000,
    abort: cli.interrupted,
  });
  try {
    return await body((request) => https.send(request));
  } finally {
    https.close();
  }
}

/** What `flocker help connection` says. */
export const connectionManual = `How flocker finds and trusts the control service

Each setting is taken from the option, else from the environment, else from the file:

  option                 environment                  file
  --server               FLOCKER_SERVER               server
  --cluster-certificate  FLOCKER_CLUSTER_CERTIFICATE  cluster-certificate
  --certificate          FLOCKER_CERTIFICATE          certificate
  --key                  FLOCKER_KEY                  key
  --server-name          FLOCKER_SERVER_NAME          server-name

The file is --config, else FLOCKER_CONFIG, else ~/.config/flocker/client.yaml.
File names in it are relative to it. Certificates that are not named are looked for beside it,
as cluster.crt, user.crt and user.key.

  # ~/.config/flocker/client.yaml
  server: https://control.example.org:4523
  cluster-certificate: cluster.crt
  certificate: alice.crt
  key: alice.key

The service's certificate must be for the host that is dialled, or for the server name:
control-service is in all.
`;
