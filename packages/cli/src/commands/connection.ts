import { answerResult } from "@flocker/api";
import { success } from "@flocker/core";
import { loadCredentials } from "@flocker/host";
import type { Command } from "commander";
import { resolveSettings } from "../client-settings.ts";
import { examples, newCommand, perform, type CommandLine } from "../command-line.ts";
import { connectionManual, withClient, withConnectionOptions, type ConnectedOptions } from "../connection.ts";
import { printJson, printLines } from "../output.ts";

/** `flocker connection`: shows how the control service would be reached, and tries it. */
export function connectionCommand(cli: CommandLine): Command {
  const command = newCommand("connection", "show how the control service is reached, and try it").addHelpText(
    "after",
    `\n${connectionManual}${examples(["flocker connection", "who am I, and does the service answer?"])}`,
  );
  return withConnectionOptions(command).action((options: ConnectedOptions) => {
    const json = options.json ?? false;
    return perform(cli, json, async () => {
      const settings = await resolveSettings({ ...cli, flags: options });
      if (!settings.ok) return settings;
      const { host, port, serverName, files } = settings.value;
      const credentials = loadCredentials({ ...files, now: cli.clock.now() });
      if (!credentials.ok) return credentials;
      const { commonName, clusterId, notAfter } = credentials.value;
      const facts: [string, string][] = [
        ["Server", `${host.includes(":") ? `[${host}]` : host}:${port}`],
        ["Server name", serverName ?? host],
        ["Cluster certificate", files.clusterCertificateFile],
        ["Certificate", files.certificateFile],
        ["Key", files.keyFile],
        ["You are", `${commonName}, until ${new Date(notAfter).toISOString().slice(0, 10)}`],
        ["Cluster", clusterId],
      ];
      if (!json)
        printLines(cli.terminal, ...facts.map(([name, value]) => `${`${name}:`.padEnd(21)}${value}`));
      return withClient(cli, options, async (client) => {
        const version = answerResult(await client.version({}));
        if (!version.ok) return version;
        if (json) {
          printJson(cli.terminal, {
            host,
            port,
            server_name: serverName ?? host,
            cluster_certificate: files.clusterCertificateFile,
            certificate: files.certificateFile,
            key: files.keyFile,
            name: commonName,
            cluster_id: clusterId,
            not_after: new Date(notAfter).toISOString(),
            version: version.value.flocker,
          });
        } else
          printLines(
            cli.terminal,
            `${"Control service:".padEnd(21)}answers, version ${version.value.flocker}`,
          );
        return success();
      });
    });
  });
}
