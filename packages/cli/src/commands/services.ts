import { existsSync } from "node:fs";
import { setFlagsFromString } from "node:v8";
import type { Command } from "commander";
import { success, type Log, type LogLevel, type Result } from "@flocker/core";
import { createLog, runUntilSignal } from "@flocker/host";
import { examples, newCommand, perform, type CommandLine } from "../command-line.ts";

interface ServiceCommandOptions {
  readonly config: string;
}

/** `flocker control`: runs the control service until a signal ends it. */
export function controlCommand(cli: CommandLine, version: string): Command {
  return newCommand("control", "Run the control service (in the foreground, until SIGTERM or Ctrl-C)")
    .option("-c, --config <file>", "its configuration file", "/etc/flocker/control.yml")
    .addHelpText(
      "after",
      examples([
        "flocker control --config /etc/flocker/control.yml",
        "what its systemd unit runs; logs JSON lines",
      ]),
    )
    .action(async (options: ServiceCommandOptions) => {
      // Services are loaded only when they are run: every other command would start later for them.
      const { loadControlConfiguration, startControlService } = await import("@flocker/control");
      await runService(cli, loadControlConfiguration(options.config), (configuration, log) =>
        startControlService({ configuration, log, version }),
      );
    });
}

/** `flocker agent`: runs this node's agent until a signal ends it. */
export function agentCommand(cli: CommandLine, version: string): Command {
  return newCommand("agent", "Run this node's agent (in the foreground, until SIGTERM or Ctrl-C)")
    .option("-c, --config <file>", "its configuration file", "/etc/flocker/agent.yml")
    .addHelpText(
      "after",
      examples([
        "flocker agent --config /etc/flocker/agent.yml",
        "what its systemd unit runs; logs JSON lines",
      ]),
    )
    .action(async (options: ServiceCommandOptions) => {
      sweepOften();
      const { loadAgentConfiguration, startAgentService } = await import("@flocker/agent");
      await runService(cli, loadAgentConfiguration(options.config), (configuration, log) =>
        startAgentService({ configuration, log, version }),
      );
    });
}

/**
 * TLS hands out each record of a transfer in new memory outside of the heap. By itself V8 frees that late, in
 * the background, and meanwhile takes it for pressure: it marks the whole heap some thirty times for each
 * GiB. Freed early and at once, hardly ever.
 */
function sweepOften(): void {
  setFlagsFromString("--minor-gc-task-trigger=30");
  setFlagsFromString("--no-concurrent-array-buffer-sweeping");
}

interface PluginCommandOptions {
  readonly config?: string;
  readonly keepOnRemove?: boolean;
}

const pluginFile = "/etc/flocker/plugin.yml";
/** The original plugin read the agent's file. */
const agentFile = "/etc/flocker/agent.yml";

/** `flocker docker-plugin`: runs Docker's volume plugin on this node until a signal ends it. */
export function dockerPluginCommand(cli: CommandLine, version: string): Command {
  return newCommand(
    "docker-plugin",
    "Run this node's volume plugin for Docker and Podman (in the foreground, until SIGTERM or Ctrl-C)",
  )
    .option("-c, --config <file>", `its configuration file; ${pluginFile} unless told, else ${agentFile}`)
    .option("--keep-on-remove", "docker volume rm leaves the dataset, as the original Flocker did")
    .addHelpText(
      "after",
      examples([
        "flocker docker-plugin --config /etc/flocker/plugin.yml",
        "what its systemd unit runs; logs JSON lines",
      ]),
    )
    .action(async (options: PluginCommandOptions) => {
      const { loadPluginConfiguration, startDockerPlugin } = await import("@flocker/docker");
      const { keepOnRemove = false } = options;
      const file = options.config ?? (existsSync(pluginFile) ? pluginFile : agentFile);
      const loaded = loadPluginConfiguration(file);
      await runService(cli, loaded, (configuration, log) =>
        startDockerPlugin({
          configuration: keepOnRemove ? { ...configuration, keepOnRemove } : configuration,
          log,
          version,
        }),
      );
    });
}

/** A service's exit codes are those of sysexits, which supervisors know; see docs/operate/install.md. */
async function runService<Configuration extends { readonly logLevel: LogLevel }>(
  cli: CommandLine,
  loaded: Result<Configuration>,
  start: (configuration: Configuration, log: Log) => Promise<AsyncDisposable>,
): Promise<void> {
  if (!loaded.ok) return perform(cli, false, () => Promise.resolve(loaded));
  const configuration = loaded.value;
  const log = createLog({ level: configuration.logLevel });
  const code = await runUntilSignal(() => start(configuration, log), { log });
  return perform(cli, false, () => {
    cli.finish(code as Parameters<CommandLine["finish"]>[0]);
    return Promise.resolve(success());
  });
}
